"""The pause: one row that every process knows of, and what is admitted meanwhile.

Note [Nothing new starts]
~~~~~~~~~~~~~~~~~~~~~~~~~
While the row is there the door refuses every command by which something could start (`engine_paused`): starts, results,
signals, decisions, retries. What only ends, holds or notes something is admitted: cancelling, suspending, claiming,
commenting. The jobs look here before they begin anything: steps are not run, clocks and schedules do not go off,
nothing is sent, and nothing is taken from the broker, where messages wait as if we were away.

Asking costs next to nothing: a process reads the row in a transaction that it has open anyway, at most once in FRESH
seconds; who pauses waits for so long before it says that the engine is paused. The row is read behind the lock of the
instance. So no transaction that begins after that answer lets anything through.
Which queues have limits (`limits`) comes with the same look, so that it costs nothing more.

How many steps still run is not counted anywhere, so nothing can be counted wrongly: on PostgreSQL the transaction of a
step holds a shared advisory lock, and the server knows who holds it. The lock is asked for before the row is read: a
step is either counted or refused. On SQLite the row is read anew by each, and cannot be written while a step runs.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db import connection

from workflows.engine import commands as c
from workflows.models import ControlRecord, EnginePause
from workflows.models.locking import writing
from workflows.models.postgresql import STEP_LOCK
from workflows.models.writes import Database
from workflows.runtime import listeners, moments
from workflows.runtime.asking import Answer
from workflows.runtime.listeners import Committed
from workflows.runtime.sql import moment_of

FRESH = 0.25
"""Seconds for which what a process knows of the pause is good enough (on PostgreSQL)."""
RETRY_AFTER = 5
"""Seconds after which it is worth asking again."""
CODE = "engine_paused"

ADMITTED = (c.CancelWorkflow, c.SuspendWorkflow, c.ClaimTask, c.ReleaseTask, c.ReassignTask, c.CommentTask)
"""What starts nothing."""


class EngineState(StrEnum):
    """Whether the engine works; PAUSING: it is paused, and some steps have not come to their end yet."""

    RUNNING = "RUNNING"
    PAUSING = "PAUSING"
    PAUSED = "PAUSED"


@dataclass(frozen=True, slots=True)
class Pause:
    """Who has paused the engine, when and why."""

    at: dt.datetime
    by: str
    reason: str

    @property
    def sentence(self) -> str:
        """This will say it to whoever is refused something."""
        return f"The engine is paused by {self.by}: {self.reason} Nothing new starts until it is resumed."


@dataclass(frozen=True, slots=True)
class Standing:
    """How the engine stands: its pause, and how many steps still run."""

    state: EngineState
    pause: Pause | None = None
    running_steps: int = 0


class EnginePaused(Exception):
    """Nothing new starts at the moment; it says who has paused the engine and why."""


class Known:
    """What this process knows of the pause; and `limited`, the queues that have limits, as of the last look."""

    def __init__(self) -> None:
        self._pause: Pause | None = None
        self.limited: frozenset[str] = frozenset()
        self._until = 0.0
        self.fresh = FRESH

    def now(self, database: Database | None = None) -> Pause | None:
        """This will give the pause, if there is one; `database` is that of a transaction that is open."""
        if time.monotonic() < self._until:
            return self._pause
        began = time.monotonic()
        rows = _look() if database is None else database.rows(_ROW, [(1,)], ("int",))
        self._pause = _pause_of(row[:3] for row in rows if row[0] is not None)
        self.limited = frozenset(row[3] for row in rows if row[3] is not None)
        self._until = began + self.fresh if connection.vendor == "postgresql" else 0.0
        return self._pause

    def forget(self) -> None:
        """This will have it looked up the next time that somebody asks."""
        self._until = 0.0


known = Known()
"""What this process knows."""

_ROW = (
    "SELECT p.paused_at, p.paused_by, p.reason, l.queue FROM {keys} LEFT JOIN workflows_enginepause p ON p.id = k.a"
    " LEFT JOIN workflows_queuelimit l ON 1 = 1"
)
_STEPS = """SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND objsubid = 2
  AND mode = 'ShareLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


def _look() -> Sequence[Any]:
    with connection.cursor() as cursor:
        cursor.execute(_ROW.format(keys="(SELECT 1 AS a) k"))
        return cursor.fetchall()


def _read() -> Pause | None:
    return _pause_of(EnginePause.objects.values_list("paused_at", "paused_by", "reason")[:1])


def _pause_of(rows: Any) -> Pause | None:
    for at, by, reason in rows:
        moment = moment_of(at)
        assert moment is not None
        return Pause(moment, by, reason)
    return None


def refuses(command: object) -> bool:
    """This will tell whether something could start by the command. See Note [Nothing new starts]."""
    return not isinstance(command, ADMITTED)


def check() -> None:
    """This will raise EnginePaused while the engine is paused."""
    if (pause := known.now()) is not None:
        raise EnginePaused(pause.sentence)


def insist(answers: Iterable[Answer]) -> None:
    """This will raise EnginePaused where the door has refused something because of the pause."""
    for answer in answers:
        if answer.code == CODE:
            raise EnginePaused(answer.reason)


def standing() -> Standing:
    """This will tell how the engine stands, as the database says."""
    pause = _read()
    if pause is None:
        return Standing(EngineState.RUNNING)
    steps = running_steps()
    young = connection.vendor == "postgresql" and moments.now() - pause.at < dt.timedelta(seconds=FRESH)
    return Standing(EngineState.PAUSING if steps or young else EngineState.PAUSED, pause, steps)


def running_steps() -> int:
    """This will count the steps that run in any process."""
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_STEPS, STEP_LOCK)
        (count,) = cursor.fetchone()
    return int(count)


def pause(*, by: str, reason: str, at: dt.datetime | None = None) -> Standing:
    """This will pause everything; a pause that there is already stays as it is."""
    moment = at or moments.now()
    with writing():
        _, created = EnginePause.objects.get_or_create(
            id=1, defaults={"paused_at": moment, "paused_by": by, "reason": reason}
        )
        if created:
            _record(moment, by, "PAUSED", reason)
    if created:
        _tell(moment)
        if connection.vendor == "postgresql":
            # Then nobody goes by what it knew before.
            time.sleep(FRESH)
    return standing()


def resume(*, by: str, reason: str = "", at: dt.datetime | None = None) -> Standing:
    """This will let everything go on, by itself; where nothing is paused nothing happens."""
    moment = at or moments.now()
    with writing():
        removed, _ = EnginePause.objects.filter(id=1).delete()
        if removed:
            _record(moment, by, "RESUMED", reason)
    if removed:
        _tell(moment)
    return standing()


def _record(at: dt.datetime, by: str, action: str, reason: str) -> None:
    ControlRecord.objects.create(at=at, actor=by, action=action, reason=reason)


def _tell(at: dt.datetime) -> None:
    known.forget()
    listeners.tell(Committed(at=at, changes=(), everything=True))
