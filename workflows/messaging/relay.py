"""Sends what was written down to be sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from workflows import failpoints
from workflows.messaging.port import BusDown, MessageBus, Outgoing
from workflows.runtime import outbox
from workflows.runtime.listeners import Committed
from workflows.runtime.workers import Worker

BATCH = 100
GATHER_SECONDS = 0.25


class Relay:
    """Sends at once what a commit has written down. `now` tells the time, `open_bus` gives a bus for its thread."""

    def __init__(self, *, open_bus: Callable[[], MessageBus], now: Callable[[], dt.datetime]) -> None:
        self._open_bus = open_bus
        self._now = now
        self._bus: MessageBus | None = None
        self.worker = Worker(name="relay", work=self._work, rest=5.0)

    def heard(self, committed: Committed) -> None:
        """This will wake the relay when the commit may have written down messages."""
        if committed.queues:
            self.worker.wake()

    def close(self) -> None:
        """This will let go of the bus, once the thread has ended."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _work(self) -> float | None:
        if self._bus is None:
            self._bus = self._open_bus()
        if relay_once(self._bus, self._now()) == BATCH:
            return 0
        if self._bus.has_everything:
            # Nobody waits for this; writing down a whole moment's messages at once leaves the database to others.
            self.worker.doze(GATHER_SECONDS)
        due = outbox.next_due()
        return None if due is None else max(0.2, (due - self._now()).total_seconds())


def relay_once(bus: MessageBus, at: dt.datetime) -> int:
    """This will try to send up to BATCH messages that are due, and give how many were tried."""
    if bus.has_everything:
        return outbox.settle_all(at, most=BATCH)
    claimed = outbox.claim(at, most=BATCH)
    if not claimed:
        return 0
    failpoints.hit("relay_claimed")
    try:
        failpoints.hit("relay_before_publish")
        results = bus.publish([_outgoing(message) for message in claimed])
    except BusDown as error:
        results = [f"The bus does not answer: {error}"] * len(claimed)
    failpoints.hit("relay_after_confirm")
    outbox.settle(claimed, results, at=at)
    return len(claimed)


def _outgoing(message: outbox.Claimed) -> Outgoing:
    return Outgoing(message_id=str(message.message_id), queue=message.queue, body=message.body.encode())
