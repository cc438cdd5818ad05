"""What time it is: by the clock of the database, which all processes share.

Note [Whose clock]
~~~~~~~~~~~~~~~~~~
A deadline is armed by one process and goes off in another. Where each went by a clock of its own, one whose clock has
jumped by an hour would fail everybody's tasks, or none. So jobs ask PostgreSQL now and then and count on from its
answer by this machine's monotonic clock, which nobody sets. SQLite has no clock but that of the machine it runs on.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from typing import NamedTuple

from django.db import DatabaseError, connection
from django.utils import timezone

logger = logging.getLogger(__name__)

FRESH = 30.0
"""Seconds for which an answer is counted on from: quartz of two machines drifts by a millisecond meanwhile."""


class _Asked(NamedTuple):
    moment: dt.datetime
    at: float


class DatabaseTime:
    """Tells the time when it is called, from any thread."""

    def __init__(self) -> None:
        self._asked: _Asked | None = None
        self._lock = threading.Lock()

    def __call__(self) -> dt.datetime:
        """This will give the time. Raises DatabaseError while the database has never answered."""
        if connection.vendor != "postgresql":
            return timezone.now()
        asked = self._asked
        if asked is None or time.monotonic() - asked.at > FRESH:
            asked = self._ask(asked)
        return asked.moment + dt.timedelta(seconds=time.monotonic() - asked.at)

    def _ask(self, before: _Asked | None) -> _Asked:
        if before is not None and not self._lock.acquire(blocking=False):
            return before  # somebody is asking
        try:
            asked = _ask()
        except DatabaseError:
            if before is None:
                raise
            logger.warning("the database does not tell the time; counting on from its last answer")
            # Asked again in a while, not by every caller.
            asked = _Asked(before.moment + dt.timedelta(seconds=time.monotonic() - before.at), time.monotonic())
        finally:
            if before is not None:
                self._lock.release()
        self._asked = asked
        return asked


def _ask() -> _Asked:
    with connection.cursor() as cursor:
        began = time.monotonic()
        cursor.execute("SELECT clock_timestamp()")
        (moment,) = cursor.fetchone()
    # It answered somewhere between the question and now.
    return _Asked(moment.astimezone(dt.UTC), (began + time.monotonic()) / 2)


now = DatabaseTime()
"""The time, for all of this process."""
