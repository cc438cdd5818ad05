"""The clock: fires what has fallen due, at the moment when it does, without getting in the way of anything else.

Deadlines of instances, schedules, and batches of a bulk retry. While the engine is paused none of it; afterwards it
waits for AFTER_PAUSE, so that answers which have waited in the broker come before the deadlines that they meet.

Note [Many at once]
~~~~~~~~~~~~~~~~~~~
Fifty thousand deadlines of one moment are as many transactions' worth of work, and nobody else shall wait for them. So
the clock takes small batches, and rests after each for as long as it took, times `rest`. On SQLite a batch is the only
writer's turn, for which everybody else waits, and a writer of another process waits in naps that grow: there a batch is
so small that most of its turn is the one write to the disk that it needs anyway. Where others turn out to have fired
most of a batch, another clock is at it: this one then looks further down the row.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from django.db import connection

from workflows.conf import settings
from workflows.models.locking import is_away
from workflows.runtime import bulk_retry, deadlines, pausing, schedules
from workflows.runtime.listeners import Committed
from workflows.runtime.workers import REST, Worker


class Pace(NamedTuple):
    """How many deadlines go off in a transaction, and how long to rest after it, in times of what it took."""

    batch: int
    rest: float


MANY_WRITERS = Pace(batch=50, rest=1.0)
ONE_WRITER = Pace(batch=20, rest=1.5)


AFTER_PAUSE = 2.0
"""Seconds."""
CHORE_FAILED = dt.timedelta(seconds=30)
"""So long after a failure a chore is tried again."""
logger = logging.getLogger(__name__)


Chore = Callable[[dt.datetime], dt.datetime | None]


class Clock:
    """Sleeps until the earliest deadline, or until a commit arms an earlier one. `now` tells the time.

    `chores` are done each time that it looks; each says when it wants to be done again at the latest.
    """

    def __init__(self, *, now: Callable[[], dt.datetime], chores: Sequence[Chore] = ()) -> None:
        self._now = now
        self._chores = chores
        self._lock = threading.Lock()
        self._next: dt.datetime | None = None
        self._skip = 0
        self._was_paused = False
        self.worker = Worker(name="clock", work=self._work)

    def heard(self, committed: Committed) -> None:
        """This will wake the clock for a deadline that is earlier than the one it sleeps for."""
        if committed.everything:
            self.worker.wake()
        if committed.deadline is None:
            return
        with self._lock:
            earlier = self._next is None or committed.deadline < self._next
        if earlier:
            self.worker.wake()

    def _work(self) -> float:
        if pausing.known.now() is not None:
            self._was_paused = True
            return REST
        if self._was_paused:
            self._was_paused = False
            self.worker.doze(AFTER_PAUSE)
            return 0
        with self._lock:
            # Until the next moment is known, every deadline wakes: one armed between the look and its answer counts.
            self._next = None
        pace = _pace()
        most = min(pace.batch, settings.HANDLE_BATCH)
        began = time.monotonic()
        fired = deadlines.fire(self._now(), most=most, skip=self._skip)
        others = schedules.fire(self._now()) + bulk_retry.go_on(self._now())
        again = self._do_chores()
        took = time.monotonic() - began
        coming = (deadlines.next_due(), schedules.next_due(), *again)
        due = min((one for one in coming if one is not None), default=None)
        with self._lock:
            self._next = due
        crowded = fired.due == most and fired.idle * 2 > most
        self._skip = most * random.randrange(1, 8) if crowded else 0  # noqa: S311 (spreading, not secrecy)
        if others:
            self.worker.doze(took * pace.rest)
            return 0
        if not fired.due:
            # What is due and was not fired is held by somebody else at the moment, or failed: no hurry.
            return max(0.5, self._pause(due))
        if due is None or due > self._now():
            return self._pause(due)
        self.worker.doze(took * pace.rest)
        return 0

    def _do_chores(self) -> list[dt.datetime | None]:
        again = []
        for chore in self._chores:
            try:
                again.append(chore(self._now()))
            except Exception as error:
                if is_away(error):
                    raise
                # A bug in one: deadlines and schedules go off all the same.
                logger.exception("A chore of the clock failed")
                again.append(self._now() + CHORE_FAILED)
        return again

    def _pause(self, due: dt.datetime | None) -> float:
        return REST if due is None else max(0.0, (due - self._now()).total_seconds())


def _pace() -> Pace:
    return MANY_WRITERS if connection.features.has_select_for_update else ONE_WRITER
