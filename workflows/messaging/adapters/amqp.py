"""RabbitMQ, and what speaks AMQP 0.9.1 as it does: one connection sends, another takes. An object for one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workflows.messaging import condition
from workflows.messaging.adapters.amqp_receiving import Receiving
from workflows.messaging.adapters.amqp_sending import Sending
from workflows.messaging.port import BusDown, Handler, Outgoing
from workflows.messaging.queues import Queues


class AmqpBus:
    """The bus on a broker. `inbound` is the queue on which messages come in; `queue_kind` is what new queues are."""

    name = "amqp"
    has_everything = False
    has_dead_letters = True

    def __init__(
        self, url: str, *, inbound: str = "workflow_manager", queue_kind: str = "quorum", most_bytes: int = 1_048_576
    ) -> None:
        queues = Queues(inbound, kind=queue_kind)
        self._sending = Sending(url, queues, inbound=inbound)
        self._receiving = Receiving(url, queues, inbound=inbound, most_bytes=most_bytes)

    def publish(self, messages: Sequence[Outgoing]) -> list[str | None]:
        """This will send messages, and tell of each whether the broker has it."""
        return self._noted(lambda: self._sending.send(messages))

    def post(self, messages: Sequence[Outgoing]) -> bool:
        """This will write messages without waiting for the broker, where nothing else is under way."""
        return self._sending.post(messages)

    def confirm(self) -> list[str | None]:
        """This will tell of each message that was posted whether the broker has it."""
        return self._noted(self._sending.confirm)

    def _noted(self, send: Callable[[], list[str | None]]) -> list[str | None]:
        try:
            results = send()
        except BusDown as error:
            condition.note(condition.BLOCKED if self._sending.blocked else condition.DOWN, str(error))
            raise
        condition.note(condition.BLOCKED if self._sending.blocked else condition.WORKS, self._sending.blocked or "")
        return results

    def consume(self, handle: Handler, *, queues: Sequence[str], max_messages: int, timeout: float) -> int:
        """This will hand over deliveries, and acknowledge them once they have been dealt with."""
        try:
            count = self._receiving.take(handle, queues=queues, most=max_messages, timeout=timeout)
        except BusDown as error:
            condition.note(condition.DOWN, str(error), part=condition.TAKING)
            raise
        condition.note(condition.WORKS, part=condition.TAKING)
        return count

    def tend(self) -> None:
        """This will answer the broker's heartbeats where nothing is sent, and notice an alarm or its end."""
        was_blocked = self._sending.blocked
        self._sending.tend()
        if was_blocked and not self._sending.blocked:
            condition.note(condition.WORKS)

    def close(self) -> None:
        """This will close both connections."""
        self._sending.close()
        self._receiving.close()
