"""The states of instances, stages, tasks and their neighbours, with the one table of legal moves that engine and rows
obey.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class InstanceState(StrEnum):
    """Where a workflow instance is."""

    RUNNING = "RUNNING"
    FAILED = "FAILED"
    SUSPENDED = "SUSPENDED"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"
    ROLLBACK_FAILED = "ROLLBACK_FAILED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class StageState(StrEnum):
    """Where a stage of an instance is."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"


class TaskState(StrEnum):
    """Where a task of an instance is."""

    PENDING = "PENDING"
    SCHEDULED = "SCHEDULED"
    STARTED = "STARTED"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"
    COMPENSATING = "COMPENSATING"
    COMPENSATED = "COMPENSATED"
    COMPENSATION_FAILED = "COMPENSATION_FAILED"


ENDED = frozenset({InstanceState.COMPLETED, InstanceState.ROLLED_BACK, InstanceState.CANCELLED})
"""The states that end an instance: late results change nothing any more."""

ROLLING = frozenset({InstanceState.ROLLING_BACK, InstanceState.ROLLBACK_FAILED})
"""The states in which an instance is being undone."""

LIVE = frozenset({TaskState.SCHEDULED, TaskState.STARTED})
"""The states in which a task has an attempt that somebody may still answer."""

UNDOING = frozenset({TaskState.COMPENSATING, TaskState.COMPENSATION_FAILED})
"""The states in which a task is being undone, or waits for somebody because that failed."""


class Move(NamedTuple):
    """One legal move: from any of `source` to `target`. The field names are those of a django-fsm transition."""

    source: tuple[str, ...]
    target: str


_I, _S, _T = InstanceState, StageState, TaskState

FAIL_INSTANCE = Move((_I.RUNNING,), _I.FAILED)
TIME_OUT_INSTANCE = Move((_I.RUNNING, _I.FAILED), _I.FAILED)
RECOVER_INSTANCE = Move((_I.FAILED,), _I.RUNNING)
SUSPEND_INSTANCE = Move((_I.RUNNING, _I.FAILED), _I.SUSPENDED)
RESUME_INSTANCE = Move((_I.SUSPENDED, _I.FAILED), _I.RUNNING)
COMPLETE_INSTANCE = Move((_I.RUNNING, _I.FAILED), _I.COMPLETED)
CANCEL_INSTANCE = Move((_I.RUNNING, _I.FAILED, _I.SUSPENDED), _I.CANCELLED)
ROLL_BACK_INSTANCE = Move((_I.RUNNING, _I.FAILED, _I.SUSPENDED), _I.ROLLING_BACK)
STOP_ROLLBACK = Move((_I.ROLLING_BACK,), _I.ROLLBACK_FAILED)
RESUME_ROLLBACK = Move((_I.ROLLBACK_FAILED,), _I.ROLLING_BACK)
COMPLETE_ROLLBACK = Move((_I.ROLLING_BACK,), _I.ROLLED_BACK)
REOPEN_INSTANCE = Move((_I.COMPLETED,), _I.RUNNING)

ACTIVATE_STAGE = Move((_S.PENDING,), _S.ACTIVE)
COMPLETE_STAGE = Move((_S.ACTIVE,), _S.COMPLETED)
SKIP_STAGE = Move((_S.ACTIVE,), _S.SKIPPED)
CANCEL_STAGE = Move((_S.PENDING, _S.ACTIVE), _S.CANCELLED)
RESET_STAGE = Move((_S.ACTIVE, _S.COMPLETED, _S.SKIPPED), _S.PENDING)

