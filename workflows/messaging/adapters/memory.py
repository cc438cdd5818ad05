"""A bus in this process's memory, for tests: queues that many bus objects share."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace

from workflows.messaging.port import BusDown, Handler, Incoming, Outgoing
from workflows.tracecontext import TraceContext, from_text


class MemoryBroker:
    """The queues. `down` makes every bus on it refuse to answer; `refuse` names queues that take nothing."""

    def __init__(self) -> None:
        self.queues: dict[str, deque[Incoming]] = defaultdict(deque)
        self.down = False
        self.refuse: set[str] = set()
        self.arrived = threading.Condition()

    def put(self, queue: str, body: bytes, *, message_id: str | None = None, trace: TraceContext | None = None) -> None:
        """This will let a message arrive."""
        with self.arrived:
            self.queues[queue].append(Incoming(body=body, message_id=message_id, queue=queue, trace=trace))
            self.arrived.notify_all()


class MemoryBus:
    """A connection to a MemoryBroker."""

    name = "memory"
    has_everything = False

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def publish(self, messages: Sequence[Outgoing]) -> list[str | None]:
        """This will put the messages into their queues."""
        self._ask()
        results: list[str | None] = []
        for message in messages:
            if message.queue in self._broker.refuse:
                results.append(f"The queue {message.queue} takes nothing.")
                continue
            self._broker.put(message.queue, message.body, message_id=message.message_id, trace=from_text(message.trace))
            results.append(None)
        return results

    def consume(self, handle: Handler, *, queues: Sequence[str], max_messages: int, timeout: float) -> int:
        """This will hand over what has arrived; what was not dealt with goes back to the front."""
        self._ask()
        end = time.monotonic() + timeout
        with self._broker.arrived:
            while not (taken := self._take(queues, max_messages)) and (left := end - time.monotonic()) > 0:
                self._broker.arrived.wait(left)
        if not taken:
            return 0
        try:
            handle(taken)
        except BaseException:
            with self._broker.arrived:
                for one in reversed(taken):
                    self._broker.queues[one.queue].appendleft(replace(one, redelivered=True))
                self._broker.arrived.notify_all()
            raise
        return len(taken)

    def _take(self, queues: Sequence[str], most: int) -> list[Incoming]:
        taken: list[Incoming] = []
        for queue in queues:
            waiting = self._broker.queues[queue]
            while waiting and len(taken) < most:
                taken.append(waiting.popleft())
        return taken

    def tend(self) -> None:
        """This will do nothing: there is nothing to keep alive."""

    def close(self) -> None:
        """This will do nothing: the broker lives on."""

    def _ask(self) -> None:
        if self._broker.down:
            raise BusDown("it was switched off")
