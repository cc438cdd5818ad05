"""A connection to RabbitMQ that sends: many messages in flight, each confirmed by its own tag.

See Note [Confirms] and Note [Alarms].
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from workflows import failpoints
from workflows.messaging.connecting import DOWN, close_amqp, drop_amqp, errors_as_bus_down, open_amqp
from workflows.messaging.port import BusDown, Outgoing
from workflows.messaging.queues import Queues, Undeclarable, dead_letter_queue
from workflows.messaging.wire import Publisher, Unsendable

CONFIRM_SECONDS = 8.0
"""How long the broker may take to confirm what it was sent."""
BLOCKED_SECONDS = 1.0
"""How long to wait for confirms after the broker has said that it takes nothing more."""
HEARTBEAT_SECONDS = 30
POST_BYTES = 16_384
"""What the buffers of a connection take at once, when nothing else is under way."""
_AROUND = 512
"""At most so many bytes travel around a body."""

# Note [Confirms]
# ~~~~~~~~~~~~~~~
# A message counts as sent when the broker has confirmed its tag, and has not returned it before. A tag is used once in
# the life of a channel, and after any error the connection is thrown away with all its tags: a late confirm can never
# be taken for that of another message. What was not confirmed may have been sent; it is sent again, with the same
# message_id.

# Note [Alarms]
# ~~~~~~~~~~~~~
# A broker short of memory or disk stops reading from whoever publishes, and says so (`connection.blocked`), but only
# after the first message. Then nothing is sent until it has said that the alarm is over, and rows stay where they are.
# That connection is kept: what we have written lies in its buffers and will be taken in the end; a new connection for
# each try would add another copy each time. Late confirms on it meet tags that nobody waits for.
# Consuming goes on, on a connection of its own.


class Sending:
    """Opened when needed, and anew after every error."""

    def __init__(self, url: str, queues: Queues, *, inbound: str) -> None:
        self._url, self._queues, self._inbound = url, queues, inbound
        self._connection: Any = None
        self._pack: Callable[[str, str, bytes, str], bytes] = Publisher(0, 0).frames
        self._last_tag = 0
        self._open: dict[int, int] = {}
        self._results: list[str | None] = []
        self._returned: set[str] = set()
        self._ids: list[str] = []
        self._posted: Sequence[Outgoing] = ()
        self.blocked: str | None = None

    def send(self, messages: Sequence[Outgoing]) -> list[str | None]:
        """This will send messages, and tell of each whether the broker has it. Raises BusDown."""
        with self._careful():
            self._begin()
            self._write(messages)
            return self._outcome(messages)

    def post(self, messages: Sequence[Outgoing]) -> bool:
        """This will write messages without waiting for anything, and tell whether it did.

        It does only on a connection with nothing under way, and no more than its buffers hold: nobody is held up.
        """
        size = sum(len(one.body) + 2 * len(one.trace) for one in messages) + _AROUND * len(messages)
        if self._connection is None or self._open or self.blocked or size > POST_BYTES:
            return False
        try:
            self._write(messages)
        except DOWN:
            self.drop()
            return False
        self._posted = messages
        return True

    def confirm(self) -> list[str | None]:
        """This will tell of each message that was posted whether the broker has it. Raises BusDown."""
        messages, self._posted = self._posted, ()
        with self._careful():
            if self._connection is None:
                raise BusDown("The connection was lost.")
            return self._outcome(messages)

    @contextlib.contextmanager
    def _careful(self) -> Iterator[None]:
        with errors_as_bus_down():
            try:
                yield
            except BusDown:  # blocked: the connection is worth keeping
                raise
            except BaseException:
                self.drop()
                raise

    def tend(self) -> None:
        """This will answer the broker's heartbeats, and notice what it has said. Raises BusDown."""
        if self._connection is None:
            return
        with errors_as_bus_down():
            try:
                self._connection.deal_with_what_is_here()
                self._connection.heartbeat_tick()
            except BaseException:
                self.drop()
                raise

    def close(self) -> None:
        """This will say good-bye."""
        if self._connection is not None:
            (drop_amqp if self.blocked else close_amqp)(self._connection)
        self._forget()

    def drop(self) -> None:
        """This will let go of the connection and of everything that was in flight on it."""
        if self._connection is not None:
            drop_amqp(self._connection)
        self._forget()

    def _forget(self) -> None:
        self._connection, self._open, self.blocked = None, {}, None

    def _begin(self) -> None:
        try:
            if self._connection is not None:
                self._connection.deal_with_what_is_here()
                self._connection.heartbeat_tick()
        except DOWN:  # it has died since: nothing of this batch was on it
            self.drop()
        if self.blocked:
            raise BusDown(self.blocked)
        if self._connection is None or not self._connection.connected:
            self.drop()
            self._open_anew()

    def _open_anew(self) -> None:
        self._connection = open_amqp(
            self._url,
            heartbeat=HEARTBEAT_SECONDS,
            on_blocked=self._on_blocked,
            on_unblocked=self._on_unblocked,
        )
        # A service may answer, or start something, before any process of ours has taken from the inbound queue.
        for name in (dead_letter_queue(self._inbound), self._inbound):
            self._queues.try_to_make_sure_of(self._connection, name)
        channel = self._connection.channel()
        channel.confirm_select()
        channel.events["basic_ack"].add(self._acknowledged)
        channel.events["basic_nack"].add(self._refused)
        channel.events["basic_return"].add(self._came_back)
        self._last_tag = 0
        self._pack = Publisher(channel.channel_id, self._connection.frame_max).frames

    def _outcome(self, messages: Sequence[Outgoing]) -> list[str | None]:
        self._wait()
        results = self._results
        missing = [number for number, result in enumerate(results) if result is _NO_QUEUE]
        if missing and self._connection is not None:
            self._send_again(messages, missing, results)
        return results

    def _write(self, messages: Sequence[Outgoing]) -> None:
        self._results = [_NOT_CONFIRMED] * len(messages)
        self._ids = [message.message_id for message in messages]
        self._open, self._returned = {}, set()
        frames: list[bytes] = []
        for number, message in enumerate(messages):
            try:
                frames.append(self._pack(message.queue, message.message_id, message.body, message.trace))
            except Unsendable as error:
                self._results[number] = str(error)
                continue
            self._last_tag += 1
            self._open[self._last_tag] = number
        self._connection.write(frames)
        failpoints.hit("relay_after_publish")

    def _wait(self) -> None:
        end = time.monotonic() + CONFIRM_SECONDS
        while self._open:
            if self.blocked:
                end = min(end, time.monotonic() + BLOCKED_SECONDS)
            left = end - time.monotonic()
            if left > 0:
                try:
                    self._connection.drain_events(timeout=left if not self.blocked else min(left, BLOCKED_SECONDS))
                    continue
                except TimeoutError:
                    pass
            if not self.blocked:
                self._give_up()
                return
            confirmed = any(result is None for result in self._results)
            self._open = {}
            if not confirmed:
                raise BusDown(self.blocked)

    def _give_up(self) -> None:
        """This will let go of the connection: a late confirm must not meet a later tag. What is confirmed stays so."""
        if all(result is _NOT_CONFIRMED for result in self._results):
            raise TimeoutError(_NOT_CONFIRMED)
        # A queue that confirms nothing (a replicated one without a leader, say) must not hold up all the others.
        self.drop()

    def _send_again(self, messages: Sequence[Outgoing], missing: Sequence[int], results: list[str | None]) -> None:
        reasons: dict[str, str] = {}
        for queue in dict.fromkeys(messages[number].queue for number in missing):
            try:
                self._queues.make_sure_of(self._connection, queue, again=True)
            except Undeclarable as error:
                reasons[queue] = str(error)
        again = [number for number in missing if messages[number].queue not in reasons]
        for number in missing:
            results[number] = reasons.get(messages[number].queue, _NO_QUEUE)
        self._write([messages[number] for number in again])
        self._wait()
        for number, result in zip(again, self._results, strict=True):
            results[number] = result

    def _acknowledged(self, tag: int, multiple: bool) -> None:
        for number in self._closed(tag, multiple):
            self._results[number] = _NO_QUEUE if self._ids[number] in self._returned else None

    def _refused(self, tag: int, multiple: bool) -> None:
        for number in self._closed(tag, multiple):
            self._results[number] = _REFUSED

    def _closed(self, tag: int, multiple: bool) -> list[int]:
        if not multiple:
            number = self._open.pop(tag, None)
            return [] if number is None else [number]
        closed = []
        for one in self._open:  # in the order of their tags
            if one > tag:
                break
            closed.append(one)
        return [self._open.pop(one) for one in closed]

    def _came_back(self, error: Any, exchange: str, routing_key: str, message: Any) -> None:
        # The broker returns a message before it confirms it.
        self._returned.add(message.properties.get("message_id", ""))

    def _on_blocked(self, reason: str) -> None:
        self.blocked = f"The broker takes no messages for now: an alarm of its memory or disk ({reason})."

    def _on_unblocked(self) -> None:
        self.blocked = None


_NO_QUEUE = "There is no queue of this name."
_NOT_CONFIRMED = "The broker did not confirm it in time."
_REFUSED = "The broker refused it; the queue may be full."
