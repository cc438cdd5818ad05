"""RabbitMQ: publishes with confirms, many in flight with matched tags; hands over deliveries, acknowledged when done.

See Note [Confirms] and Note [Queues].
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import amqp
from amqp.exceptions import AMQPError, NotFound
from kombu.connection import Connection as Address

from workflows import failpoints
from workflows.messaging.port import BusDown, Handler, Incoming, Outgoing

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5
CONFIRM_SECONDS = 10
HEARTBEAT_SECONDS = 30
GATHER_SECONDS = 0.005
"""How long to look for more deliveries once there is one."""

# Note [Confirms]
# ~~~~~~~~~~~~~~~
# A message counts as sent when the broker has confirmed its tag, and has not returned it before. After any error the
# connection is thrown away: a late confirm on it could be taken for that of another message. What was not confirmed by
# then may have been sent; it will be sent again with the same message_id.

# Note [Queues]
# ~~~~~~~~~~~~~
# A message to a queue that does not exist yet would vanish: the default exchange has nowhere to put it. So messages are
# `mandatory`, and a queue that is missing is declared (durable, without arguments) and tried once more. A queue that
# exists stays as whoever declared it wants it: it is only ever asked for passively.


class AmqpBus:
    """A connection to RabbitMQ that is opened when needed, and anew after every error."""

    name = "amqp"
    has_everything = False

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._sending: _Sending | None = None
        self._receiving: _Receiving | None = None

    def publish(self, messages: Sequence[Outgoing]) -> list[str | None]:
        """This will send messages, and tell of each whether the broker has it."""
        with self._or_throw_away():
            if self._sending is None:
                self._sending = _Sending(self._open())
            results = self._sending.send(messages)
            missing = [number for number, result in enumerate(results) if result == _NO_QUEUE]
            if missing:
                for queue in dict.fromkeys(messages[number].queue for number in missing):
                    _make_sure_of(self._connection, queue)
                again = self._sending.send([messages[number] for number in missing])
                for number, result in zip(missing, again, strict=True):
                    results[number] = result
        return results

    def consume(self, handle: Handler, *, queues: Sequence[str], max_messages: int, timeout: float) -> int:
        """This will hand over deliveries, and acknowledge them once they have been dealt with."""
        with self._or_throw_away():
            if self._receiving is None or self._receiving.queues != tuple(queues):
                self._throw_away()
                self._receiving = _Receiving(self._open(heartbeat=HEARTBEAT_SECONDS), queues, max_messages)
            batch = self._receiving.wait(max_messages, timeout)
        if not batch:
            return 0
        try:
            handle([incoming for _, incoming in batch])
        except BaseException:
            # With the connection goes what was not acknowledged: it arrives again.
            self._throw_away()
            raise
        with self._or_throw_away():
            # After the commit: a crash in between costs a duplicate, which is told apart, not a loss.
            failpoints.hit("before_ack")
            self._receiving.acknowledge(batch[-1][0])
            failpoints.hit("after_ack")
        return len(batch)

    def close(self) -> None:
        """This will close the connection."""
        self._throw_away()

    def _open(self, *, heartbeat: int = 0) -> Any:
        if self._connection is None:
            address = Address(
                self._url,
                connect_timeout=CONNECT_SECONDS,
                heartbeat=heartbeat,
                transport_options={"write_timeout": CONFIRM_SECONDS},
            )
            self._connection = address.connection
            if self._connection is None:
                raise BusDown("no connection")
        return self._connection

    def _throw_away(self) -> None:
        connection, self._connection, self._sending, self._receiving = self._connection, None, None, None
        if connection is not None:
            with contextlib.suppress(AMQPError, OSError):
                if connection.connected:
                    connection.transport.sock.settimeout(1)
                    connection.close()
            with contextlib.suppress(AMQPError, OSError, AttributeError):
                connection.collect()

    @contextlib.contextmanager
    def _or_throw_away(self) -> Iterator[None]:
        try:
            yield
        except (AMQPError, OSError) as error:
            self._throw_away()
            raise BusDown(f"{type(error).__name__}: {error}"[:500]) from error
        except BaseException:
            self._throw_away()
            raise


_NO_QUEUE = "There is no queue of this name."
_NOT_CONFIRMED = "The broker did not confirm it in time."
_REFUSED = "The broker refused it; the queue may be full."


class _Sending:
    """A channel that confirms."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._channel = connection.channel()
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._acknowledged)
        self._channel.events["basic_nack"].add(self._refused)
        self._channel.events["basic_return"].add(self._returned)
        self._last_tag = 0
        self._open: dict[int, int] = {}
        self._results: list[str | None] = []
        self._returned_ids: set[str] = set()

    def send(self, messages: Sequence[Outgoing]) -> list[str | None]:
        self._results = [_NOT_CONFIRMED] * len(messages)
        self._open, self._returned_ids, self._ids = {}, set(), [message.message_id for message in messages]
        end = time.monotonic() + CONFIRM_SECONDS
        for number, message in enumerate(messages):
            self._last_tag += 1
            self._open[self._last_tag] = number
            self._channel.basic_publish(
                amqp.Message(
                    message.body,
                    message_id=message.message_id,
                    content_type="application/json",
                    delivery_mode=2,
                ),
                exchange="",
                routing_key=message.queue,
                mandatory=True,
            )
        failpoints.hit("relay_after_publish")
        while self._open:
            left = end - time.monotonic()
            if left <= 0:
                # Late confirms must not meet later tags: the caller throws the connection away.
                raise TimeoutError(_NOT_CONFIRMED)
            self._connection.drain_events(timeout=left)
        return self._results

    def _acknowledged(self, tag: int, multiple: bool) -> None:
        for number in self._closed(tag, multiple):
            self._results[number] = _NO_QUEUE if self._ids[number] in self._returned_ids else None

    def _refused(self, tag: int, multiple: bool) -> None:
        for number in self._closed(tag, multiple):
            self._results[number] = _REFUSED

    def _closed(self, tag: int, multiple: bool) -> list[int]:
        tags = [one for one in self._open if one <= tag] if multiple else [tag]
        return [self._open.pop(one) for one in tags if one in self._open]

    def _returned(self, error: Any, exchange: str, routing_key: str, message: Any) -> None:
        # The broker returns a message before it confirms it.
        self._returned_ids.add(message.properties.get("message_id", ""))


