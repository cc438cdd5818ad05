"""The clock: fires what has fallen due, at the moment when it does, without getting in the way of anything else.

Note [Many at once]
Fifty thousand deadlines of one moment are as many transactions' worth of work, and nobody else shall wait for them. So
the clock takes small batches, of a size that holds its locks (on SQLite, the only writer's turn) for no longer than
HOLD, and rests after each for as long as it took, times YIELD. Where others turn out to have fired most of a batch,
another clock is at it: this one then looks further down the row.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections.abc import Callable

from django.db import connection

from workflows.conf import settings
from workflows.runtime import deadlines
from workflows.runtime.listeners import Committed
from workflows.runtime.workers import REST, Worker

HOLD = 0.05
HOLD_OF_THE_ONLY_WRITER = 0.008
YIELD = 1.0
_LEAST = 4


class Clock:
    """Sleeps until the earliest deadline, or until a commit arms an earlier one. `now` tells the time."""

    def __init__(self, *, now: Callable[[], dt.datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._next: dt.datetime | None = None
        self._batch = 20
        self._skip = 0
        self.worker = Worker(name="clock", work=self._work)

    def heard(self, committed: Committed) -> None:
        """This will wake the clock for a deadline that is earlier than the one it sleeps for."""
        if committed.deadline is None:
            return
        with self._lock:
            earlier = self._next is None or committed.deadline < self._next
        if earlier:
            self.worker.wake()

    def _work(self) -> float:
        with self._lock:
            # Until the next moment is known, every deadline wakes: one armed between the look and its answer counts.
            self._next = None
        began = time.monotonic()
        fired = deadlines.fire(self._now(), most=self._batch, skip=self._skip)
        took = time.monotonic() - began
        due = deadlines.next_due()
        with self._lock:
            self._next = due
        self._look_elsewhere(fired)
        if not fired.due:
            # What is due and was not fired is held by somebody else at the moment, or failed: no hurry.
            return max(0.5, self._pause(due))
        if due is None or due > self._now():
            return self._pause(due)
        if fired.due == self._batch:
            self._suit(took)
        self.worker.doze(took * YIELD)
        return 0

    def _suit(self, took: float) -> None:
        """This will make the next batch as large as fits, growing and shrinking by steps."""
        hold = HOLD if connection.features.has_select_for_update else HOLD_OF_THE_ONLY_WRITER
        fitting = int(self._batch * hold / max(took, 0.001))
        most = max(_LEAST, settings.HANDLE_BATCH)
        self._batch = max(_LEAST, self._batch // 2, min(fitting, self._batch * 2, most))

    def _look_elsewhere(self, fired: deadlines.Fired) -> None:
        crowded = fired.due == self._batch and fired.idle * 2 > fired.due
        self._skip = self._batch * random.randrange(1, 8) if crowded else 0  # noqa: S311 (spreading, not secrecy)

    def _pause(self, due: dt.datetime | None) -> float:
        return REST if due is None else max(0.0, (due - self._now()).total_seconds())
