"""Instances and human tasks as the contract shows them: one wording for API, pages and lists."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import prefetch_related_objects

from workflows.definitions.schema import ACTIVITY_KIND, StageDefinition, TaskDefinition, WorkflowDefinition
from workflows.definitions.search import values_of
from workflows.engine.lifecycle import UNDOING, TaskState
from workflows.engine.snapshot import Snapshot, Task
from workflows.models import CALL, HumanTask, Person, StepCallback, TaskProgress, WorkflowInstance
from workflows.models.progress import MESSAGE_LENGTH
from workflows.runtime import whereabouts
from workflows.runtime.loading import definition_of
from workflows.runtime.masking import masked
from workflows.runtime.phases import Seen, phases_of
from workflows.runtime.replay import followed, state_at


def instance_json(instance: WorkflowInstance, *, at: int | None = None) -> dict[str, Any]:
    """This will show an instance with its stages and tasks, now or as it was after event `at`."""
    definition, snapshot = state_at(instance, at)
    said = progress_of(instance, snapshot) if at is None else {}
    head = _head(instance, snapshot)
    return {
        **head,
        **_where(instance, definition, snapshot),
        "search": values_of(definition.search, head["context"]),
        "stages": [
            {
                "stage_name": stage.stage_name,
                "stage_order": stage.stage_order,
                "state": str(state.state),
                "activated_at": moment(state.activated_at),
                "finished_at": moment(state.finished_at),
                "tasks": [
                    _task(task, snapshot.tasks[task.position], instance.template_id) | said.get(task.position, {})
                    for task in definition.tasks[stage.first : stage.end]
                ],
                **(_activity(definition, stage, snapshot, said) if stage.activity is not None else {}),
            }
            for stage, state in zip(definition.stages, snapshot.stages, strict=True)
        ],
    }


def listed_instance_json(instance: WorkflowInstance) -> dict[str, Any]:
    """This will show an instance as lists do: from its row, without stages and tasks."""
    context = masked(instance.context, template=instance.template_id)
    return {
        "id": str(instance.pk),
        "business_ref_no": instance.business_ref_no,
        "component_name": instance.component_name,
        "workflow_name": instance.workflow_name,
        "version": instance.version,
        "state": str(instance.state),
        "health": instance.health,
        "business_status": instance.business_status,
        "stage": instance.active_stage or None,
        "has_failed_task": instance.failed_tasks > 0,
        "started_by": instance.started_by,
        "context": context,
        "search": values_of(definition_of(instance.template_id).search, context),
        "created_at": moment(instance.created_at),
        "updated_at": moment(instance.updated_at),
        "finished_at": moment(instance.finished_at),
        "last_sequence": instance.last_sequence,
    }


def human_task_json(task: HumanTask, person: Person) -> dict[str, Any]:
    """This will show one human task to the person: its form, its outcomes, and why it is theirs.

    The instance should be selected with the task (`select_related("instance")`).
    """
    definition = task_definition(task)
    return {
        **listed_human_task_json(task, definition=definition),
        "description": definition.description,
        "outcomes": outcomes_json(definition, compensation=task.compensation),
        "form": None if task.compensation else definition.form,
        "context": masked(task.instance.context, template=task.instance.template_id),
        "why": why(task, person),
        "decided_by": task.decided_by,
        "outcome": task.outcome,
        "data": masked(task.data, template=task.instance.template_id),
        "comment": task.comment,
        "closed_at": moment(task.closed_at),
    }


def listed_human_task_json(task: HumanTask, *, definition: TaskDefinition | None = None) -> dict[str, Any]:
    """This will show a human task as lists do."""
    instance = task.instance
    return {
        "id": str(task.pk),
        "instance_id": str(instance.pk),
        "business_ref_no": instance.business_ref_no,
        "component_name": instance.component_name,
        "workflow_name": instance.workflow_name,
        "stage_name": task.stage_name,
        "task_name": task.task_name,
        "title": task.title,
        "state": str(task.state),
        "attempt": task.attempt,
        "assigned_to": task.assigned_to,
        "claimed_by": task.claimed_by,
        "due_at": moment(task.due_at),
        "compensation": task.compensation,
        "created_at": moment(task.created_at),
    }


def task_definition(task: HumanTask) -> TaskDefinition:
    """This will give what the template says of a human task."""
    if "instance" not in task._state.fields_cache:
        prefetch_related_objects([task], "instance")
    return followed(task.instance, task.position).tasks[task.position]


def outcomes_json(definition: TaskDefinition, *, compensation: bool) -> list[dict[str, Any]]:
    """This will show the answers that a person may give."""
    if compensation:
        return [{"name": "complete", "label": "Complete", "effect": "complete"}]
    return [
        {"name": outcome.name, "label": outcome.label, "effect": str(outcome.effect)}
        | ({"return_to": outcome.return_to} if outcome.return_to else {})
        for outcome in definition.offered_outcomes
    ]


def why(task: HumanTask, person: Person) -> str:
    """This will say in one line why the person sees the task."""
    if task.decided_by == person.username:
        return "You decided it."
    if task.claimed_by == person.username:
        return "You claimed it."
    if task.assigned_kind == "user" and task.assigned_to == person.username:
        return "It is assigned to you."
    if task.assigned_kind == "group" and task.assigned_to in person.groups:
        return f"It is assigned to the group {task.assigned_to}, and you are a member."
    if task.assigned_to is None:
        return "It is assigned to nobody: an operator should reassign it."
    role = "operator" if person.is_operator else "auditor"
    return f"You see it as {role}; it is assigned to the {task.assigned_kind} {task.assigned_to}."


def moment(value: dt.datetime | None) -> str | None:
    """This will write a moment as the contract does: ISO 8601, UTC."""
    return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z") if value else None


def _head(instance: WorkflowInstance, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "id": str(instance.pk),
        "business_ref_no": instance.business_ref_no,
        "component_name": instance.component_name,
        "workflow_name": instance.workflow_name,
        "version": instance.version,
        "template_id": str(instance.template_id),
        "state": str(snapshot.state),
        "health": snapshot.health,
        "business_status": snapshot.business_status,
        "context": masked(snapshot.context, template=instance.template_id),
        "started_by": snapshot.started_by,
        "created_at": moment(snapshot.created_at),
        "updated_at": moment(snapshot.updated_at),
        "finished_at": moment(snapshot.finished_at),
        "last_sequence": snapshot.last_sequence,
    }


def _where(instance: WorkflowInstance, definition: WorkflowDefinition, snapshot: Snapshot) -> dict[str, Any]:
    """Which way it goes, why it does not go on or was turned round, and what is being done."""
    direction = whereabouts.direction_of(snapshot.state)
    turned = direction is whereabouts.Direction.UNDOING
    attempts = (
        (position, task.state, (task.compensation if task.compensation and turned else task).attempt)
        for position, task in enumerate(snapshot.tasks)
    )
    doing = whereabouts.doing(definition, snapshot.state, attempts)
    return {
        "direction": str(direction),
        "reason": _reason(instance, snapshot, doing),
        "current": [
            {
                "stage_name": one.definition.stage_name,
                "task_name": one.definition.task_name,
                "position": one.place,
                "of": one.places,
                "function": one.function,
                "direction": str(direction),
                "state": one.state,
                "attempt": one.attempt,
            }
            for one in doing
        ],
    }


def _reason(
    instance: WorkflowInstance, snapshot: Snapshot, doing: Sequence[whereabouts.Doing]
) -> dict[str, Any] | None:
    if whereabouts.direction_of(snapshot.state) is whereabouts.Direction.UNDOING:
        turn = whereabouts.turn_of(instance.pk, template=instance.template_id, until=snapshot.last_sequence)
        if turn is None:
            return None
        why: dict[str, Any] = {"by": turn.by, "actor": turn.actor, "at": moment(turn.at), "message": turn.message}
        return {**why, "guard": turn.guard, "task": turn.task, "error": turn.error}
    failed = next((one for one in doing if one.state == TaskState.FAILED), None)
    if failed is None:
        return None
    task = snapshot.tasks[failed.definition.position]
    error = masked(task.error, template=instance.template_id)
    said = error or {}
    message = str(said.get("message") or said.get("code") or f"{failed.definition.key} failed.")
    why = {"by": "failure", "actor": None, "at": moment(task.finished_at), "message": message}
    return {**why, "guard": None, "task": failed.definition.key, "error": error}


def progress_of(instance: WorkflowInstance, snapshot: Snapshot) -> dict[int, dict[str, Any]]:
    """This will show how far the work is of which steps wait for a call back, by the positions of their tasks."""
    waiting = {task.signal for task in snapshot.tasks if task.signal is not None and task.signal.startswith(CALL)}
    reported = _reported(instance, snapshot)
    if not waiting:
        return reported
    rows = StepCallback.objects.filter(instance=instance, signal__in=waiting)
    return reported | {
        row.position: {
            "progress": masked(row.progress, template=instance.template_id),
            "progress_at": moment(row.progress_at),
        }
        for row in rows
    }


def _reported(instance: WorkflowInstance, snapshot: Snapshot) -> dict[int, dict[str, Any]]:
    """What services have said of the attempts that are under way, by the positions of their tasks."""
    taken = {n: task.attempt for n, task in enumerate(snapshot.tasks) if task.state == TaskState.STARTED}
    undone = {
        n: task.compensation.attempt
        for n, task in enumerate(snapshot.tasks)
        if task.state == TaskState.COMPENSATING and task.compensation is not None
    }
    if not taken and not undone:
        return {}
    return {
        row.position: {
            "progress": {"percent": row.percent, "message": row.message},
            "progress_at": moment(row.reported_at),
        }
        for row in TaskProgress.objects.filter(instance=instance)
        if row.attempt == (undone if row.compensation else taken).get(row.position)
    }


def percent_of(progress: Mapping[str, Any]) -> float | None:
    """This will give the percentage, which a call back may have said in any way."""
    said = progress.get("percent")
    return said if isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said <= 100 else None


def _activity(
    definition: WorkflowDefinition, stage: StageDefinition, snapshot: Snapshot, said: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    def look(position: int) -> Seen:
        task, progress = snapshot.tasks[position], said.get(position, {}).get("progress")
        told = progress if isinstance(progress, dict) else {}
        error = task.compensation.error if task.compensation is not None and task.state in UNDOING else task.error
        return Seen(TaskState(task.state), error, percent_of(told), str(told.get("message") or "")[:MESSAGE_LENGTH])

    state = snapshot.stages[stage.position].state
    phases = phases_of(definition, stage, stage_state=state, look=look)
    return {
        "kind": ACTIVITY_KIND,
        "activity": stage.activity,
        "warning": any(phase.warning for phase in phases),
        "phases": [
            {
                "phase": str(phase.phase),
                "state": str(phase.state),
                "warning": phase.warning,
                "plugins": [
                    {
                        "name": one.name,
                        "mandatory": one.mandatory,
                        "state": str(one.state),
                        "message": one.message,
                        "percent": one.percent,
                        "system": one.labels.get("system", ""),
                        "regulation": one.labels.get("regulation", ""),
                        "task_name": one.task.task_name if one.task is not None else None,
                    }
                    for one in phase.plugins
                ],
            }
            for phase in phases
        ],
    }


def _task(definition: TaskDefinition, task: Task, template: uuid.UUID) -> dict[str, Any]:
    undoing = task.compensation
    shown = {
        "task_name": definition.task_name,
        "task_type": str(definition.kind),
        "title": definition.title or definition.task_name,
        "state": str(task.state),
        "attempt": task.attempt,
        "assigned_to": task.assigned_to,
        "claimed_by": task.claimed_by,
        "due_at": moment(task.due_at),
        "outcome": task.outcome,
        "error": masked(task.error, template=template),
        "output": masked(task.output, template=template),
        "scheduled_at": moment(task.scheduled_at),
        "started_at": moment(task.started_at),
        "finished_at": moment(task.finished_at),
        "next_attempt_at": moment(task.retry_at),
        "compensation": None,
    }
    if undoing is not None:
        shown["compensation"] = {
            "attempt": undoing.attempt,
            "state": str(undoing.state),
            "undoes_attempt": undoing.undoes_attempt,
            "assigned_to": undoing.assigned_to,
            "claimed_by": undoing.claimed_by,
            "error": masked(undoing.error, template=template),
            "next_attempt_at": moment(undoing.retry_at),
        }
        if task.state in (TaskState.COMPENSATING, TaskState.COMPENSATION_FAILED):
            error = masked(undoing.error or task.error, template=template)
            shown |= {"error": error, "claimed_by": undoing.claimed_by}
    return shown


__all__ = [
    "WorkflowDefinition",
    "human_task_json",
    "instance_json",
    "listed_human_task_json",
    "listed_instance_json",
    "moment",
    "outcomes_json",
    "task_definition",
    "why",
]
