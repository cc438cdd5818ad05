"""Takes messages from the bus: reads them strictly, has them carried out, keeps those that cannot be."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections.abc import Callable, Sequence

from workflows import failpoints
from workflows.definitions import strict_json
from workflows.definitions.strict_json import InvalidJson
from workflows.messaging.port import BusDown, Incoming, MessageBus
from workflows.runtime import quarantine
from workflows.runtime.asking import Asked
from workflows.runtime.handling import handle
from workflows.runtime.inbound import UnreadableEvent, read_event
from workflows.runtime.refusals import STATUS
from workflows.runtime.workers import Worker

logger = logging.getLogger(__name__)

ACTOR = "bus"
SOURCE = "amqp"
BATCH = 100
WAIT_SECONDS = 1.0
PAUSE_SECONDS = 3.0


class Receiver:
    """Deals with what arrives on the inbound queue. `now` tells the time, `open_bus` gives a bus for its thread."""

    def __init__(self, *, open_bus: Callable[[], MessageBus], now: Callable[[], dt.datetime], queue: str) -> None:
        self._open_bus = open_bus
        self._now = now
        self._queue = queue
        self._bus: MessageBus | None = None
        self.worker = Worker(name="inbound", work=self._work)

    def close(self) -> None:
        """This will let go of the bus, once the thread has ended."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _work(self) -> float:
        if self._bus is None:
            self._bus = self._open_bus()
        try:
            self._bus.consume(self._receive, queues=[self._queue], max_messages=BATCH, timeout=WAIT_SECONDS)
        except BusDown as error:
            logger.warning("no messages come in: the bus does not answer (%s)", error)
            return PAUSE_SECONDS
        return 0

    def _receive(self, messages: Sequence[Incoming]) -> None:
        receive(messages, at=self._now())


def receive(messages: Sequence[Incoming], *, at: dt.datetime) -> None:
    """This will carry out a batch of messages. Whatever cannot be read or matched is in quarantine afterwards.

    Raises when the database does not answer: then all of them are to arrive again, and those that count already are
    told apart by their ids.
    """
    readable: list[tuple[Incoming, Asked]] = []
    unreadable: list[tuple[Incoming, InvalidJson | UnreadableEvent]] = []
    failpoints.hit("message_received")
    for message in messages:
        try:
            readable.append((message, _read(message)))
        except (InvalidJson, UnreadableEvent) as error:
            unreadable.append((message, error))
    failpoints.hit("message_parsed")
    answers = handle(*(asked for _, asked in readable), at=at)
    for message, fault in unreadable:
        _hold(message, code=fault.code, reason=fault.message, at=at)
    for (message, _), answer in zip(readable, answers, strict=True):
        # What HTTP would answer with 409 is in the history of its instance; the rest belongs to no instance.
        if answer.code is not None and STATUS.get(answer.code, 500) != 409:
            _hold(message, code=answer.code, reason=answer.reason or "", at=at)


def _read(message: Incoming) -> Asked:
    return read_event(strict_json.parse(message.body), actor=ACTOR, message_id=_usable(message.message_id))


def _usable(message_id: str | None) -> str | None:
    """The id as it can stand in for an `event_id`; a longer one is as good as its digest."""
    if message_id is None or len(message_id) <= 200:
        return message_id
    return hashlib.sha256(message_id.encode(errors="surrogatepass")).hexdigest()


def _hold(message: Incoming, *, code: str, reason: str, at: dt.datetime) -> None:
    quarantine.hold(message.body, source=SOURCE, message_id=message.message_id or "", code=code, reason=reason, at=at)
