"""Sends what was written down to be sent: what this process commits from memory, the rest from the table."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Sequence

from workflows import failpoints
from workflows.messaging.port import BusDown, MessageBus, Outgoing, PostingBus
from workflows.runtime import fresh, line, listeners, outbox, pausing
from workflows.runtime.claimed import Claimed
from workflows.runtime.fresh import FreshMessage
from workflows.runtime.listeners import Committed
from workflows.runtime.workers import Worker

logger = logging.getLogger(__name__)

BATCH = 1_000
POST = 10
"""How many messages at most are written by the thread that has committed them."""
PROBE = 10
"""How many messages are tried at once while the bus does not answer."""
GATHER_SECONDS = 0.25
LONGEST_PAUSE = 5.0
BUS_DOWN = "The bus does not answer"
TEND_SECONDS = 5.0
SETTLE_SECONDS = 0.05
"""When nothing fresh has come for so long, it is written down what became of what was sent from memory."""
SETTLE_AT_LAST = 0.25
"""The same while more and more comes."""


class Relay:
    """Sends at once what a commit has written down. `now` tells the time, `open_bus` gives a bus for its thread."""

    def __init__(self, *, open_bus: Callable[[], MessageBus], now: Callable[[], dt.datetime]) -> None:
        self._open_bus = open_bus
        self._now = now
        self._bus: MessageBus | None = None
        self._failures = 0
        self._look_wanted = True
        self._next_look = 0.0
        self._sent: list[tuple[FreshMessage, dt.datetime]] = []
        self._sent_since = 0.0
        self._posted: Sequence[FreshMessage] = ()
        self._bus_in_use = threading.Lock()
        self._next_strays = 0.0
        self.worker = Worker(name="relay", work=self._work, rest=TEND_SECONDS, end=self._end)

    def heard(self, committed: Committed) -> None:
        """This will wake the relay when the commit may have written down messages."""
        if committed.unsent or committed.everything:
            self.look()
        elif committed.queues:
            self.worker.wake()

    def look(self) -> None:
        """This will have the relay look for messages that are due, whoever has written them down."""
        self._look_wanted = True
        self.worker.wake()

    def _post(self) -> None:
        """In the thread that has committed, which waits for nothing: until the relay's own runs takes longer."""
        if self._posted or not self._bus_in_use.acquire(blocking=False):
            return
        try:
            if isinstance(self._bus, PostingBus) and not self._posted:
                messages = fresh.messages.take(POST)
                if messages and not _limited(messages) and self._bus.post(_outgoing(messages)):
                    self._posted = messages
                else:
                    fresh.messages.put_back(messages)
        finally:
            self._bus_in_use.release()

    def close(self) -> None:
        """This will let go of the bus, once the thread has ended."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _work(self) -> float | None:
        with self._bus_in_use:
            return self._work_with(self._bus or self._open())

    def _open(self) -> MessageBus:
        self._bus = self._open_bus()
        return self._bus

    def _work_with(self, bus: MessageBus) -> float | None:
        if pausing.known.now() is not None:
            return self._hold(bus)
        if not self._failures and not bus.has_everything:
            fresh.messages.open(self, offer=self._post)
        taken = self._send_fresh(bus)
        now = time.monotonic()
        wants_look = self._look_wanted or now >= self._next_look
        if self._sent and (wants_look or not taken or now - self._sent_since >= SETTLE_AT_LAST):
            self._settle()
        if not wants_look:
            return SETTLE_SECONDS if self._sent else self._next_look - now
        # Wanted again when it fails.
        self._look_wanted, self._next_look = False, 0.0
        pause = self._look(bus)
        self._next_look = time.monotonic() + (TEND_SECONDS if pause is None else pause)
        return pause

    def _hold(self, bus: MessageBus) -> float | None:
        """While the engine is paused nothing is sent: what lies in memory is left to the table."""
        fresh.messages.close(self)
        self._confirm(bus)
        if self._sent:
            self._settle()
        self._look_wanted = True
        self._tend(bus)
        return None

    def _send_fresh(self, bus: MessageBus) -> int:
        posted = self._confirm(bus)
        taken = fresh.messages.take(BATCH)
        if late := _limited(taken):
            # Their queue has got limits since they were written down: into the line with them.
            taken = [one for one in taken if one not in late]
            self._look_wanted = True
            outbox.hand_back(late, at=self._now())
        if taken:
            self._take_down(taken, lambda: bus.publish(_outgoing(taken)))
        return posted + len(taken)

    def _confirm(self, bus: MessageBus) -> int:
        """Take down what became of the messages that are on their way already, and give how many they were."""
        posted, self._posted = self._posted, ()
        if posted and isinstance(bus, PostingBus):
            self._take_down(posted, bus.confirm)
        return len(posted)

    def _take_down(self, messages: Sequence[FreshMessage], send: Callable[[], Sequence[str | None]]) -> None:
        """What cannot be sent goes the usual way, where it is written down why, and when to try again."""
        try:
            results = send()
            failpoints.hit("relay_after_confirm")
        except BusDown:
            results = [BUS_DOWN] * len(messages)
        if not self._sent:
            self._sent_since = time.monotonic()
        now = self._now()
        self._sent += [(one, now) for one, error in zip(messages, results, strict=True) if error is None]
        left = [one for one, error in zip(messages, results, strict=True) if error is not None]
        if left:
            self._look_wanted = True
            outbox.hand_back(left, at=now)

    def _settle(self) -> None:
        sent, self._sent = self._sent, []
        outbox.settle_fresh(sent)

    def _end(self) -> None:
        with self._bus_in_use:
            if self._bus is not None:
                self._send_fresh(self._bus)
            fresh.messages.close(self)
            if self._sent:
                self._settle()

    def _look(self, bus: MessageBus) -> float | None:
        most = PROBE if self._failures else BATCH
        again_at = None if self._failures else self._let_out()
        tried, down = _round(bus, self._now(), most)
        if down:
            # A few rows feel whether it is back; the others keep their turn, and whoever wakes us need not know.
            self._failures += 1
            fresh.messages.close(self)
            self.worker.doze(min(LONGEST_PAUSE, 0.25 * 2 ** min(self._failures, 10)))
            return 0
        if tried and self._failures:
            self._failures = 0
            outbox.due_again(BUS_DOWN, at=self._now())
            return 0
        if tried == most or (tried and pausing.known.limited):
            # Of queues with limits some of it may have been put into the line.
            return 0
        self._tend(bus)
        if bus.has_everything and not pausing.known.limited:
            # Nobody waits for this; writing down a whole moment's messages at once leaves the database to others.
            self.worker.doze(GATHER_SECONDS)
        due = min((one for one in (outbox.next_due(), again_at) if one is not None), default=None)
        return None if due is None else max(0.05, (due - self._now()).total_seconds())

    def _let_out(self) -> dt.datetime | None:
        """Feed the queues that have limits; when to do so again by the clock."""
        now = self._now()
        if time.monotonic() >= self._next_strays:
            self._next_strays = time.monotonic() + TEND_SECONDS
            line.free_strays(now)
        out = line.let_out(now)
        if out.queues:
            # Whoever waits for a lease may have it now, and time-outs begin to run.
            listeners.tell(Committed(at=now, changes=(), queues=out.queues, deadline=out.deadline))
        return out.again_at

    def _tend(self, bus: MessageBus) -> None:
        try:
            bus.tend()
        except BusDown as error:
            logger.info("the connection to the bus has ended; the next message opens another (%s)", error)


def _limited(messages: Sequence[FreshMessage]) -> Sequence[FreshMessage]:
    limited = pausing.known.limited
    return [one for one in messages if one.queue in limited] if limited else ()


def _outgoing(messages: Sequence[FreshMessage]) -> list[Outgoing]:
    failpoints.hit("relay_before_publish")
    return [Outgoing(str(one.message_id), one.queue, one.body.encode(), one.trace) for one in messages]


def relay_once(bus: MessageBus, at: dt.datetime, *, most: int = BATCH) -> int:
    """This will try to send so many messages that are due, and give how many were looked at."""
    return _round(bus, at, most)[0]


def _round(bus: MessageBus, at: dt.datetime, most: int) -> tuple[int, bool]:
    """How many were looked at, and whether the bus was found down."""
    if bus.has_everything:
        return outbox.settle_all(at, most=most), False
    down = False

    def send(messages: Sequence[Claimed]) -> Sequence[str | None]:
        nonlocal down
        try:
            failpoints.hit("relay_before_publish")
            results = bus.publish(
                [Outgoing(one.message_id, one.queue, one.body.encode(), one.trace) for one in messages]
            )
        except BusDown as error:
            down = True
            results = [f"{BUS_DOWN}: {error}"] * len(messages)
        failpoints.hit("relay_after_confirm")
        return results

    return outbox.hand_over(at, most=most, send=send), down
