"""Wakes the jobs of other processes after a commit, over the database that they share.

Note [Waking other processes]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A listener in the same process hears of a commit at once. Others hear by PostgreSQL's NOTIFY, but not out of the
transaction that writes: a transaction that has notified holds one lock for the whole server until its commit is on the
disk, so that writers queue up there, one fsync after the other (twelve writers on one machine: 3,900 commits a second
without, 380 with a notification in each). A thread of the process that has committed sends it right afterwards, over a
connection of its own that waits for no disk, at most one notification in GATHER or GATHER_QUEUES seconds whatever the
number of commits. What is lost with a process that dies in between costs no more than the safety net under all wake-ups
(`workers.REST`), and whoever has connected anew looks at everything once.

SQLite tells nobody, but it counts: `PRAGMA data_version` reads a number in shared memory that moves with every commit
of another connection. It costs some microseconds, so a process looks LOOKS_A_SECOND times, and at the tables only when
the number has moved.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import select
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from django.db import connection

from workflows.engine.outgoing import is_called
from workflows.runtime.listeners import Committed
from workflows.runtime.workers import Worker

logger = logging.getLogger(__name__)

CHANNEL = "orchestrator_wake"
GATHER = 0.002
"""Seconds after a notification in which what happens goes into the next one."""
GATHER_QUEUES = 0.02
"""The same where no job of another process has work: only who waits for a lease in another process then hears later."""
IDLE = 20.0
"""Seconds after which a connection is given up that had nothing to say."""
LISTEN = 0.5
"""Seconds for which a listener waits before it asks whether it is to end."""
ASK = 15.0
"""Seconds of silence after which a listener asks whether its connection still holds."""
LOOKS_A_SECOND = 10
_QUEUES_IN_ONE = 9  # a notification holds 8,000 bytes, a queue's name up to 200 characters of up to four bytes


@dataclass(frozen=True, slots=True)
class News:
    """What others have committed: which jobs have work now, which queues got messages, the earliest new deadline."""

    jobs: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    deadline: dt.datetime | None = None
    everything: bool = False

    def as_committed(self) -> Committed:
        """This will give it in the words in which jobs hear of commits."""
        return Committed(
            at=self.deadline or dt.datetime.now(dt.UTC),
            changes=(),
            queues=self.queues,
            unsent="relay" in self.jobs,
            steps="steps" in self.jobs,
            deadline=self.deadline,
            everything=self.everything,
        )


@dataclass(slots=True)
class _Gathered:
    """What is to be told next."""

    jobs: set[str] = field(default_factory=set)
    queues: set[str] = field(default_factory=set)
    deadline: dt.datetime | None = None
    everything: bool = False

    def __bool__(self) -> bool:
        return bool(self.jobs or self.queues or self.everything)


class Voice:
    """Tells other processes of this one's commits. `here` names the jobs that this process does by itself."""

    def __init__(self) -> None:
        self.here: Collection[str] = ()
        self._changed = threading.Condition()
        self._gathered = _Gathered()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._raw: psycopg.Connection[Any] | None = None

    def heard(self, committed: Committed) -> None:
        """This will have others told, if the commit concerns any. Quick, from any thread."""
        armed = committed.deadline is not None and "clock" not in self.here
        sends = committed.unsent and "relay" not in self.here
        concerns = committed.queues or sends or committed.steps or armed or committed.everything
        if not concerns or connection.vendor != "postgresql":
            return
        with self._changed:
            if self._ended:
                return
            gathered = self._gathered
            gathered.everything |= committed.everything
            gathered.queues |= committed.queues
            if sends:
                gathered.jobs.add("relay")
            if "callers" not in self.here and any(map(is_called, committed.queues)):
                gathered.jobs.add("callers")
            if committed.steps:
                # Also where steps run here: one at a time, and each may take long.
                gathered.jobs.add("steps")
            if armed:
                gathered.jobs.add("clock")
                earliest = (gathered.deadline, committed.deadline)
                gathered.deadline = min(moment for moment in earliest if moment is not None)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="voice", daemon=True)
                self._thread.start()
            self._changed.notify()

    def end(self, seconds: float = 2.0) -> None:
        """This will tell what is still to be told, and nothing more."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        silent_until = 0.0
        while (gathered := self._next()) is not None:
            try:
                self._tell(gathered)
            except Exception as error:
                self._hang_up()
                if time.monotonic() >= silent_until:
                    silent_until = time.monotonic() + 60
                    logger.warning("other processes start late: they cannot be told of commits (%s)", error)
            with self._changed:
                self._changed.wait_for(lambda: self._ended, GATHER)
                self._changed.wait_for(self._is_urgent, GATHER_QUEUES - GATHER)
        self._hang_up()

    def _is_urgent(self) -> bool:
        return bool(self._ended or self._gathered.jobs or self._gathered.everything)

    def _next(self) -> _Gathered | None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._gathered or self._ended, IDLE):
                self._hang_up()
                self._changed.wait_for(lambda: self._gathered or self._ended)
            gathered, self._gathered = self._gathered, _Gathered()
            return gathered or None

    def _tell(self, gathered: _Gathered) -> None:
        if self._raw is None:
            # Who notifies writes a commit to the log of the database; nobody waits until it is on the disk.
            self._raw = _connect(purpose="tells", options="-c synchronous_commit=off")
        for payload in _payloads(gathered):
            self._raw.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))

    def _hang_up(self) -> None:
        if self._raw is not None:
            self._raw.close()
            self._raw = None


_ME = uuid.uuid4().hex[:12]


def _payloads(gathered: _Gathered) -> Iterator[str]:
    queues = sorted(gathered.queues)
    said: dict[str, Any] = {"from": _sender(), "jobs": sorted(gathered.jobs)}
    if gathered.deadline is not None:
        said["deadline"] = gathered.deadline.isoformat()
    if gathered.everything:
        said["everything"] = True
    for start in range(0, max(1, len(queues)), _QUEUES_IN_ONE):
        yield json.dumps(said | {"queues": queues[start : start + _QUEUES_IN_ONE]}, ensure_ascii=False)


def _sender() -> str:
    return f"{_ME}-{os.getpid()}"


class Ear:
    """Hears of the commits of other processes. `tell` is told what happened; `rouse`: that anything may have."""

    def __init__(self, *, tell: Callable[[News], None], rouse: Callable[[], None]) -> None:
        self._tell, self._rouse = tell, rouse
        self._raw: psycopg.Connection[Any] | None = None
        self._heard_at = 0.0
        self._version: int | None = None
        self.worker = Worker(name="ear", work=self._work)

    def close(self) -> None:
        """This will let go of the connection, once the thread has ended."""
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    def _work(self) -> float:
        if connection.vendor == "postgresql":
            self._listen()
            return 0
        self._count()
        return 1 / LOOKS_A_SECOND

    def _listen(self) -> None:
        try:
            if self._raw is None:
                self._raw = _connect(purpose="listens")
                self._raw.add_notify_handler(lambda notified: self._hear(notified.payload))
                self._raw.execute(f"LISTEN {CHANNEL}")
                self._heard_at = time.monotonic()
                # What was said while nobody listened.
                self._rouse()
            self._wait(self._raw)
        except (psycopg.Error, OSError):
            self.close()
            raise

    def _wait(self, raw: psycopg.Connection[Any]) -> None:
        readable, _, _ = select.select([raw.fileno()], [], [], LISTEN)
        if readable:
            self._heard_at = time.monotonic()
        elif time.monotonic() - self._heard_at > ASK:
            raw.execute("SELECT 1")
            self._heard_at = time.monotonic()
        raw.pgconn.consume_input()
        while (notified := raw.pgconn.notifies()) is not None:
            self._hear(notified.extra)

    def _hear(self, payload: str | bytes) -> None:
        if (news := _read(payload)) is not None:
            self._tell(news)

    def _count(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA data_version")
            (version,) = cursor.fetchone()
        if version != self._version:
            self._version = version
            self._rouse()


def _read(payload: str | bytes) -> News | None:
    """What a notification says; None for our own, and for what a later version of us may say."""
    try:
        said = json.loads(payload)
        if said["from"] == _sender():
            return None
        deadline = said.get("deadline")
        return News(
            jobs=frozenset(said["jobs"]),
            queues=frozenset(said["queues"]),
            deadline=None if deadline is None else dt.datetime.fromisoformat(deadline),
            everything=bool(said.get("everything")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        logger.warning("a notification on %s makes no sense: %.200r", CHANNEL, payload)
        return None


def _connect(*, purpose: str, options: str = "") -> psycopg.Connection[Any]:
    """A connection beside Django's: it waits for long, and must never be lent to anybody else."""
    known = connection.get_connection_params()
    wanted = ("host", "port", "dbname", "user", "password", "connect_timeout", "service", "passfile")
    given = {name: known[name] for name in known if name in wanted or name.startswith("ssl")}
    return psycopg.connect(
        **given,
        autocommit=True,
        application_name=f"orchestrator {purpose}",
        options=options,
        # A server that is gone without a word is noticed within half a minute.
        keepalives=1,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=15_000,
    )
