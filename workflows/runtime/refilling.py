"""Search fields of instances that were there before anybody kept them: filled in afterwards, chunk by chunk."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from workflows.models import SearchedValue, WorkflowInstance, WorkflowTemplate
from workflows.models.locking import writing
from workflows.runtime.loading import definition_of
from workflows.runtime.projection import search_columns

CHUNK = 200


@dataclass(frozen=True, slots=True)
class Filled:
    """One chunk: how many instances were looked at, how many rows were written, and the last instance of it."""

    template: str
    instances: int
    rows: int
    last: uuid.UUID


def fill(*, chunk: int = CHUNK) -> Iterator[Filled]:
    """This will write the rows that are missing, one transaction for each chunk, and tell of each.

    It may be ended at any time and begun anew: what is there is left alone. Others work on meanwhile; the instances of
    a chunk are locked while it is written, as by the door.
    """
    templates = WorkflowTemplate.objects.order_by("component_name", "workflow_name", "version")
    for pk in templates.values_list("pk", flat=True):
        if not definition_of(pk).search:
            continue
        last = None
        while (done := _fill_some(pk, after=last, chunk=chunk)) is not None:
            last = done.last
            yield done


def _fill_some(template: uuid.UUID, *, after: uuid.UUID | None, chunk: int) -> Filled | None:
    fields = definition_of(template).search
    with writing():
        rows = WorkflowInstance.objects.filter(template=template).order_by("pk")
        if after is not None:
            rows = rows.filter(pk__gt=after)
        found = list(rows.select_for_update(no_key=True).only("pk", "context", "workflow_name", "version")[:chunk])
        if not found:
            return None
        there = set(SearchedValue.objects.filter(instance__in=found).values_list("instance", "name"))
        missing = [
            SearchedValue(instance=one, name=name, text=text, number=number, boolean=boolean)
            for one in found
            for name, (text, number, boolean) in search_columns(fields, one.context).items()
            if (one.pk, name) not in there
        ]
        SearchedValue.objects.bulk_create(missing)
    said = f"{found[0].workflow_name} v{found[0].version}"
    return Filled(said, instances=len(found), rows=len(missing), last=found[-1].pk)
