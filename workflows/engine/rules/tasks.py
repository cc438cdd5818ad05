"""What services, the clock and operators say of one task: taken, done, failed, again, skipped."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from workflows.definitions.schema import FailurePolicy
from workflows.engine import commands as c
from workflows.engine import events as e
from workflows.engine.decision import Duplicate, Rejected, World
from workflows.engine.draft import Draft
from workflows.engine.lifecycle import ENDED, LIVE, ROLLING, UNDOING, InstanceState, TaskState
from workflows.engine.rules import rollback
from workflows.engine.rules.progress import go_on, schedule, settle
from workflows.engine.rules.refusing import attempt_closed, ended, find, not_its_turn, suspended, wrong_state
from workflows.engine.rules.retries import delay_before_next, is_spent
from workflows.engine.snapshot import COMPLETED_RESULT, FAILED_RESULT, Task

Refusal = Duplicate | Rejected | None


def begin(draft: Draft, command: c.BeginTask, world: World) -> Refusal:
    """This will say that a worker has taken the task; once more is a heartbeat and leaves no event."""
    position = find(draft, command)
    if isinstance(position, Rejected):
        return position
    if command.compensation:
        return rollback.begin(draft, command, position)
    task = draft.tasks[position]
    if refusal := _misplaced(draft, position, command.attempt, wanted=None):
        return refusal
    if task.state == TaskState.SCHEDULED:
        draft.on_task(e.TASK_STARTED, position, task.attempt, {"worker": command.worker} if command.worker else {})
    return None


def complete(draft: Draft, command: c.CompleteTask, world: World) -> Refusal:
    """This will complete the task and let follow what follows."""
    position = find(draft, command)
    if isinstance(position, Rejected):
        return position
    if command.compensation:
        return rollback.complete(draft, command, position, world)
    if refusal := _misplaced(draft, position, command.attempt, wanted=COMPLETED_RESULT):
        return refusal
    data: dict[str, Any] = {}
    if command.output is not None:
        data["output"] = command.output
    if draft.state in ROLLING:
        data["late"] = True
    draft.on_task(e.TASK_COMPLETED, position, draft.tasks[position].attempt, data)
    go_on(draft, world)
    return None


def fail(draft: Draft, command: c.FailTask, world: World) -> Refusal:
    """This will fail the attempt: tried again by the task's policy, or its failure policy applies."""
    position = find(draft, command)
    if isinstance(position, Rejected):
        return position
    if command.compensation:
        return rollback.fail(draft, command, position, world)
    if refusal := _misplaced(draft, position, command.attempt, wanted=FAILED_RESULT):
        return refusal
    attempt_failed(draft, world, position, error=command.error, final=command.final)
    return None


def attempt_failed(
    draft: Draft, world: World, position: int, *, error: Mapping[str, Any] | None, final: bool = False
) -> None:
    """This will record a failed attempt and apply the policies, unless the instance is suspended."""
    task, policy = draft.tasks[position], draft.definition.tasks[position].retry
    spent = final or is_spent(policy, failures=task.failures + 1)
    draft.on_task(e.TASK_FAILED, position, task.attempt, {"error": normal_error(error), "spent": spent})
    if draft.state != InstanceState.SUSPENDED:
        after_failure(draft, world, position)


def after_failure(draft: Draft, world: World, position: int) -> None:
    """This will let follow what follows from a FAILED task: the next attempt, or its failure policy."""
    if not draft.tasks[position].spent:
        when = next_try(draft, world, position)
        if when is None or when <= draft.at:
            schedule(draft, world, position)
        else:
            wait_for_retry(draft, position, when)
        return
    definition = draft.definition.tasks[position]
    if definition.on_failure is FailurePolicy.ROLLBACK:
        rollback.start(draft, world, reason=f"{definition.key} failed and its attempts are spent.")
    elif definition.on_failure is FailurePolicy.CONTINUE:
        go_on(draft, world)
    else:
        settle(draft)


