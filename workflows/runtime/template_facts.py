"""What is read out of published versions: they never change, so it is kept."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from workflows.definitions.schema import Json
from workflows.models import WorkflowTemplate

Fact = TypeVar("Fact")

_KEPT = 2_000


class TemplateFacts(Generic[Fact]):
    """What `read` finds in a version, of those asked for last."""

    def __init__(self, read: Callable[[Mapping[str, Json]], Fact]) -> None:
        self._read = read
        self._known: OrderedDict[uuid.UUID, Fact] = OrderedDict()

    def of(self, templates: Iterable[uuid.UUID]) -> Mapping[uuid.UUID, Fact]:
        """This will give it for these versions: at most one statement, for those that are not known yet."""
        wanted = set(templates)
        found = {key: known for key in wanted if (known := self._known.get(key)) is not None}
        if missing := wanted - found.keys():
            rows = WorkflowTemplate.objects.filter(pk__in=missing).values_list("pk", "definition")
            # One at a time: a version may have thousands of tasks.
            for key, template in rows.iterator(chunk_size=20):
                found[key] = self._known[key] = self._read(template)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return found
