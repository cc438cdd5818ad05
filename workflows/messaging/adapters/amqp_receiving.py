"""A connection to RabbitMQ that takes: deliveries in batches, acknowledged together once they are dealt with.

See Note [How long to gather].
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from amqp.exceptions import ConsumerCancelled

from workflows import failpoints
from workflows.messaging.connecting import close_amqp, drop_amqp, errors_as_bus_down, open_amqp
from workflows.messaging.deliveries import Delivery
from workflows.messaging.port import Handler
from workflows.messaging.queues import Queues, dead_letter_queue

HEARTBEAT_SECONDS = 30
GATHER_SECONDS = 0.003
BUSY = 8
"""A batch of so many says that more are on their way."""

# Note [How long to gather]
# ~~~~~~~~~~~~~~~~~~~~~~~~~
# A transaction for a hundred messages costs little more than for ten, so under load it pays to wait a few milliseconds
# for those that are on their way; a lone message would only be late. The batch before tells which it is. Twice as many
# as a batch may be on their way to us: the next ones arrive while a batch is dealt with.


class Receiving:
    """Opened when needed, and anew after every error."""

    def __init__(self, url: str, queues: Queues, *, inbound: str, most_bytes: int) -> None:
        self._url, self._queues, self._inbound, self._most_bytes = url, queues, inbound, most_bytes
        self._connection: Any = None
        self._channel: Any = None
        self._taken_from: tuple[str, ...] = ()
        self._arrived: deque[Delivery] = deque()
        self._busy = False

    def take(self, handle: Handler, *, queues: Sequence[str], most: int, timeout: float) -> int:
        """This will wait for deliveries, have them dealt with, acknowledge them, and give their number.

        Raises BusDown, and what `handle` raises: with the connection goes what was not acknowledged; it arrives again.
        """
        try:
            with errors_as_bus_down():
                if self._connection is None or self._taken_from != tuple(queues):
                    self.close()
                    self._open_anew(queues, most)
                batch = self._gather(most, timeout)
            if not batch:
                return 0
            handle([one.as_incoming() for one in batch])
            failpoints.hit("before_ack")
            with errors_as_bus_down():
                # After the commit: a crash in between costs a duplicate, which is told apart, not a loss.
                self._channel.basic_ack(batch[-1].tag, multiple=True)
            failpoints.hit("after_ack")
        except BaseException:
            self.drop()
            raise
        return len(batch)

    def close(self) -> None:
        """This will say good-bye."""
        if self._connection is not None:
            close_amqp(self._connection)
        self._forget()

    def drop(self) -> None:
        """This will let go of the connection, and so give back what was not dealt with."""
        if self._connection is not None:
            drop_amqp(self._connection)
        self._forget()

    def _forget(self) -> None:
        self._connection, self._channel, self._taken_from = None, None, ()
        self._arrived.clear()

    def _open_anew(self, queues: Sequence[str], most: int) -> None:
        self._connection = open_amqp(self._url, heartbeat=HEARTBEAT_SECONDS)
        self._connection.on_delivery = self._arrived.append
        self._connection.most_bytes = self._most_bytes
        dead = dead_letter_queue(self._inbound)
        if dead not in queues:
            self._queues.try_to_make_sure_of(self._connection, dead)
        for queue in queues:
            self._queues.make_sure_of(self._connection, queue, again=True)
        self._channel = self._connection.channel()
        self._channel.basic_qos(0, 2 * most, False)
        for queue in queues:
            self._channel.basic_consume(queue, consumer_tag=queue, on_cancel=_cancelled)
        self._taken_from = tuple(queues)

    def _gather(self, most: int, timeout: float) -> list[Delivery]:
        arrived = self._arrived
        self._connection.deal_with_what_is_here()
        end = time.monotonic() + timeout
        while not arrived and (left := end - time.monotonic()) > 0:
            self._drain(left)
            self._connection.deal_with_what_is_here()
        end = time.monotonic() + GATHER_SECONDS
        while self._busy and arrived and len(arrived) < most and (left := end - time.monotonic()) > 0:
            self._drain(left)
        self._connection.heartbeat_tick()
        batch = [arrived.popleft() for _ in range(min(most, len(arrived)))]
        self._busy = len(batch) >= BUSY
        return batch

    def _drain(self, seconds: float) -> None:
        try:
            self._connection.drain_events(timeout=seconds)
        except TimeoutError:
            return


def _cancelled(consumer_tag: str) -> None:
    # The queue was deleted, or its node left. A new connection declares it again.
    raise ConsumerCancelled(consumer_tag)