def next_try(draft: Draft, world: World, position: int) -> dt.datetime | None:
    """This will give the moment of the next attempt of a FAILED task; None for at once."""
    task, policy = draft.tasks[position], draft.definition.tasks[position].retry
    pause = delay_before_next(policy, failures=task.failures, chance=world.chance() if policy.jitter else 0)
    return (task.finished_at or draft.at) + dt.timedelta(seconds=pause) if pause else None


def wait_for_retry(draft: Draft, position: int, when: dt.datetime) -> None:
    """This will let the task wait for its next attempt."""
    draft.on_task(e.RETRY_SCHEDULED, position, draft.tasks[position].attempt, {"retry_at": when.isoformat()})


def retry(draft: Draft, command: c.RetryTask, world: World) -> Refusal:
    """This will send the task again as a new attempt (message TaskPending or an operator's retry)."""
    position = find(draft, command)
    if isinstance(position, Rejected):
        return position
    task = draft.tasks[position]
    # One that is being undone is done itself: only who means the undoing sends that again before it has failed.
    if command.compensation or task.state == TaskState.COMPENSATION_FAILED:
        return rollback.retry(draft, command, position, world)
    if refusal := _other_attempt(draft, position, command.attempt) or ended(draft) or suspended(draft):
        return refusal
    if task.state == TaskState.PENDING:
        return not_its_turn(draft, position)
    if draft.state in ROLLING:
        return attempt_closed(draft, position)
    if task.state in LIVE:
        schedule(draft, world, position)
        return None
    if task.state == TaskState.WAITING or (task.state == TaskState.FAILED and not draft.is_done(position, task)):
        new_round = task.state == TaskState.FAILED or command.reason is not None
        settle(draft, leaving=(position,))
        schedule(draft, world, position, new_round=new_round)
        return None
    return attempt_closed(draft, position)


def skip(draft: Draft, command: c.SkipTask, world: World) -> Refusal:
    """This will count the task as done without its being done; of a compensation: its effect stands."""
    position = find(draft, command)
    if isinstance(position, Rejected):
        return position
    if command.compensation or draft.tasks[position].state in UNDOING:
        return rollback.skip(draft, command, position, world)
    if refusal := _not_for_operators(draft, command, position, failed_too=True):
        return refusal
    draft.on_task(e.TASK_SKIPPED, position, None, {"reason": command.reason} | withdrew(draft.tasks[position]))
    go_on(draft, world)
    return None


def complete_by_hand(draft: Draft, command: c.CompleteTaskByHand, world: World) -> Refusal:
    """This will complete the task with what the operator did; of a compensation: it is undone by hand."""
    position = find(draft, command)
    if isinstance(position, Rejected):
        return position
    task = draft.tasks[position]
    if command.compensation or task.state in UNDOING:
        return rollback.complete_by_hand(draft, command, position, world)
    if refusal := _not_for_operators(draft, command, position, failed_too=True):
        return refusal
    data: dict[str, Any] = {"by_hand": True, "reason": command.reason} | withdrew(task)
    if command.output is not None:
        data["output"] = command.output
    draft.on_task(e.TASK_COMPLETED, position, task.attempt, data)
    go_on(draft, world)
    return None


def fail_by_hand(draft: Draft, command: c.FailTaskByHand, world: World) -> Refusal:
    """This will give the task up: all its attempts are spent, its failure policy applies."""
    position = find(draft, command)
    if isinstance(position, Rejected):
        return position
    task = draft.tasks[position]
    if command.compensation or task.state in UNDOING:
        return ended(draft) or wrong_state("A compensation can be retried, completed or skipped, not failed", draft)
    if refusal := _not_for_operators(draft, command, position, failed_too=False):
        return refusal
    error = {"code": "failed_by_operator", "message": command.reason, "details": None}
    data = {"error": error, "spent": True, "by_hand": True, "reason": command.reason} | withdrew(task)
    draft.on_task(e.TASK_FAILED, position, task.attempt, data)
    if draft.state != InstanceState.SUSPENDED:
        after_failure(draft, world, position)
    return None


