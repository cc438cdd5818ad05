"""The refusals that several rules share, in one wording."""

from __future__ import annotations

from workflows.engine.commands import OnTask
from workflows.engine.decision import Rejected
from workflows.engine.draft import Draft
from workflows.engine.lifecycle import ENDED, InstanceState


def find(draft: Draft, command: OnTask) -> int | Rejected:
    """This will give the position of the command's task, or say that there is none."""
    position = draft.definition.task_positions.get((command.stage_name, command.task_name))
    if position is None:
        return Rejected("unknown_task", f"The workflow has no task {command.stage_name}/{command.task_name}.")
    return position


def ended(draft: Draft) -> Rejected | None:
    """This will refuse when the instance has ended."""
    if draft.state in ENDED:
        return Rejected("instance_closed", f"The instance is {draft.state}.")
    return None


def suspended(draft: Draft) -> Rejected | None:
    """This will refuse when the instance is suspended."""
    if draft.state == InstanceState.SUSPENDED:
        return Rejected("instance_suspended", "The instance is SUSPENDED: resume it first.")
    return None


def not_its_turn(draft: Draft, position: int) -> Rejected:
    """This will refuse because the task has not been reached."""
    return Rejected(
        "not_its_turn", f"{_name(draft, position)} is {draft.tasks[position].state}: its turn has not come."
    )


def attempt_closed(draft: Draft, position: int) -> Rejected:
    """This will refuse because the attempt is over."""
    task = draft.tasks[position]
    return Rejected("attempt_closed", f"{_name(draft, position)} is {task.state}: attempt {task.attempt} is over.")


def wrong_state(what: str, draft: Draft) -> Rejected:
    """This will refuse because the instance's state has no such move."""
    return Rejected("wrong_state", f"{what}: the instance is {draft.state}.")


def _name(draft: Draft, position: int) -> str:
    return draft.definition.tasks[position].key
