"""The clock: fires what has fallen due, at the moment when it does."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

from workflows.runtime import deadlines
from workflows.runtime.listeners import Committed
from workflows.runtime.workers import REST, Worker


class Clock:
    """Sleeps until the earliest deadline, or until a commit arms an earlier one. `now` tells the time."""

    def __init__(self, *, now: Callable[[], dt.datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._next: dt.datetime | None = None
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
        fired = deadlines.fire_due(self._now())
        due = deadlines.next_due()
        with self._lock:
            self._next = due
        if fired:
            return 0 if due is not None and due <= self._now() else self._pause(due)
        # What is due and was not fired is held by somebody else at the moment, or failed: no hurry.
        return max(0.5, self._pause(due))

    def _pause(self, due: dt.datetime | None) -> float:
        return REST if due is None else max(0.0, (due - self._now()).total_seconds())
