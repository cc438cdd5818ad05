"""Who is told after a commit.

Filled by wiring; a listener must be quick, and its failure never undoes what is committed.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from workflows.definitions.schema import WorkflowDefinition
from workflows.engine.snapshot import Snapshot
from workflows.runtime.attempts import EndedAttempt
from workflows.tracecontext import TraceContext

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HumanChange:
    """A human task that came, went or changed hands; `before` is whom it was assigned to until now, where that
    changed.
    """

    id: uuid.UUID
    assigned_kind: str
    assigned_to: str | None
    claimed_by: str | None
    is_open: bool
    before: tuple[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """A command that came in a trace of its caller's."""

    command: str
    trace: TraceContext


@dataclass(frozen=True, slots=True)
class Details:
    """What only some listeners want to know of a change: its template and snapshot, which attempts are over, and who
    asked in which trace. `ended`: it ended with this change.
    """

    definition: WorkflowDefinition
    now: Snapshot
    attempts: tuple[EndedAttempt, ...]
    heard: tuple[Heard, ...]
    ended: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What one instance went through: `tasks` are the keys STAGE/TASK that moved, `events` names of what happened.

    `heard`: nothing happened, but somebody said how far the work at these tasks is.
    `details` are there where somebody has subscribed for them.
    """

    instance_id: uuid.UUID
    last_sequence: int
    state: str
    created: bool
    component_name: str
    workflow_name: str
    tasks: tuple[str, ...]
    events: tuple[str, ...]
    human_tasks: tuple[HumanChange, ...]
    heard: bool = False
    details: Details | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """One commit: what changed, which queues got messages, whether steps may run, the earliest clock newly armed.

    `unsent`: whether messages wait in the table for a relay, or one in a line may go out now; others are sent by this
    process already.
    `everything`: everybody looks at everything, as the whole engine was paused or goes on, or others take part in its
    activities now.
    """

    at: dt.datetime
    changes: tuple[Change, ...]
    queues: frozenset[str] = frozenset()
    unsent: bool = False
    steps: bool = False
    deadline: dt.datetime | None = None
    everything: bool = False


Listener = Callable[[Committed], None]
_listeners: list[Listener] = []
_detailed: list[Listener] = []


def subscribe(listener: Listener, *, details: bool = False) -> Callable[[], None]:
    """This will tell the listener of every commit of this process from now on; the answer ends that.

    With `details` every change has them; they cost something, so ask for them only to use them.
    """
    lists = [_listeners, _detailed] if details else [_listeners]
    for one in lists:
        one.append(listener)

    def end() -> None:
        for one in lists:
            if listener in one:
                one.remove(listener)

    return end


def tell(committed: Committed) -> None:
    """This will tell everybody, one after the other, in the thread that committed."""
    for listener in tuple(_listeners):
        try:
            listener(committed)
        except Exception:
            log.exception("A listener failed; what was committed stands")


def wants_details() -> bool:
    """This will tell whether somebody has subscribed for the details of changes."""
    return bool(_detailed)


def anybody() -> bool:
    """This will tell whether anybody listens."""
    return bool(_listeners)
