"""What operators do to an instance, a stage or a task: when it is offered, what is asked first, which command it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from workflows.definitions import strict_json
from workflows.definitions.strict_json import InvalidJson
from workflows.engine import commands, lifecycle
from workflows.engine.lifecycle import ENDED, ROLLING, InstanceState, TaskState
from workflows.runtime import handling
from workflows.runtime.asking import Answer, Asked

_I, _T = InstanceState, TaskState


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that an operator may do. Texts hold `{ref}`, `{task}` and `{stage}`."""

    name: str
    label: str
    title: str
    text: str
    confirm: str
    done: str
    icon: str
    keep: str = "Leave it"
    danger: bool = False
    optional_reason: bool = False
    with_output: bool = False
    on: str = "instance"


@dataclass(frozen=True, slots=True)
class Wish:
    """An action with what it is about and what was typed."""

    action: Action
    stage: str = ""
    task: str = ""
    compensation: bool = False
    attempt: int | None = None
    reason: str = ""
    output: str = ""
    errors: dict[str, str] = field(default_factory=dict)


ACTIONS = {
    action.name: action
    for action in (
        Action(
            "suspend", "Suspend", "Suspend {ref}?",
            "Nothing more is scheduled until it is resumed. What is under way may still answer.",
            "Suspend", "{ref} is suspended.", "suspended", optional_reason=True,
        ),
        Action(
            "resume", "Resume", "Resume {ref}?",
            "It goes on from where it stopped; what came in meanwhile takes effect now.",
            "Resume", "{ref} goes on.", "running", optional_reason=True,
        ),
        Action(
            "cancel", "Cancel", "Cancel {ref}?",
            "It ends here. What is under way is withdrawn; what was done stays done.",
            "Cancel the instance", "{ref} is cancelled.", "cancelled", keep="Keep it", danger=True,
        ),
        Action(
            "rollback", "Roll back", "Roll back {ref}?", "", "Roll back", "{ref} is rolling back.", "rolling",
            keep="Keep it", danger=True,
        ),
        Action(
            "retry", "Retry {task}", "Retry {task}?",
            "It is sent again as a new attempt. An attempt that is still open no longer counts.",
            "Retry", "{task} was sent again.", "retrying", on="task",
        ),
        Action(
            "complete", "Complete by hand", "Complete {task} by hand?",
            "You have done what it should have done. Its attempt is withdrawn and the workflow goes on.",
            "Complete", "{task} is completed by hand.", "completed", with_output=True, on="task",
        ),
        Action(
            "skip", "Skip", "Skip {task}?",
            "It counts as done without having been done. Its attempt is withdrawn and the workflow goes on.",
            "Skip", "{task} is skipped.", "skipped", on="task",
        ),
        Action(
            "fail", "Give up", "Give {task} up?",
            "All its attempts are spent at once, and what the template says about failures follows.",
            "Give it up", "{task} is given up.", "failed", danger=True, on="task",
        ),
        Action(
            "replay", "Run again", "Run {task} again?",
            "It, what depends on it in its stage and all later stages are set back and run again. Nothing is undone.",
            "Run it again", "{task} runs again.", "retrying", on="task",
        ),
        Action(
            "replay-stage", "Run the stage again", "Run {stage} again?",
            "All its tasks and all later stages are set back and run again. Nothing is undone.",
            "Run it again", "{stage} runs again.", "retrying", on="stage",
        ),
        Action(
            "undo-retry", "Retry the undoing", "Undo {task} once more?", "Its undoing is sent again as a new try.",
            "Retry", "The undoing of {task} was sent again.", "retrying", on="undo",
        ),
        Action(
            "undo-complete", "Undone by hand", "Is {task} undone by hand?",
            "You have undone it yourself. The rollback goes on with what comes next.",
            "It is undone", "{task} counts as undone.", "rolled", on="undo",
        ),
        Action(
            "undo-skip", "Leave as it is", "Leave {task} as it is?",
            "Its effect stands. The rollback goes on with what comes next.",
            "Leave it", "{task} stays as it is.", "skipped", keep="Back", on="undo",
        ),
    )
}  # fmt: skip


def for_instance(state: str, *, timed_out: bool = False) -> list[Action]:
    """This will give the actions that the state of an instance admits."""
    offered = []
    if state in lifecycle.RESUME_INSTANCE.source and (state == _I.SUSPENDED or timed_out):
        offered.append("resume")
    for name, move in (
        ("suspend", lifecycle.SUSPEND_INSTANCE),
        ("rollback", lifecycle.ROLL_BACK_INSTANCE),
        ("cancel", lifecycle.CANCEL_INSTANCE),
    ):
        if state in move.source:
            offered.append(name)
    return [ACTIONS[name] for name in offered]


