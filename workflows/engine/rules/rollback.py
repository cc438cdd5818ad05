"""Undoing an instance: one compensation at a time, in reverse order of completion over all stages and tasks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from workflows.engine import commands as c
from workflows.engine import events as e
from workflows.engine.decision import Duplicate, Rejected, World
from workflows.engine.draft import Draft
from workflows.engine.lifecycle import ENDED, LIVE, ROLLING, UNDOING, InstanceState, StageState, TaskState
from workflows.engine.rules.progress import assignment
from workflows.engine.rules.refusing import ended, not_its_turn
from workflows.engine.rules.retries import delay_before_next, is_spent
from workflows.engine.snapshot import COMPLETED_RESULT, FAILED_RESULT, Compensation

Refusal = Duplicate | Rejected | None

_OPEN = (TaskState.PENDING, TaskState.SCHEDULED, TaskState.STARTED, TaskState.WAITING)


def start(draft: Draft, world: World, *, reason: str, by: str = "policy", guard: str | None = None) -> None:
    """This will withdraw all that is open and begin to undo what was done."""
    data = {"reason": reason, "by": by} if guard is None else {"reason": reason, "by": "guard", "guard": guard}
    draft.on_instance(e.ROLLBACK_STARTED, data)
    close_all(draft, {"rollback": True})
    undo_next(draft, world)


def close_all(draft: Draft, why: Mapping[str, Any]) -> None:
    """This will cancel every open task and stage."""
    for position, task in enumerate(list(draft.tasks)):
        if task.state in _OPEN:
            live = task.state in LIVE or task.signal is not None
            draft.on_task(
                e.TASK_CANCELLED,
                position,
                task.attempt or None,
                {**why, "withdrew": task.attempt} if live else why,
            )
    for position, stage in enumerate(list(draft.stages)):
        if stage.state in (StageState.PENDING, StageState.ACTIVE):
            draft.on_stage(e.STAGE_CANCELLED, position)


def undo_next(draft: Draft, world: World) -> None:
    """This will send the next compensation, or say that all is undone."""
    tasks, definitions = draft.tasks, draft.definition.tasks
    position = max(
        (n for n, task in enumerate(tasks) if task.done_attempt and definitions[n].compensate),
        key=lambda n: tasks[n].done_order,
        default=None,
    )
    if position is None:
        draft.on_instance(e.ROLLBACK_COMPLETED)
    else:
        send(draft, world, position, new_round=True)


def send(draft: Draft, world: World, position: int, *, new_round: bool = False) -> None:
    """This will begin the next attempt to undo the task."""
    task, how = draft.tasks[position], draft.definition.tasks[position].compensate
    assert how is not None
    was = task.compensation or Compensation()
    goes_on = task.state in UNDOING
    data: dict[str, Any] = {"undoes_attempt": was.undoes_attempt if goes_on else task.done_attempt}
    if was.possible if goes_on else task.done_possible:
        data["effect"] = "possible"
    if how.assigned_to:
        data |= assignment(how.assigned_to, world)
    if new_round and was.failures:
        data["round"] = "new"
    draft.on_task(e.COMPENSATION_SCHEDULED, position, was.attempt + 1, data)


def begin(draft: Draft, command: c.BeginTask, position: int) -> Refusal:
    """This will say that a worker has taken the compensation."""
    if refusal := _misplaced(draft, position, command.attempt, wanted=None):
        return refusal
    undoing = _undoing(draft, position)
    if undoing.state == TaskState.SCHEDULED:
        data = {"compensation": True} | ({"worker": command.worker} if command.worker else {})
        draft.on_task(e.TASK_STARTED, position, undoing.attempt, data)
    return None


def complete(draft: Draft, command: c.CompleteTask, position: int, world: World) -> Refusal:
    """This will say that the task is undone; the next one follows."""
    if refusal := _misplaced(draft, position, command.attempt, wanted=COMPLETED_RESULT):
        return refusal
    data = {"output": command.output} if command.output is not None else {}
    draft.on_task(e.COMPENSATION_COMPLETED, position, _undoing(draft, position).attempt, data)
    undo_next(draft, world)
    return None


def fail(draft: Draft, command: c.FailTask, position: int, world: World) -> Refusal:
    """This will fail the attempt to undo: tried again by its policy, or the rollback stops."""
    if refusal := _misplaced(draft, position, command.attempt, wanted=FAILED_RESULT):
        return refusal
    failed(draft, world, position, error=command.error, final=command.final)
    return None


def failed(draft: Draft, world: World, position: int, *, error: Mapping[str, Any] | None, final: bool = False) -> None:
    """This will record a failed attempt to undo and apply its retry policy."""
    how, was = draft.definition.tasks[position].compensate, _undoing(draft, position)
    assert how is not None
    spent = final or is_spent(how.retry, failures=was.failures + 1)
    error = error or {}
    whole = {"code": error.get("code"), "message": error.get("message"), "details": error.get("details")}
    draft.on_task(e.COMPENSATION_FAILED, position, was.attempt, {"error": whole, "spent": spent})
    if spent:
        draft.on_instance(e.ROLLBACK_FAILED)
        return
    failures = _undoing(draft, position).failures
    pause = delay_before_next(how.retry, failures=failures, chance=world.chance() if how.retry.jitter else 0)
    if pause:
        when = (draft.at + dt.timedelta(seconds=pause)).isoformat()
        draft.on_task(e.RETRY_SCHEDULED, position, was.attempt, {"compensation": True, "retry_at": when})
    else:
        send(draft, world, position)


def retry(draft: Draft, command: c.RetryTask, position: int, world: World) -> Refusal:
    """This will send the compensation again as a new attempt."""
    task = draft.tasks[position]
    was = task.compensation
    if refusal := _other_attempt(draft, position, command.attempt) if command.compensation else None:
        return refusal
    if refusal := ended(draft):
        return refusal
    if was is None:
        return not_its_turn(draft, position)
    if task.state not in UNDOING:
        return _closed(draft, position)
    go_on_undoing(draft)
    by_operator_between_attempts = was.state == TaskState.WAITING and command.reason is not None
    send(draft, world, position, new_round=task.state == TaskState.COMPENSATION_FAILED or by_operator_between_attempts)
    return None


def skip(draft: Draft, command: c.SkipTask, position: int, world: World) -> Refusal:
    """This will let the task's effect stand; the rollback goes on."""
    if refusal := _not_for_operators(draft, command, position):
        return refusal
    data = {"reason": command.reason} | withdrew(draft, position)
    go_on_undoing(draft)
    draft.on_task(e.COMPENSATION_SKIPPED, position, _undoing(draft, position).attempt, data)
    undo_next(draft, world)
    return None


