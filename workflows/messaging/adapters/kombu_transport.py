"""Any other broker that kombu reaches by a URL: Redis, SQS. They promise less than RabbitMQ does.

- A message counts as sent when the library has handed it over: Redis keeps it in memory, or as its own settings say;
  there are no confirms to wait for, and no queue is missing or full.
- Messages travel in kombu's envelope: a service on such a broker takes and sends them with kombu.
- What comes back comes in any order; what a killed process had in hand does so after VISIBLE_AGAIN_SECONDS.
- There are no dead letters and no limit of deliveries, and nobody counts who listens.

What stays as it is: at least once, acknowledged after the commit, the same ids, raw bytes read by our parser alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from kombu.connection import Connection as Address
from kombu.exceptions import KombuError
from kombu.messaging import Producer

from workflows import failpoints
from workflows.messaging import condition
from workflows.messaging.connecting import ANSWER_SECONDS, CONNECT_SECONDS, errors_as_bus_down
from workflows.messaging.deliveries import Fault, fault_of
from workflows.messaging.port import BusDown, Handler, Incoming, Outgoing
from workflows.tracecontext import from_headers, from_text

VISIBLE_AGAIN_SECONDS = 300
"""Longer than a batch can take: a message that comes back while it is dealt with is dealt with twice (and counts once).
"""
KEPT_OF_TOO_LARGE = 65_536


class KombuBus:
    """A connection to such a broker, opened when needed, and anew after every error."""

    name = "kombu"
    has_everything = False

    def __init__(self, url: str, *, most_bytes: int = 1_048_576) -> None:
        self._url, self._most_bytes = url, most_bytes
        self._address: Any = None
        self._producer: Any = None
        self._channel: Any = None
        self._taken_from: tuple[str, ...] = ()
        self._arrived: list[Any] = []
        self._look_again_at = 0.0

    def publish(self, messages: Sequence[Outgoing]) -> list[str | None]:
        """This will hand messages over. Raises BusDown; some may have been sent all the same."""
        try:
            with self._guarded():
                if self._producer is None:
                    self._producer = Producer(self._open().channel())
                for message in messages:
                    self._producer.publish(
                        message.body,
                        routing_key=message.queue,
                        exchange="",
                        content_type="application/json",
                        content_encoding="utf-8",
                        delivery_mode=2,
                        message_id=message.message_id,
                        headers=trace.headers if (trace := from_text(message.trace)) else None,
                    )
                failpoints.hit("relay_after_publish")
        except BusDown as error:
            condition.note(condition.DOWN, str(error))
            raise
        condition.note(condition.WORKS)
        return [None] * len(messages)

    def consume(self, handle: Handler, *, queues: Sequence[str], max_messages: int, timeout: float) -> int:
        """This will hand over deliveries, and acknowledge them once they have been dealt with."""
        with self._guarded():
            if self._taken_from != tuple(queues):
                self._listen(queues, max_messages)
            batch = self._gather(max_messages, timeout)
        if not batch:
            return 0
        try:
            handle([self._incoming(one) for one in batch])
        except BaseException:
            self.close()  # which gives back what was not acknowledged
            raise
        failpoints.hit("before_ack")
        with self._guarded():
            for one in batch:
                self._channel.basic_ack(one.delivery_tag)
        failpoints.hit("after_ack")
        return len(batch)

    def tend(self) -> None:
        """This will do nothing: the connection is asked for no sign of life."""

    def close(self) -> None:
        """This will let go of everything; what was not dealt with arrives again."""
        address = self._address
        self._address, self._producer, self._channel, self._taken_from = None, None, None, ()
        self._arrived = []
        if address is not None:
            with contextlib.suppress(Exception):  # on the way out; whatever the transport raises
                address.release()

    def _open(self) -> Any:
        if self._address is None:
            options = {
                "socket_connect_timeout": CONNECT_SECONDS,
                "socket_timeout": ANSWER_SECONDS,
                "visibility_timeout": VISIBLE_AGAIN_SECONDS,
            }
            address = Address(self._url, connect_timeout=CONNECT_SECONDS, transport_options=options)
            address.ensure_connection(max_retries=1, interval_start=0, timeout=CONNECT_SECONDS)
            self._address = address
        return self._address

    def _listen(self, queues: Sequence[str], most: int) -> None:
        self.close()
        self._channel = self._open().channel()
        self._channel.basic_qos(0, 2 * most, False)
        for queue in queues:
            self._channel.queue_declare(queue, durable=True, auto_delete=False)
            self._channel.basic_consume(queue, no_ack=False, callback=self._arrived.append, consumer_tag=queue)
        self._taken_from = tuple(queues)

    def _gather(self, most: int, timeout: float) -> list[Any]:
        self._give_back_what_others_left()
        end = time.monotonic() + timeout
        while not self._arrived and (left := end - time.monotonic()) > 0:
            self._drain(left)
        while self._arrived and len(self._arrived) < most and self._drain(0.001):
            pass
        batch = self._arrived[:most]
        del self._arrived[:most]
        return batch

    def _give_back_what_others_left(self) -> None:
        # On Redis somebody has to look for what the dead had in hand. The library does when its wait for messages ends
        # without an answer, and as it has the server answer each second, it never does.
        restore = getattr(self._channel.qos, "restore_visible", None)
        if restore is not None and time.monotonic() >= self._look_again_at:
            self._look_again_at = time.monotonic() + VISIBLE_AGAIN_SECONDS / 10
            restore(num=self._channel.unacked_restore_limit, interval=1)

    def _drain(self, seconds: float) -> bool:
        try:
            self._address.drain_events(timeout=seconds)
        except TimeoutError:
            return False
        return True

    def _incoming(self, message: Any) -> Incoming:
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode(errors="surrogatepass")
        fault: Fault | None = fault_of(
            str(message.content_type or ""), str(message.content_encoding or ""), message.headers or {}
        )
        if len(body) > self._most_bytes:
            fault = ("too_large", f"The message has {len(body):,} bytes; at most {self._most_bytes:,} are taken.")
        named, way, headers = message.properties.get("message_id"), message.delivery_info or {}, message.headers or {}
        return Incoming(
            body=body if fault is None else body[:KEPT_OF_TOO_LARGE],
            message_id=str(named) if named else None,
            queue=str(way.get("routing_key", "")),
            redelivered=bool(way.get("redelivered") or headers.get("redelivered")),
            size=len(body),
            fault=fault,
            trace=from_headers(headers) if fault is None else None,
        )

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with errors_as_bus_down(ImportError, KombuError, *_errors_of(self._url)):
                yield
        except BaseException:
            self.close()
            raise


@lru_cache
def _errors_of(url: str) -> tuple[type[Exception], ...]:
    try:
        address = Address(url)
        return (*address.connection_errors, *address.channel_errors)
    except ImportError:  # the transport needs a library that is not installed: opening it says which
        return ()
