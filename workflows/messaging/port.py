"""What the house needs of a message bus. Each adapter keeps the same promises; tests/messaging asks all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from workflows.tracecontext import TraceContext


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent: `body` is its JSON, exactly as it goes out.

    `trace` is the trace context that goes with it, in headers where the bus has any ("": none).
    """

    message_id: str
    queue: str
    body: bytes
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that has arrived, unread.

    `fault` is a code and a reason when the bus found that it is not to be read at all; `body` is then no more than
    enough to show, and `size` tells how many bytes there were.
    """

    body: bytes
    message_id: str | None = None
    queue: str = ""
    redelivered: bool = False
    size: int | None = None
    fault: tuple[str, str] | None = None
    death: tuple[str, str] | None = None
    """Of a dead letter: the queue that gave it up, and why."""
    trace: TraceContext | None = None
    """The trace context in the headers, where there is one that can be read."""


Handler = Callable[[Sequence[Incoming]], None]
"""Deals with some messages for good: when it returns, all of them may be forgotten; when it raises, none."""


class BusDown(Exception):
    """The bus does not answer. Nothing is lost: keep what is to be sent, and try again later."""


class MessageBus(Protocol):
    """Sends messages and hands over those that arrive. An object belongs to one thread at a time."""

    name: str
    has_everything: bool
    """Whether a message is on the bus as soon as it was written down, so that there is nothing to send."""

    def publish(self, messages: Sequence[Outgoing]) -> list[str | None]:
        """This will send messages and tell of each, in their order, None (the bus has it) or what went wrong.

        Raises BusDown when nothing can be said about any of them; some may have been sent all the same.
        """
        ...

    def consume(self, handle: Handler, *, queues: Sequence[str], max_messages: int, timeout: float) -> int:
        """This will wait so many seconds for messages on the queues, have them dealt with, and give their number.

        Raises BusDown when the bus cannot be asked. What was not dealt with arrives again.
        """
        ...

    def tend(self) -> None:
        """This will keep an idle connection alive; whoever only sends calls it now and then. Raises BusDown."""
        ...

    def close(self) -> None:
        """This will let go of all connections; what was not dealt with arrives again."""
        ...


@runtime_checkable
class PostingBus(MessageBus, Protocol):
    """A bus that can also be given messages by somebody who will not wait for what becomes of them."""

    def post(self, messages: Sequence[Outgoing]) -> bool:
        """This will write messages at once and tell whether it did; it never waits and raises nothing.

        It does not where that might hold up the caller. After it did, `confirm` comes before anything else is sent.
        """
        ...

    def confirm(self) -> list[str | None]:
        """This will wait for what becomes of the messages that were posted, and tell it as `publish` does."""
        ...
