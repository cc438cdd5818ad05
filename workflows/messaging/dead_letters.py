"""What the broker has given up on: looked at where it lies, or moved to our quarantine, where it can be seen to.

The process that takes inbound messages moves dead letters by itself. These are for when none runs.
"""

from __future__ import annotations

import contextlib
import datetime as dt

from amqp.exceptions import NotFound

from workflows.messaging.connecting import drop_amqp, errors_as_bus_down, is_amqp, open_amqp
from workflows.messaging.deliveries import Delivery
from workflows.messaging.port import Incoming
from workflows.messaging.queues import dead_letter_queue
from workflows.messaging.receiving import dead_letter
from workflows.runtime import quarantine

MOST = 100
QUIET_SECONDS = 0.5
"""Nothing for so long: there are no more."""


def peek(url: str, inbound: str, *, most: int = MOST, timeout: float = 2.0) -> list[Incoming]:
    """This will give the first dead letters and leave them where they are. Raises BusDown."""
    if not is_amqp(url):
        return []
    return _look(url, inbound, most, timeout, hold_at=None)


def move_to_quarantine(
    url: str, inbound: str, *, at: dt.datetime | None = None, most: int = MOST, timeout: float = 2.0
) -> int:
    """This will move dead letters to quarantine, the oldest first, and give how many there were. Raises BusDown."""
    if not is_amqp(url):
        return 0
    return len(_look(url, inbound, most, timeout, hold_at=at or dt.datetime.now(dt.UTC)))


def _look(url: str, inbound: str, most: int, timeout: float, *, hold_at: dt.datetime | None) -> list[Incoming]:
    connection = open_amqp(url, seconds=timeout)
    taken: list[Delivery] = []
    try:
        with errors_as_bus_down():
            dead = dead_letter_queue(inbound)
            channel = connection.channel()
            connection.on_delivery = taken.append
            channel.basic_qos(0, most, False)
            try:
                channel.basic_consume(dead, consumer_tag=dead)
            except NotFound:
                return []
            # Not as many as the queue counts: it counts late, and somebody else may take them too.
            with contextlib.suppress(TimeoutError):
                while len(taken) < most:
                    connection.drain_events(timeout=min(timeout, QUIET_SECONDS))
        letters = [one.as_incoming() for one in taken]
        if hold_at is not None and letters:
            quarantine.hold_all([dead_letter(letter) for letter in letters], at=hold_at)
            with errors_as_bus_down():
                channel.basic_ack(taken[-1].tag, multiple=True)
        with errors_as_bus_down():
            # What was only looked at lies where it lay once this is answered.
            channel.close()
        return letters
    finally:
        drop_amqp(connection)