def for_task(state: str, instance_state: str, *, holds_up: bool = True) -> list[Action]:
    """This will give the actions that the state of a task admits in an instance in that state.

    `holds_up` tells of a failed task whether the instance waits for it.
    """
    if instance_state in ROLLING:
        undoing = state in (_T.COMPENSATING, _T.COMPENSATION_FAILED)
        return [ACTIONS[name] for name in ("undo-retry", "undo-complete", "undo-skip")] if undoing else []
    if instance_state in ENDED - {_I.COMPLETED}:
        return []
    offered: list[str] = []
    open_or_failed = state in (_T.SCHEDULED, _T.STARTED, _T.WAITING) or (state == _T.FAILED and holds_up)
    if open_or_failed and instance_state != _I.COMPLETED:
        if instance_state != _I.SUSPENDED:
            offered.append("retry")
        offered += ["complete", "skip"]
        if state != _T.FAILED:
            offered.append("fail")
    done = state in (_T.COMPLETED, _T.SKIPPED) or (state == _T.FAILED and not holds_up)
    if done and instance_state != _I.SUSPENDED:
        offered.append("replay")
    return [ACTIONS[name] for name in offered]


def for_stage(state: str, instance_state: str) -> list[Action]:
    """This will give the actions that the state of a stage admits."""
    reached = state in ("ACTIVE", "COMPLETED", "SKIPPED")
    may = instance_state in (_I.RUNNING, _I.FAILED, _I.COMPLETED)
    return [ACTIONS["replay-stage"]] if reached and may else []


def read_wish(said: Any) -> Wish | None:
    """This will read what a form asks for; None where there is no such action. Faults of the input are in `errors`."""
    action = ACTIONS.get(said.get("do", ""))
    if action is None:
        return None
    reason = said.get("reason", "").strip().replace("\0", "")
    output = said.get("output", "").strip()
    attempt = said.get("attempt", "")
    errors = {}
    if not reason and not action.optional_reason:
        errors["reason"] = "Say why; it goes into the history."
    elif len(reason) > 2000:
        errors["reason"] = "This is too long: 2,000 characters are kept."
    if output and _object(output) is None:
        errors["output"] = 'Write a JSON object, such as {"approved": true}.'
    return Wish(
        action=action, stage=said.get("stage", ""), task=said.get("task", ""), compensation=action.on == "undo",
        attempt=int(attempt) if attempt.isascii() and attempt.isdigit() and len(attempt) < 10 else None,
        reason=reason, output=output, errors=errors,
    )  # fmt: skip


def carry_out(wish: Wish, *, instance: Any, actor: str, cause: str) -> Answer:
    """This will ask the one door."""
    said = {"action": wish.action.name, "stage_name": wish.stage, "task_name": wish.task, "reason": wish.reason}
    asked = Asked(
        command=_COMMANDS[wish.action.name](wish),
        target=instance,
        actor=actor,
        cause=cause,
        said={name: value for name, value in said.items() if value},
    )
    return handling.handle(asked)[0]


def _on_task(command: Any, **extra: Callable[[Wish], Any]) -> Callable[[Wish], commands.OnTask]:
    def make(wish: Wish) -> commands.OnTask:
        more = {name: of(wish) for name, of in extra.items()}
        return command(
            stage_name=wish.stage, task_name=wish.task, attempt=wish.attempt, compensation=wish.compensation,
            reason=wish.reason, **more,
        )  # fmt: skip

    return make


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = strict_json.parse(text.encode(errors="surrogatepass"))
    except InvalidJson:
        return None
    return value if isinstance(value, dict) else None


_by_hand = _on_task(commands.CompleteTaskByHand, output=lambda wish: _object(wish.output) if wish.output else None)

_COMMANDS: dict[str, Callable[[Wish], commands.Command]] = {
    "suspend": lambda wish: commands.SuspendWorkflow(reason=wish.reason or None),
    "resume": lambda wish: commands.ResumeWorkflow(reason=wish.reason or None),
    "cancel": lambda wish: commands.CancelWorkflow(reason=wish.reason),
    "rollback": lambda wish: commands.RollBackWorkflow(reason=wish.reason),
    "retry": _on_task(commands.RetryTask),
    "complete": _by_hand,
    "skip": _on_task(commands.SkipTask),
    "fail": _on_task(commands.FailTaskByHand),
    "replay": _on_task(commands.ReplayTask),
    "replay-stage": lambda wish: commands.ReplayStage(stage_name=wish.stage, reason=wish.reason),
    "undo-retry": _on_task(commands.RetryTask),
    "undo-complete": _by_hand,
    "undo-skip": _on_task(commands.SkipTask),
}
