"""The embedded bus: the durable queue in the database is the bus.

A message is in its queue as soon as its transaction has committed: workers lease live attempts straight from the rows
(`POST queues/{queue}/lease/`), and results arrive through `POST events/`. So there is nothing left to send.
"""

from __future__ import annotations

from collections.abc import Sequence

from workflows.messaging.port import Handler, Outgoing


class DatabaseBus:
    """Says yes to every message: it is in the database already."""

    name = "database"
    has_everything = True

    def publish(self, messages: Sequence[Outgoing]) -> list[str | None]:
        """This will confirm the messages."""
        return [None] * len(messages)

    def consume(self, handle: Handler, *, queues: Sequence[str], max_messages: int, timeout: float) -> int:
        """This will find nothing: results come over HTTP."""
        return 0

    def tend(self) -> None:
        """This will do nothing: there is nothing to keep alive."""

    def close(self) -> None:
        """This will do nothing: there is no connection of its own."""
