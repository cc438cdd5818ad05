"""What happened: the vocabulary of a history, and the shape of one event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

NOTHING: Final[Mapping[str, Any]] = {}


class Event(NamedTuple):
    """One thing that happened to an instance.

    `position` is the task's (None: not about a task); `attempt` counts the task's schedulings, or those of its
    compensation where `data` says so or the name does; `data` is JSON as it is logged.
    """

    name: str
    position: int | None = None
    stage_name: str | None = None
    task_name: str | None = None
    attempt: int | None = None
    data: Mapping[str, Any] = NOTHING


# About the instance. data:
WORKFLOW_STARTED = "WorkflowStarted"  # business_ref_no, version, context, started_by, trace (of the caller, if any)
WORKFLOW_FAILED = "WorkflowFailed"  # reason
WORKFLOW_RECOVERED = "WorkflowRecovered"
WORKFLOW_SUSPENDED = "WorkflowSuspended"  # reason
WORKFLOW_RESUMED = "WorkflowResumed"  # reason
WORKFLOW_TIMED_OUT = "WorkflowTimedOut"
WORKFLOW_COMPLETED = "WorkflowCompleted"
WORKFLOW_CANCELLED = "WorkflowCancelled"  # reason
SIGNAL_RECEIVED = "SignalReceived"  # name, payload: kept until a step waits for it
REPLAY_REQUESTED = "ReplayRequested"  # reason; stage_name, task_name of what is replayed
ROLLBACK_STARTED = "RollbackStarted"  # reason, by (operator, policy, guard), guard (its name)
ROLLBACK_FAILED = "RollbackFailed"
ROLLBACK_RESUMED = "RollbackResumed"
ROLLBACK_COMPLETED = "RollbackCompleted"
INPUT_REFUSED = "InputRefused"  # code, reason, input

# About a stage.
STAGE_ACTIVATED = "StageActivated"
STAGE_COMPLETED = "StageCompleted"
STAGE_SKIPPED = "StageSkipped"
STAGE_CANCELLED = "StageCancelled"
STAGE_RESET = "StageReset"
# activity, phase; plugins (name, mandatory, labels, task) and excluded (mandatory, labels, names), frozen here; again
# (true: those frozen before)
PHASE_STARTED = "PhaseStarted"

# About a task. `withdrew` is the live attempt that the event took back from whoever had it.
TASK_SCHEDULED = "TaskScheduled"  # assigned_to, assigned_kind (people); round: "new" where failures are counted afresh
TASK_STARTED = "TaskStarted"  # worker, compensation
TASK_CLAIMED = "TaskClaimed"  # by, compensation
TASK_RELEASED = "TaskReleased"  # by, compensation
TASK_REASSIGNED = "TaskReassigned"  # by, assigned_to, assigned_kind, reason, compensation
TASK_COMMENTED = "TaskCommented"  # by, comment, compensation
TASK_COMPLETED = "TaskCompleted"  # output, outcome, by, comment; by_hand, reason, withdrew; late (during a rollback)
TASK_FAILED = "TaskFailed"  # error, spent; outcome, by, data, comment (people); by_hand, withdrew
TASK_RETURNED = "TaskReturned"  # outcome, by, data, comment, return_to
RETRY_SCHEDULED = "RetryScheduled"  # retry_at, compensation
TASK_SKIPPED = "TaskSkipped"  # condition (true: by `when`), reason, withdrew
TASK_CANCELLED = "TaskCancelled"  # withdrew, rollback (true: by a rollback)
TASK_RESET = "TaskReset"  # withdrew
SIGNAL_AWAITED = "SignalAwaited"  # name, memory: a step waits
STEP_WOKEN = "StepWoken"  # name, payload: the signal came

# About the undoing of a task. `attempt` counts compensations by itself.
COMPENSATION_SCHEDULED = (
    "CompensationScheduled"  # undoes_attempt, effect ("possible": not known), assigned_to, assigned_kind, round
)
COMPENSATION_COMPLETED = "CompensationCompleted"  # by, by_hand, reason, comment, withdrew
COMPENSATION_FAILED = "CompensationFailed"  # error, spent, by, comment
COMPENSATION_SKIPPED = "CompensationSkipped"  # reason, withdrew
