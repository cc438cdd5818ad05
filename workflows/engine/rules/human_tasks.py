"""What people may do with their tasks: claim, release, reassign, decide, comment."""

from __future__ import annotations

from typing import Any

from workflows.definitions.form_schema import validate
from workflows.definitions.schema import DEFAULT_OUTCOMES, Effect, Outcome, TaskDefinition, TaskKind
from workflows.engine import commands as c
from workflows.engine import events as e
from workflows.engine.decision import Duplicate, Rejected, World
from workflows.engine.draft import Draft
from workflows.engine.lifecycle import ENDED, LIVE, InstanceState
from workflows.engine.rules import rollback
from workflows.engine.rules.progress import go_on
from workflows.engine.rules.refusing import find
from workflows.engine.rules.replays import rewind_to_task
from workflows.engine.rules.tasks import after_failure
from workflows.engine.snapshot import Compensation, Task

Refusal = Duplicate | Rejected | None


def claim(draft: Draft, command: c.ClaimTask, world: World) -> Refusal:
    """This will give the task to the person; once more by the holder changes nothing."""
    position = _find(draft, command)
    if isinstance(position, Rejected):
        return position
    if refusal := _not_theirs(draft, command, position) or _over(draft, command, position):
        return refusal
    held = _attempt(draft, command, position)
    if held.claimed_by == command.by:
        return None
    if held.claimed_by is not None:
        return _taken(draft, position, held.claimed_by)
    _claim(draft, command, position)
    return None


def release(draft: Draft, command: c.ReleaseTask, world: World) -> Refusal:
    """This will give a claimed task back to those whom it is assigned to."""
    position = _find(draft, command)
    if isinstance(position, Rejected):
        return position
    held = _attempt(draft, command, position)
    if not command.operator and not _is_theirs(held, command):
        return _denied(draft, position, command)
    if refusal := _over(draft, command, position):
        return refusal
    if held.claimed_by is None:
        return Rejected("not_claimed", f"Nobody has claimed {_name(draft, position)}.")
    if held.claimed_by != command.by and not command.operator:
        reason = f"{_name(draft, position)} is claimed by {held.claimed_by}: only they or an operator can release it."
        return Rejected("permission_denied", reason)
    draft.on_task(e.TASK_RELEASED, position, held.attempt, _data(command))
    return None


def reassign(draft: Draft, command: c.ReassignTask, world: World) -> Refusal:
    """This will give the task to another person or group; a claim ends."""
    position = _find(draft, command)
    if isinstance(position, Rejected):
        return position
    if not command.operator:
        return Rejected("permission_denied", "Only operators reassign human tasks.")
    if refusal := _over(draft, command, position):
        return refusal
    kind = world.assignee_kind(command.assigned_to)
    if not kind:
        return _bad("/assigned_to", "bad_value", f"There is no user or group {command.assigned_to!r}.")
    held = _attempt(draft, command, position)
    data = _data(command) | {"assigned_to": command.assigned_to, "assigned_kind": kind, "reason": command.reason}
    draft.on_task(e.TASK_REASSIGNED, position, held.attempt, data)
    return None


def comment(draft: Draft, command: c.CommentTask, world: World) -> Refusal:
    """This will keep what somebody said about the task, also after its end."""
    position = _find(draft, command)
    if isinstance(position, Rejected):
        return position
    held = _attempt(draft, command, position)
    if not command.operator and not _is_theirs(held, command) and not _took_part(draft, command.by, position):
        return _denied(draft, position, command)
    draft.on_task(e.TASK_COMMENTED, position, command.attempt, _data(command) | {"comment": command.comment})
    return None


def decide(draft: Draft, command: c.DecideTask, world: World) -> Refusal:
    """This will complete the task with the outcome that the person picked, claiming it in passing."""
    position = _find(draft, command)
    if isinstance(position, Rejected):
        return position
    if refusal := _not_theirs(draft, command, position) or _over(draft, command, position):
        return refusal
    held, definition = _attempt(draft, command, position), draft.definition.tasks[position]
    if held.claimed_by not in (None, command.by):
        return _taken(draft, position, str(held.claimed_by))
    outcome = _picked(definition, command)
    if isinstance(outcome, Rejected):
        return outcome
    if refusal := _faulty(definition, command, outcome):
        return refusal
    if outcome.effect is Effect.RETURN and draft.state == InstanceState.SUSPENDED:
        return Rejected("instance_suspended", "The instance is SUSPENDED: nothing can be sent back before it resumes.")
    if held.claimed_by is None:
        _claim(draft, command, position)
    said: dict[str, Any] = {"outcome": outcome.name, "by": command.by}
    if command.comment:
        said["comment"] = command.comment
    if command.compensation:
        # It has one outcome, the default one: what cannot be undone is an operator's business.
        draft.on_task(e.COMPENSATION_COMPLETED, position, held.attempt, {"output": dict(command.data), **said})
        rollback.undo_next(draft, world)
    elif outcome.effect is Effect.COMPLETE:
        draft.on_task(e.TASK_COMPLETED, position, held.attempt, {"output": dict(command.data), **said})
        go_on(draft, world)
    elif outcome.effect is Effect.FAIL:
        draft.on_task(
            e.TASK_FAILED,
            position,
            held.attempt,
            {"error": _error(outcome, command), "spent": True, "data": dict(command.data), **said},
        )
        if draft.state != InstanceState.SUSPENDED:
            after_failure(draft, world, position)
    else:
        back = outcome.return_position
        assert back is not None, "publishing refuses a return to nowhere"
        said |= {"return_to": draft.definition.tasks[back].key, "data": dict(command.data)}
        draft.on_task(e.TASK_RETURNED, position, held.attempt, said)
        rewind_to_task(draft, back, answered=position)
        go_on(draft, world)
    return None


