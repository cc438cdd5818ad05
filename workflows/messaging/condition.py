"""What this process has last heard of its broker, for health and metrics."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

WORKS, BLOCKED, DOWN, UNKNOWN = "works", "blocked", "down", "unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """`state` is one of the four words above; `since` is when it began, in seconds of `time.time()`."""

    state: str
    reason: str
    since: float


_lock = threading.Lock()
_now = Condition(UNKNOWN, "", time.time())


def note(state: str, reason: str = "") -> None:
    """This will remember how the broker was found."""
    global _now
    if _now.state == state == WORKS:
        return
    with _lock:
        _now = Condition(state, reason, _now.since if _now.state == state else time.time())


def read() -> Condition:
    """This will tell how the broker was found the last time that this process sent something."""
    return _now