def complete_by_hand(draft: Draft, command: c.CompleteTaskByHand, position: int, world: World) -> Refusal:
    """This will say that an operator has undone the task by hand; the rollback goes on."""
    if refusal := _not_for_operators(draft, command, position):
        return refusal
    data = {"by_hand": True, "reason": command.reason} | withdrew(draft, position)
    go_on_undoing(draft)
    draft.on_task(e.COMPENSATION_COMPLETED, position, _undoing(draft, position).attempt, data)
    undo_next(draft, world)
    return None


def elapse_timeout(draft: Draft, command: c.ElapseTaskTimeout, world: World) -> Refusal:
    """This will fail an attempt to undo that had its time."""
    undoing = _undoing(draft, command.position)
    overdue = undoing.timeout_at is not None and undoing.timeout_at <= draft.at
    under_way = undoing.state in LIVE or undoing.signal is not None
    if draft.state in ROLLING and command.attempt == undoing.attempt and under_way and overdue:
        error = {"code": "timeout", "message": "No result came in time.", "details": None}
        failed(draft, world, command.position, error=error)
    return None


def elapse_retry(draft: Draft, command: c.ElapseRetry, world: World) -> Refusal:
    """This will begin the next attempt to undo."""
    undoing = _undoing(draft, command.position)
    due = undoing.retry_at is not None and undoing.retry_at <= draft.at
    if draft.state in ROLLING and command.attempt == undoing.attempt and undoing.state == TaskState.WAITING and due:
        send(draft, world, command.position)
    return None


def go_on_undoing(draft: Draft) -> None:
    """This will take up a rollback that had stopped."""
    if draft.state == InstanceState.ROLLBACK_FAILED:
        draft.on_instance(e.ROLLBACK_RESUMED)


def withdrew(draft: Draft, position: int) -> dict[str, Any]:
    """This will name the live attempt to undo that an event takes back, if there is one."""
    undoing = _undoing(draft, position)
    return {"withdrew": undoing.attempt} if undoing.state in LIVE else {}


def _undoing(draft: Draft, position: int) -> Compensation:
    return draft.tasks[position].compensation or Compensation(state=TaskState.PENDING)


def _misplaced(draft: Draft, position: int, attempt: int | None, *, wanted: str | None) -> Refusal:
    """The same order of judgement as for a task, against the compensation and its attempts."""
    undoing = _undoing(draft, position)
    if refusal := _other_attempt(draft, position, attempt):
        return refusal
    if wanted is not None and undoing.result == wanted:
        name = draft.definition.tasks[position].key
        return Duplicate(f"The compensation of {name}, attempt {undoing.attempt}, is {wanted} already.")
    if draft.state in ENDED:
        return ended(draft)
    if not undoing.attempt:
        return not_its_turn(draft, position)
    return None if undoing.state in LIVE else _closed(draft, position)


def _other_attempt(draft: Draft, position: int, attempt: int | None) -> Rejected | None:
    current, name = _undoing(draft, position).attempt, draft.definition.tasks[position].key
    if attempt is None or attempt == current:
        return None
    if attempt < current:
        return Rejected(
            "stale_attempt", f"The compensation of {name} is at attempt {current}: {attempt} no longer counts."
        )
    return Rejected("unknown_attempt", f"The compensation of {name} has no attempt {attempt} yet.")


def _not_for_operators(draft: Draft, command: c.OnTask, position: int) -> Rejected | None:
    # Without `compensation` an attempt would be one of the task, and that is over.
    refusal = _other_attempt(draft, position, command.attempt) if command.compensation else None
    if refusal := refusal or ended(draft):
        return refusal
    task = draft.tasks[position]
    if task.state in UNDOING:
        return None
    return not_its_turn(draft, position) if task.compensation is None else _closed(draft, position)


def _closed(draft: Draft, position: int) -> Rejected:
    name, undoing = draft.definition.tasks[position].key, _undoing(draft, position)
    return Rejected(
        "attempt_closed", f"The compensation of {name} is {undoing.state}: attempt {undoing.attempt} is over."
    )