def _find(draft: Draft, command: c.OnHumanTask) -> int | Rejected:
    position = find(draft, command)
    if isinstance(position, Rejected):
        return position
    definition = draft.definition.tasks[position]
    by_person = definition.compensate and definition.compensate.assigned_to
    if by_person if command.compensation else definition.kind is TaskKind.HUMAN:
        return position
    return Rejected("unknown_task", f"{definition.key} is no task of people.")


def _claim(draft: Draft, command: c.OnHumanTask, position: int) -> None:
    draft.on_task(e.TASK_CLAIMED, position, _attempt(draft, command, position).attempt, _data(command))


def _picked(definition: TaskDefinition, command: c.DecideTask) -> Outcome | Rejected:
    offered = DEFAULT_OUTCOMES if command.compensation else definition.offered_outcomes
    if command.outcome is None:
        if command.compensation or not definition.outcomes:
            return offered[0]
        return _bad("/outcome", "required", "Say which outcome it is.")
    for outcome in offered:
        if outcome.name == command.outcome:
            return outcome
    names = ", ".join(outcome.name for outcome in offered)
    return _bad("/outcome", "bad_value", f"{command.outcome!r} is none of the outcomes: {names}.")


def _faulty(definition: TaskDefinition, command: c.DecideTask, outcome: Outcome) -> Rejected | None:
    if outcome.effect is Effect.FAIL and not command.comment.strip():
        return _bad("/comment", "required", "Say why: the comment is the reason of the failure.")
    if outcome.effect is not Effect.COMPLETE or definition.form is None or command.compensation:
        return None
    problems = validate(definition.form, command.data)
    if not problems:
        return None
    errors = tuple({"pointer": f"/data{p.pointer}", "code": p.code, "message": p.message} for p in problems)
    return Rejected("invalid_body", "What was filled in does not fit the form.", errors)


def _error(outcome: Outcome, command: c.DecideTask) -> dict[str, Any]:
    return {"code": outcome.name, "message": command.comment, "details": None}


def _not_theirs(draft: Draft, command: c.OnHumanTask, position: int) -> Rejected | None:
    if not _is_theirs(_attempt(draft, command, position), command):
        return _denied(draft, position, command)
    if (
        draft.definition.tasks[position].four_eyes
        and not command.compensation
        and _took_part(draft, command.by, position)
    ):
        reason = f"{_name(draft, position)} needs four eyes: {command.by} started the instance or decided before."
        return Rejected("four_eyes", reason)
    return None


def _is_theirs(held: Task | Compensation, command: c.OnHumanTask) -> bool:
    if held.claimed_by == command.by:
        return True
    match held.assigned_kind:
        case "user":
            return held.assigned_to == command.by
        case "group":
            return held.assigned_to in command.groups
    return False


def _took_part(draft: Draft, by: str, position: int) -> bool:
    return draft.started_by == by or any(who == by and where != position for who, where in draft.deciders)


def _over(draft: Draft, command: c.OnHumanTask, position: int) -> Rejected | None:
    held = _attempt(draft, command, position)
    # Who was slower is told who was quicker.
    decided = held.state not in LIVE and (held.claimed_by, position) in draft.deciders
    by = f" {held.claimed_by} has decided {_name(draft, position)}." if decided else ""
    if draft.state in ENDED:
        return Rejected("instance_closed", f"The instance is {draft.state}.{by}")
    if held.state not in LIVE or command.attempt not in (None, held.attempt):
        said = f"attempt {command.attempt} of {_name(draft, position)} is over" if command.attempt else "it is over"
        return Rejected("attempt_closed", f"{_name(draft, position)} is {held.state}: {said}.{by}")
    return None


def _attempt(draft: Draft, command: c.OnHumanTask, position: int) -> Task | Compensation:
    task = draft.tasks[position]
    return (task.compensation or Compensation(state="PENDING")) if command.compensation else task


def _taken(draft: Draft, position: int, holder: str) -> Rejected:
    return Rejected("already_claimed", f"{_name(draft, position)} is claimed by {holder}.")


def _denied(draft: Draft, position: int, command: c.OnHumanTask) -> Rejected:
    return Rejected("permission_denied", f"{_name(draft, position)} is not assigned to {command.by}.")


def _data(command: c.OnHumanTask) -> dict[str, Any]:
    return {"by": command.by, "compensation": True} if command.compensation else {"by": command.by}


def _bad(pointer: str, code: str, message: str) -> Rejected:
    return Rejected("invalid_body", message, ({"pointer": pointer, "code": code, "message": message},))


def _name(draft: Draft, position: int) -> str:
    return draft.definition.tasks[position].key
