"""Which queue a task of a template goes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from workflows.definitions.reading import activity_of, read_tasks
from workflows.definitions.schema import Json, TaskDefinition, TaskKind
from workflows.models import WorkflowTemplate
from workflows.runtime.projection import STEP_QUEUE, queue_of, undo_queue_of
from workflows.runtime.template_facts import TemplateFacts

_NEWEST = 200
"""Of so many workflows, those published last, a queue is named also while it stands idle."""


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues of one version, by stage and task; people's tasks are nobody's work in a queue.

    Only what differs from the most usual one is kept for each task: thousands side by side go to the same queue. Where
    plugins go the template does not know: `activities` are the stages that they work in.
    """

    usual: str = ""
    others: Mapping[tuple[str, str], str] = field(default_factory=dict)
    undoing: Mapping[tuple[str, str], str] = field(default_factory=dict)
    activities: frozenset[str] = frozenset()

    def names(self) -> set[str]:
        """This will name them all."""
        return {self.usual, *self.others.values(), *self.undoing.values()} - {""}

    def work(self, stage: str, task: str) -> str:
        """This will say where a task of this version goes ("" for a person's, and for a plugin's)."""
        if stage in self.activities:
            return ""
        return self.others.get((stage, task), self.usual)

    def undo(self, stage: str, task: str) -> str:
        """This will say where the undoing of a task goes ("" where there is none)."""
        return self.undoing.get((stage, task), "")


def of_templates() -> set[str]:
    """This will name the queues of services that the newest versions of the workflows use."""
    newest = WorkflowTemplate.objects.latest().order_by("-created_at").values_list("pk", flat=True)
    found = queues_of(newest[:_NEWEST])
    return {name for one in found.values() for name in one.names()} - {STEP_QUEUE}


def _read(template: Mapping[str, Json]) -> Queues:
    queues = Counter(map(_work, read_tasks(template)))
    usual = max(queues, key=lambda queue: queues[queue], default="")
    others, undoing = {}, {}
    for task in read_tasks(template):
        key = (task.stage_name, task.task_name)
        if (queue := _work(task)) != usual:
            others[key] = queue
        if queue := undo_queue_of(task):
            undoing[key] = queue
    activities = frozenset(stage["stage_name"] for stage in template["stages"] if activity_of(stage) is not None)
    return Queues(usual, others, undoing, activities)


def _work(task: TaskDefinition) -> str:
    return "" if task.kind is TaskKind.HUMAN else queue_of(task)


queues_of = TemplateFacts(_read).of
"""Gives the queues of versions."""