def elapse_timeout(draft: Draft, command: c.ElapseTaskTimeout, world: World) -> Refusal:
    """This will fail an attempt that had its time.

    Whatever came first wins; while suspended it waits for the resume.
    """
    if command.compensation:
        return rollback.elapse_timeout(draft, command, world)
    task = draft.tasks[command.position]
    if draft.state not in _MOVING or command.attempt != task.attempt or not is_overdue(draft, task):
        return None
    attempt_failed(draft, world, command.position, error=TIMEOUT)
    return None


def elapse_retry(draft: Draft, command: c.ElapseRetry, world: World) -> Refusal:
    """This will begin the next attempt of a task whose pause is over."""
    if command.compensation:
        return rollback.elapse_retry(draft, command, world)
    task = draft.tasks[command.position]
    if draft.state in _MOVING and command.attempt == task.attempt and is_due_again(draft, task):
        schedule(draft, world, command.position)
    return None


def is_overdue(draft: Draft, task: Task) -> bool:
    """This will tell whether the task's live attempt had its time."""
    return (
        (task.state in LIVE or task.signal is not None) and task.timeout_at is not None and task.timeout_at <= draft.at
    )


def is_due_again(draft: Draft, task: Task) -> bool:
    """This will tell whether the pause before the task's next attempt is over."""
    return task.state == TaskState.WAITING and task.retry_at is not None and task.retry_at <= draft.at


def withdrew(task: Task) -> dict[str, Any]:
    """This will name the live attempt that an event takes back, if there is one."""
    return {"withdrew": task.attempt} if task.state in LIVE or task.signal is not None else {}


def normal_error(error: Mapping[str, Any] | None) -> dict[str, Any]:
    """This will give an error its three keys, each null where the sender left it out."""
    error = error or {}
    return {"code": error.get("code"), "message": error.get("message"), "details": error.get("details")}


TIMEOUT = {"code": "timeout", "message": "No result came in time.", "details": None}

_MOVING = (InstanceState.RUNNING, InstanceState.FAILED)


def _misplaced(draft: Draft, position: int, attempt: int | None, *, wanted: str | None) -> Refusal:
    """The order of judgement is the contract's (3.1, "a result's way")."""
    task = draft.tasks[position]
    if refusal := _other_attempt(draft, position, attempt):
        return refusal
    if wanted is not None and task.result == wanted:
        return Duplicate(f"{draft.definition.tasks[position].key} attempt {task.attempt} is {wanted} already.")
    if draft.state in ENDED:
        return ended(draft)
    if task.state == TaskState.PENDING:
        return not_its_turn(draft, position)
    if draft.state in ROLLING:
        late = wanted == COMPLETED_RESULT and task.withdrawn and draft.definition.tasks[position].compensate
        return None if late else attempt_closed(draft, position)
    if task.state in LIVE or task.signal is not None:
        return None
    return attempt_closed(draft, position)


def _other_attempt(draft: Draft, position: int, attempt: int | None) -> Rejected | None:
    current = draft.tasks[position].attempt
    if attempt is None or attempt == current:
        return None
    name = draft.definition.tasks[position].key
    if attempt < current:
        return Rejected("stale_attempt", f"{name} is at attempt {current}: attempt {attempt} no longer counts.")
    return Rejected("unknown_attempt", f"{name} is at attempt {current}: there is no attempt {attempt} yet.")


def _not_for_operators(draft: Draft, command: c.OnTask, position: int, *, failed_too: bool) -> Rejected | None:
    if refusal := _other_attempt(draft, position, command.attempt) or ended(draft):
        return refusal
    task = draft.tasks[position]
    if draft.state in ROLLING:
        return wrong_state("Only compensations can be acted on during a rollback", draft)
    if task.state == TaskState.PENDING:
        return not_its_turn(draft, position)
    if task.state in LIVE or task.state == TaskState.WAITING:
        return None
    if failed_too and task.state == TaskState.FAILED and not draft.is_done(position, task):
        return None
    return attempt_closed(draft, position)
