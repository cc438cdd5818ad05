"""Which queue a task of a template goes to. Published versions never change, so what they say is kept."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from workflows.definitions.parsing import read_definition
from workflows.definitions.schema import TaskKind, WorkflowDefinition
from workflows.models import WorkflowTemplate
from workflows.runtime.projection import STEP_QUEUE, queue_of, undo_queue_of

_KEPT = 2_000
_NEWEST = 200
"""Of so many workflows, those published last, a queue is named also while it stands idle."""


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues of one version, by stage and task; people's tasks are nobody's work in a queue."""

    work: Mapping[tuple[str, str], str] = field(default_factory=dict)
    undoing: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def names(self) -> set[str]:
        """This will name them all."""
        return {*self.work.values(), *self.undoing.values()}


_known: OrderedDict[uuid.UUID, Queues] = OrderedDict()


def of_templates() -> set[str]:
    """This will name the queues of services that the newest versions of the workflows use."""
    newest = WorkflowTemplate.objects.latest().order_by("-created_at").values_list("pk", flat=True)
    found = queues_of(newest[:_NEWEST])
    return {name for one in found.values() for name in one.names()} - {STEP_QUEUE}


def queues_of(templates: Iterable[uuid.UUID]) -> Mapping[uuid.UUID, Queues]:
    """This will give the queues of these versions: at most one statement, for those that are not known yet."""
    wanted = set(templates)
    found = {key: known for key in wanted if (known := _known.get(key)) is not None}
    if missing := wanted - found.keys():
        rows = WorkflowTemplate.objects.filter(pk__in=missing).values_list("pk", "definition")
        for key, definition in rows:
            found[key] = _known[key] = _read(read_definition(definition))
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return found


def _read(definition: WorkflowDefinition) -> Queues:
    work, undoing = {}, {}
    for task in definition.tasks:
        key = (task.stage_name, task.task_name)
        if task.kind is not TaskKind.HUMAN and (queue := queue_of(task)):
            work[key] = queue
        if queue := undo_queue_of(task):
            undoing[key] = queue
    return Queues(work, undoing)
