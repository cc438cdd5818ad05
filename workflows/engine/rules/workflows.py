"""What is asked of a whole instance: start, suspend, resume, cancel, roll back, time out."""

from __future__ import annotations

from workflows.definitions.schema import FailurePolicy
from workflows.engine import commands as c
from workflows.engine import events as e
from workflows.engine.decision import Duplicate, Rejected, World
from workflows.engine.draft import Draft
from workflows.engine.lifecycle import InstanceState, TaskState
from workflows.engine.rules import rollback, steps
from workflows.engine.rules.progress import blocks, go_on
from workflows.engine.rules.refusing import ended, wrong_state
from workflows.engine.rules.retries import is_spent
from workflows.engine.rules.tasks import TIMEOUT, is_due_again, is_overdue, next_try, wait_for_retry

Refusal = Duplicate | Rejected | None

_MOVING = (InstanceState.RUNNING, InstanceState.FAILED)


def start(draft: Draft, command: c.StartWorkflow, world: World, *, started_by: str, version: int) -> None:
    """This will begin the instance and schedule its first tasks."""
    draft.on_instance(
        e.WORKFLOW_STARTED,
        {
            "business_ref_no": command.business_ref_no,
            "version": version,
            "context": dict(command.context),
            "started_by": started_by,
            **({"trace": command.trace} if command.trace else {}),
        },
    )
    draft.on_stage(e.STAGE_ACTIVATED, 0)
    go_on(draft, world)


def suspend(draft: Draft, command: c.SuspendWorkflow, world: World) -> Refusal:
    """This will keep the instance from scheduling anything."""
    if refusal := ended(draft):
        return refusal
    if draft.state not in _MOVING:
        return wrong_state("Only a RUNNING or FAILED instance can be suspended", draft)
    draft.on_instance(e.WORKFLOW_SUSPENDED, _reason(command.reason))
    return None


def resume(draft: Draft, command: c.ResumeWorkflow, world: World) -> Refusal:
    """This will let the instance go on with all that was put off, or accept that it took too long."""
    if refusal := ended(draft):
        return refusal
    late = draft.state == InstanceState.FAILED and draft.timed_out
    if draft.state != InstanceState.SUSPENDED and not late:
        return wrong_state("Only a SUSPENDED or late instance can be resumed", draft)
    draft.on_instance(e.WORKFLOW_RESUMED, _reason(command.reason))
    if late:
        go_on(draft, world)
    else:
        _catch_up(draft, world)
    return None


def cancel(draft: Draft, command: c.CancelWorkflow, world: World) -> Refusal:
    """This will end the instance; effects stand."""
    if refusal := ended(draft):
        return refusal
    if draft.state not in (*_MOVING, InstanceState.SUSPENDED):
        return wrong_state("A rollback cannot be cancelled; skip a compensation instead", draft)
    rollback.close_all(draft, {})
    draft.on_instance(e.WORKFLOW_CANCELLED, {"reason": command.reason})
    return None


def roll_back(draft: Draft, command: c.RollBackWorkflow, world: World) -> Refusal:
    """This will undo the instance, newest completion first."""
    if refusal := ended(draft):
        return refusal
    if draft.state not in (*_MOVING, InstanceState.SUSPENDED):
        return wrong_state("The rollback is under way", draft)
    rollback.start(draft, world, reason=command.reason, by="operator", guard=command.guard)
    return None


def elapse(draft: Draft, command: c.ElapseInstanceTimeout, world: World) -> Refusal:
    """This will say that the instance took longer than its template allows; while suspended that waits."""
    if draft.state in _MOVING and draft.timeout_at is not None and draft.timeout_at <= draft.at:
        _time_out(draft, world)
    return None


def _time_out(draft: Draft, world: World) -> None:
    draft.on_instance(e.WORKFLOW_TIMED_OUT)
    if draft.definition.on_failure is FailurePolicy.ROLLBACK:
        rollback.start(draft, world, reason="The instance took longer than its template allows.")


def _catch_up(draft: Draft, world: World) -> None:
    """What fell due or was put off during a suspension takes effect: first clocks, then policies, then progress."""
    again = []
    for position, task in enumerate(list(draft.tasks)):
        if is_overdue(draft, task):
            spent = is_spent(draft.definition.tasks[position].retry, failures=task.failures + 1)
            draft.on_task(e.TASK_FAILED, position, task.attempt, {"error": TIMEOUT, "spent": spent})
            task = draft.tasks[position]
        if task.state == TaskState.FAILED and not task.spent:
            when = next_try(draft, world, position)
            if when is None or when <= draft.at:
                again.append(position)
            else:
                wait_for_retry(draft, position, when)
        elif is_due_again(draft, task):
            again.append(position)
        elif blocks(draft, position) and draft.definition.tasks[position].on_failure is FailurePolicy.ROLLBACK:
            name = draft.definition.tasks[position].key
            rollback.start(draft, world, reason=f"{name} failed and its attempts are spent.")
            return
    if draft.timeout_at is not None and draft.timeout_at <= draft.at:
        _time_out(draft, world)
        if draft.state not in _MOVING:
            return
    steps.deliver_kept_signals(draft)
    if draft.active_stage >= 0:
        where = draft.definition.stages[draft.active_stage]
        draft.ripe.extend(range(where.first, where.end))
    go_on(draft, world, retried=again)


def _reason(reason: str | None) -> dict[str, str]:
    return {"reason": reason} if reason else {}
