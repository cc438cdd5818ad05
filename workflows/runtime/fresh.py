"""Messages that this process has just committed and sends by itself, from memory.

Note [A head start]
~~~~~~~~~~~~~~~~~~~
The usual way of a message is long: a relay is woken, locks the rows that are due, sends them and writes down that it
did. Where a relay runs in the process that commits, the message is in memory already, so it is sent from there; only
what became of it is written down, together with that of others, a moment later.

For that a message is written down with a head start: it is due for other relays only in HEAD_START. Within this time it
is sent and settled, or else it goes the usual way, as everything does that was committed by a process that died, by one
without a relay, or while the bus did not answer. A message that is in doubt goes out twice, with the same message id;
never not at all.

Only the first message of a task has a head start: no other one has to go before it (outbox, Note [In their turn]).
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

log = logging.getLogger(__name__)

HEAD_START = dt.timedelta(seconds=2)
YOUNG = 1.0
"""Seconds after its commit in which a message is sent from memory; then the usual way is nearly open to it."""


class FreshMessage(NamedTuple):
    """A message that was written down with a head start: the key of its row, what is sent, and its trace context."""

    instance_id: uuid.UUID
    message_id: uuid.UUID
    queue: str
    body: str
    trace: str = ""


class FreshMessages:
    """What lies between those who commit and the relays of the same process. Every method may be called by any thread.

    `granted` is read by those who write: whether a relay is there that would take what they commit now.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._takers: dict[object, Callable[[], None]] = {}
        self._messages: deque[tuple[float, FreshMessage]] = deque()
        self.granted = False

    def open(self, taker: object, *, offer: Callable[[], None]) -> None:
        """This will grant head starts from now on: somebody takes what is fresh.

        `offer` is called in the thread that has committed, right after the commit; it must not wait for anything.
        """
        with self._lock:
            self._takers[taker] = offer
            self.granted = True

    def close(self, taker: object) -> None:
        """This will grant none any more, unless somebody else takes; what lies here is left to the usual way."""
        with self._lock:
            self._takers.pop(taker, None)
            self.granted = bool(self._takers)
            if not self.granted:
                self._messages.clear()

    def put(self, messages: Iterable[FreshMessage]) -> None:
        """This will offer what has been committed."""
        now = time.monotonic()
        with self._lock:
            if self.granted:
                self._messages.extend((now, message) for message in messages)
            offers = list(self._takers.values())
        for offer in offers:
            try:
                offer()
            except Exception:
                log.exception("A fresh message was not taken; it goes the usual way")

    def put_back(self, messages: Sequence[FreshMessage]) -> None:
        """This will leave to others what was taken and not sent after all."""
        now = time.monotonic()
        with self._lock:
            if self.granted:
                self._messages.extendleft((now, message) for message in reversed(messages))

    def take(self, most: int) -> list[FreshMessage]:
        """This will give the oldest that are still young, so many at most; each is given once."""
        with self._lock:
            oldest = time.monotonic() - YOUNG
            while self._messages and self._messages[0][0] < oldest:
                self._messages.popleft()
            return [self._messages.popleft()[1] for _ in range(min(most, len(self._messages)))]


messages = FreshMessages()
"""Those of this process."""