SCHEDULE_TASK = Move((_T.PENDING, _T.SCHEDULED, _T.STARTED, _T.WAITING, _T.FAILED), _T.SCHEDULED)
START_TASK = Move((_T.SCHEDULED, _T.STARTED), _T.STARTED)
RELEASE_TASK = Move((_T.SCHEDULED, _T.STARTED), _T.SCHEDULED)
AWAIT_SIGNAL = Move((_T.SCHEDULED, _T.STARTED), _T.WAITING)
WAKE_TASK = Move((_T.WAITING,), _T.SCHEDULED)
COMPLETE_TASK = Move((_T.SCHEDULED, _T.STARTED, _T.WAITING, _T.FAILED, _T.CANCELLED, _T.COMPENSATED), _T.COMPLETED)
FAIL_TASK = Move((_T.SCHEDULED, _T.STARTED, _T.WAITING), _T.FAILED)
RETRY_TASK_LATER = Move((_T.FAILED,), _T.WAITING)
SKIP_TASK = Move((_T.PENDING, _T.SCHEDULED, _T.STARTED, _T.WAITING, _T.FAILED), _T.SKIPPED)
CANCEL_TASK = Move((_T.PENDING, _T.SCHEDULED, _T.STARTED, _T.WAITING), _T.CANCELLED)
RESET_TASK = Move((_T.SCHEDULED, _T.STARTED, _T.WAITING, _T.COMPLETED, _T.FAILED, _T.SKIPPED), _T.PENDING)
COMPENSATE_TASK = Move(
    (_T.COMPLETED, _T.FAILED, _T.SKIPPED, _T.CANCELLED, _T.COMPENSATING, _T.COMPENSATED, _T.COMPENSATION_FAILED),
    _T.COMPENSATING,
)
COMPLETE_COMPENSATION = Move((_T.COMPENSATING, _T.COMPENSATION_FAILED), _T.COMPENSATED)
FAIL_COMPENSATION = Move((_T.COMPENSATING,), _T.COMPENSATION_FAILED)
SKIP_COMPENSATION = Move((_T.COMPENSATING, _T.COMPENSATION_FAILED), _T.COMPLETED)

OPEN_HUMAN_TASK = (_T.SCHEDULED, _T.STARTED)
"""The states of a human task that somebody may still decide; the others are final for that attempt."""

CLAIM_HUMAN_TASK = Move((_T.SCHEDULED, _T.STARTED), _T.STARTED)
RELEASE_HUMAN_TASK = Move((_T.SCHEDULED, _T.STARTED), _T.SCHEDULED)
COMPLETE_HUMAN_TASK = Move((_T.SCHEDULED, _T.STARTED, _T.CANCELLED), _T.COMPLETED)
FAIL_HUMAN_TASK = Move((_T.SCHEDULED, _T.STARTED), _T.FAILED)
SKIP_HUMAN_TASK = Move((_T.SCHEDULED, _T.STARTED), _T.SKIPPED)
WITHDRAW_HUMAN_TASK = Move((_T.SCHEDULED, _T.STARTED), _T.CANCELLED)


class MessageState(StrEnum):
    """Where an outbound message is."""

    PENDING = "PENDING"
    SENT = "SENT"
    FAILED = "FAILED"
    HELD = "HELD"
    WITHDRAWN = "WITHDRAWN"


UNSENT = (MessageState.PENDING, MessageState.FAILED)
"""The states of a message that is to be sent; one that is HELD stands in its queue's line and is sent when let out."""


class QuarantineState(StrEnum):
    """Where a message that could not be read or matched is."""

    OPEN = "OPEN"
    RESUBMITTED = "RESUBMITTED"
    DISCARDED = "DISCARDED"


RESUBMIT_QUARANTINED = Move((QuarantineState.OPEN,), QuarantineState.RESUBMITTED)
DISCARD_QUARANTINED = Move((QuarantineState.OPEN,), QuarantineState.DISCARDED)
MARK_SENT = Move((*UNSENT, MessageState.HELD), MessageState.SENT)
MARK_UNSENT = Move(UNSENT, MessageState.FAILED)
HOLD_MESSAGE = Move(UNSENT, MessageState.HELD)
LET_OUT_MESSAGE = Move((MessageState.HELD,), MessageState.PENDING)
WITHDRAW_MESSAGE = Move((*UNSENT, MessageState.HELD), MessageState.WITHDRAWN)


class SubscriptionStatus(StrEnum):
    """How far a subscription has come."""

    INITIAL = "initial"
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    MIGRATING = "migrating"
    DISABLED = "disabled"
    TERMINATED = "terminated"


_P = SubscriptionStatus

PROVISION_SUBSCRIPTION = Move((_P.INITIAL,), _P.PROVISIONING)
ACTIVATE_SUBSCRIPTION = Move((_P.PROVISIONING, _P.MIGRATING, _P.DISABLED), _P.ACTIVE)
MIGRATE_SUBSCRIPTION = Move((_P.ACTIVE,), _P.MIGRATING)
DISABLE_SUBSCRIPTION = Move((_P.ACTIVE, _P.MIGRATING), _P.DISABLED)
TERMINATE_SUBSCRIPTION = Move((_P.INITIAL, _P.PROVISIONING, _P.ACTIVE, _P.MIGRATING, _P.DISABLED), _P.TERMINATED)
