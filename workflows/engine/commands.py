"""What may be asked of an instance. Commands are claims and wishes; the engine decides what becomes of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StartWorkflow:
    """Begin a new instance. `trace` is the trace context of whoever asks, as one text; it is kept, never looked at."""

    business_ref_no: str
    context: Mapping[str, Any] = field(default_factory=dict)
    trace: str = ""


@dataclass(frozen=True, slots=True)
class OnTask:
    """A command about one task. `attempt` None means the current one; `compensation` means its undoing."""

    stage_name: str
    task_name: str
    attempt: int | None = None
    compensation: bool = False


@dataclass(frozen=True, slots=True)
class BeginTask(OnTask):
    """A worker says that it has taken the task (message TaskStarted); again: a heartbeat.

    `progress` (percent, message, each optional) is shown and no event: the engine does not look at it.
    """

    worker: str | None = None
    progress: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CompleteTask(OnTask):
    """A service says that the task is done (message TaskCompleted)."""

    output: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FailTask(OnTask):
    """A service says that the attempt failed (message TaskFailed).

    `error` has code, message, details, each optional. `final`: the service knows that no other attempt can succeed.
    """

    error: Mapping[str, Any] | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class RetryTask(OnTask):
    """Send the task (or its compensation) again (message TaskPending, or an operator's retry with a reason)."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class SendSignal:
    """Something that a step may wait for has happened (message Signal)."""

    name: str
    payload: Any = None


@dataclass(frozen=True, slots=True)
class AwaitSignal(OnTask):
    """A step cannot go on before a signal of that name."""

    name: str = ""
    memory: Any = None


@dataclass(frozen=True, slots=True)
class OnHumanTask(OnTask):
    """A person's command about a human task. `groups` and `operator` say who asks; `attempt` is the one they saw."""

    by: str = ""
    groups: frozenset[str] = frozenset()
    operator: bool = False


@dataclass(frozen=True, slots=True)
class ClaimTask(OnHumanTask):
    """Take the task for oneself."""


@dataclass(frozen=True, slots=True)
class ReleaseTask(OnHumanTask):
    """Give a claimed task back."""


@dataclass(frozen=True, slots=True)
class ReassignTask(OnHumanTask):
    """Give the task to another person or group."""

    assigned_to: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DecideTask(OnHumanTask):
    """Complete the task with one of its outcomes.

    `data` has been checked by the form where the effect is `complete`.
    """

    outcome: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    comment: str = ""


@dataclass(frozen=True, slots=True)
class CommentTask(OnHumanTask):
    """Say something about the task."""

    comment: str = ""


@dataclass(frozen=True, slots=True)
class SkipTask(OnTask):
    """An operator finds the task not needed; of a compensation: its effect stands."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class CompleteTaskByHand(OnTask):
    """An operator did the task by hand; of a compensation: undone by hand."""

    reason: str = ""
    output: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FailTaskByHand(OnTask):
    """An operator gives the task up: all its attempts are spent."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReplayTask(OnTask):
    """Run a done task, what depends on it and all later stages again."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReplayStage:
    """Run a stage and all later ones again."""

    stage_name: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SuspendWorkflow:
    """Schedule nothing until resumed."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ResumeWorkflow:
    """Go on after a suspension, or accept that the instance took too long."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CancelWorkflow:
    """End the instance; effects stand."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class RollBackWorkflow:
    """Undo what was done, newest first. `guard`: the observer that asks for it, None for an operator."""

    reason: str = ""
    guard: str | None = None


@dataclass(frozen=True, slots=True)
class ElapseTaskTimeout:
    """The clock says that an attempt had its time. Addressed by position, so that no name is looked up."""

    position: int
    attempt: int
    compensation: bool = False
    due_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class ElapseRetry:
    """The clock says that the pause before the next attempt is over."""

    position: int
    attempt: int
    compensation: bool = False


@dataclass(frozen=True, slots=True)
class ElapseInstanceTimeout:
    """The clock says that the whole instance had its time."""


Command = (
    StartWorkflow
    | OnTask
    | SendSignal
    | ReplayStage
    | SuspendWorkflow
    | ResumeWorkflow
    | CancelWorkflow
    | RollBackWorkflow
    | ElapseTaskTimeout
    | ElapseRetry
    | ElapseInstanceTimeout
)
