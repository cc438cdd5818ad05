"""A snapshot as the columns of its rows: what the rows must say if they agree with the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workflows.definitions.schema import (
    FrozenPhase,
    SearchField,
    SearchKind,
    StageDefinition,
    TaskDefinition,
    TaskKind,
    WorkflowDefinition,
)
from workflows.definitions.search import kind_of, values_of
from workflows.engine.lifecycle import LIVE, TaskState
from workflows.engine.outgoing import is_called
from workflows.engine.snapshot import Compensation, Snapshot, Stage, Task
from workflows.models.plugin import LABEL_LENGTH

STEP_QUEUE = "@steps"
"""Where steps are offered: not a queue of any broker, but found by the same index."""


def is_inside(queue: str) -> bool:
    """This will tell whether the queue is this site's own: no broker has it."""
    return queue == STEP_QUEUE or is_called(queue)


def queue_of(definition: TaskDefinition) -> str:
    """This will say where the task's attempts are offered ("" for a person without a notifier)."""
    return STEP_QUEUE if definition.kind is TaskKind.STEP else definition.task_queue or ""


def undo_queue_of(definition: TaskDefinition) -> str:
    """This will say where the task's compensations are offered."""
    how = definition.compensate
    return "" if how is None else STEP_QUEUE if how.step else how.task_queue or ""


def task_columns(definition: TaskDefinition, task: Task) -> dict[str, Any]:
    """This will give the changing columns of a task's row."""
    queue, offered_at = "", task.scheduled_at
    if task.state in LIVE:
        queue = queue_of(definition)
    if task.compensation is not None:
        offered_at = task.compensation.scheduled_at
        if task.state == TaskState.COMPENSATING and task.compensation.state in LIVE:
            queue = undo_queue_of(definition)
    return {
        "state": task.state,
        "attempt": task.attempt,
        "queue": queue,
        "offered_at": offered_at,
        "assigned_to": task.assigned_to,
        "claimed_by": task.claimed_by,
        "outcome": task.outcome,
        "output": task.output,
        "error": task.error,
        "due_at": task.due_at,
        "scheduled_at": task.scheduled_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
    }


def stage_columns(stage: Stage) -> dict[str, Any]:
    """This will give the changing columns of a stage's row."""
    return {"state": stage.state, "activated_at": stage.activated_at, "finished_at": stage.finished_at}


def plugin_columns(
    definition: WorkflowDefinition, stage: StageDefinition, phase: FrozenPhase
) -> Iterator[dict[str, Any]]:
    """This will give the columns of the plugins that take part in a phase; who was kept out has no row."""
    about = {"stage_name": stage.stage_name, "activity": stage.activity or stage.stage_name, "phase": str(phase.phase)}
    for task in definition.tasks[phase.first : phase.end]:
        part = task.plugin
        assert part is not None
        own = {"name": part.name, "position": task.position, "mandatory": part.mandatory}
        yield {**about, **own, **_labels(part.labels)}


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: str(labels.get(name) or "")[:LABEL_LENGTH] for name in ("system", "regulation")}


def instance_columns(definition: WorkflowDefinition, snapshot: Snapshot) -> dict[str, Any]:
    """This will give the changing columns of an instance's row."""
    active = snapshot.active_stage
    return {
        "state": snapshot.state,
        "business_status": snapshot.business_status,
        "health": snapshot.health,
        "active_stage": definition.stages[active].stage_name if active >= 0 else "",
        "failed_tasks": snapshot.failing,
        "context": snapshot.context,
        "last_sequence": snapshot.last_sequence,
        "updated_at": snapshot.updated_at,
        "finished_at": snapshot.finished_at,
    }


SearchColumns = tuple[str | None, float | None, bool | None]


def search_columns(fields: Sequence[SearchField], context: Any) -> dict[str, SearchColumns]:
    """This will give (text, number, boolean) of each search field, all of them None where it is not there."""
    values = values_of(fields, context)
    return {field.name: _column(values.get(field.name)) for field in fields}


def _column(value: Any) -> SearchColumns:
    match kind_of(value):
        case SearchKind.TEXT:
            return value, None, None
        case SearchKind.NUMBER:
            return None, float(value) + 0.0, None  # never -0.0, which is written as another text
        case SearchKind.BOOLEAN:
            return None, None, value
    return None, None, None


def attempt_of(task: Task, *, compensation: bool) -> Task | Compensation:
    """This will give what stands for the attempt of a task, or of its undoing."""
    return (task.compensation or Compensation()) if compensation else task