class _Receiving:
    """A channel with a consumer for each queue."""

    def __init__(self, connection: Any, queues: Sequence[str], prefetch: int) -> None:
        self.queues = tuple(queues)
        self._connection = connection
        for queue in queues:
            _make_sure_of(connection, queue)
        self._channel = connection.channel()
        # Bytes stay bytes: what they mean is for the strict parser to say.
        self._channel.auto_decode = False
        self._channel.basic_qos(0, prefetch, False)
        self._arrived: list[tuple[int, Incoming]] = []
        for queue in queues:
            self._channel.basic_consume(queue, callback=lambda message, queue=queue: self._take(queue, message))

    def _take(self, queue: str, message: Any) -> None:
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode(errors="surrogatepass")
        message_id = message.properties.get("message_id")
        incoming = Incoming(body, message_id or None, queue, bool(message.delivery_info.get("redelivered")))
        self._arrived.append((message.delivery_tag, incoming))

    def wait(self, most: int, timeout: float) -> list[tuple[int, Incoming]]:
        end = time.monotonic() + timeout
        while not self._arrived and (left := end - time.monotonic()) > 0:
            self._drain(left)
        end = time.monotonic() + GATHER_SECONDS
        while self._arrived and len(self._arrived) < most and (left := end - time.monotonic()) > 0:
            self._drain(left)
        self._connection.heartbeat_tick()
        batch, self._arrived = self._arrived[:most], self._arrived[most:]
        return batch

    def acknowledge(self, tag: int) -> None:
        self._channel.basic_ack(tag, multiple=True)

    def _drain(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            self._connection.drain_events(timeout=seconds)


def _make_sure_of(connection: Any, queue: str) -> None:
    channel = connection.channel()
    try:
        channel.queue_declare(queue, passive=True)
        channel.close()
    except NotFound:
        # The broker has closed that channel.
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False)
        channel.close()
        logger.info("declared the queue %s", queue)
