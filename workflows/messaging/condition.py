"""What this process has last heard of its broker, for health and metrics."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

WORKS, BLOCKED, DOWN, UNKNOWN = "works", "blocked", "down", "unknown"
SENDING, TAKING = "sending", "taking"


@dataclass(frozen=True, slots=True)
class Condition:
    """`state` is one of the four words above; `since` is when it began, in seconds of `time.time()`."""

    state: str
    reason: str
    since: float


_UNKNOWN = Condition(UNKNOWN, "", time.time())
_WORST_FIRST = (DOWN, BLOCKED, WORKS, UNKNOWN)
_lock = threading.Lock()
_parts: dict[str, Condition] = {}


def note(state: str, reason: str = "", *, part: str = SENDING) -> None:
    """This will remember how the broker was found by those who send, or by those who take."""
    before = _parts.get(part, _UNKNOWN)
    if before.state == state == WORKS:
        return
    with _lock:
        _parts[part] = Condition(state, reason, before.since if before.state == state else time.time())


def read() -> Condition:
    """This will tell how the broker was found the last time that this process had to do with it, the worse of both."""
    return min([_UNKNOWN, *_parts.values()], key=lambda one: _WORST_FIRST.index(one.state))
