"""A thread that works when it is woken, and now and then without."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import close_old_connections, connection, connections

from workflows import failpoints

logger = logging.getLogger(__name__)

REST = 5.0
"""Seconds between two looks when nothing wakes the thread: the safety net under the wake-ups, never the way."""
LONGEST_BACK_OFF = 30.0
HAND_BACK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """How a worker is: whether its thread lives, how often in a row its work failed, how long it has been at it."""

    name: str
    alive: bool
    failures: int
    busy_seconds: float


class Worker:
    """Calls `work` again and again in a thread of its own until it is stopped.

    `work` does a bounded piece and returns the seconds after which it wants to be called again at the latest (0: at
    once; None: when woken, or after a rest). When it raises, it is called again after a growing pause. `end` is called
    as the last thing in the thread.
    """

    def __init__(
        self,
        *,
        name: str,
        work: Callable[[], float | None],
        rest: float = REST,
        end: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._work = work
        self._end = end
        self._rest = rest
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._failures = 0
        self._began: float | None = None
        self._handed_back = 0.0

    def start(self) -> None:
        """This will start the thread."""
        self._thread.name = self.name
        self._thread.start()

    def wake(self) -> None:
        """This will have it work now, or once more when it is working already. Quick, and callable from any thread."""
        self._woken.set()

    def stop(self) -> None:
        """This will ask it to end after the piece of work at hand."""
        failpoints.hit("shutdown")
        self._stopping.set()
        self._woken.set()

    @property
    def has_died(self) -> bool:
        """This will tell whether its thread has ended although nobody had asked it to."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._stopping.is_set()

    def report(self) -> Report:
        """This will tell how it is, for those who look after the process."""
        began = self._began
        return Report(
            name=self.name,
            alive=self._thread.is_alive(),
            failures=self._failures,
            busy_seconds=0.0 if began is None else time.monotonic() - began,
        )

    def join(self, timeout: float | None = None) -> bool:
        """This will wait for its end and tell whether it has come."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def doze(self, seconds: float) -> None:
        """This will let the thread pause whoever wakes it, unless it is to end. For `work` to call."""
        self._stopping.wait(seconds)

    @property
    def stopping(self) -> bool:
        """This will tell whether it was asked to end; long pieces of work ask now and then."""
        return self._stopping.is_set()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                pause = self._turn()
                # Asked again: the end may have been asked for right before the turn forgot what had woken it.
                if pause > 0 and not self._stopping.is_set():
                    self._woken.wait(pause)
        except BaseException:
            # Not an Exception: what ends a thread on purpose, or Python itself. Whoever watches the process ends it.
            logger.critical("%s has died", self.name, exc_info=True)
        finally:
            try:
                self._end()
            except Exception:
                logger.exception("%s did not end as it should", self.name)
            connections.close_all()

    def _turn(self) -> float:
        # Cleared before the work: what happens meanwhile wakes it once more.
        self._woken.clear()
        self._began = time.monotonic()
        try:
            pause = self._work()
        except Exception:
            self._failures += 1
            after = min(LONGEST_BACK_OFF, 0.25 * 2 ** min(self._failures, 10))
            logger.exception("%s failed; it goes on in %.1f s", self.name, after)
            connection.close()
            self._began = None
            self._stopping.wait(after)
            return 0
        self._failures = 0
        # Not after every turn: fetching it anew, and asking whether it lives, takes longer than much of the work.
        if time.monotonic() - self._handed_back >= HAND_BACK_SECONDS:
            _hand_back_connection()
            self._handed_back = time.monotonic()
        self._began = None
        return self._rest if pause is None else min(pause, self._rest)


def _hand_back_connection() -> None:
    # To the pool, if there is one. A connection to SQLite is a file: opening it anew costs more than much of the work.
    if connection.vendor != "sqlite":
        close_old_connections()
