"""Takes messages from the bus: reads them strictly, has them carried out, keeps those that cannot be."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from django.db import InterfaceError, OperationalError, connection

from workflows import failpoints
from workflows.conf import settings
from workflows.definitions import strict_json
from workflows.definitions.strict_json import InvalidJson
from workflows.messaging.port import BusDown, Incoming, MessageBus
from workflows.messaging.queues import dead_letter_queue
from workflows.runtime import pausing, quarantine
from workflows.runtime.asking import Answer, Asked, Outcome
from workflows.runtime.handling import handle
from workflows.runtime.inbound import UnreadableEvent, read_event
from workflows.runtime.pausing import EnginePaused
from workflows.runtime.refusals import STATUS
from workflows.runtime.workers import Worker

logger = logging.getLogger(__name__)

ACTOR = "bus"
SOURCE = "amqp"
BATCH = 100
WAIT_SECONDS = 1.0
PAUSED_SECONDS = 0.5
LONGEST_PAUSE = 5.0


class Receiver:
    """Deals with what arrives on the inbound queue. `now` tells the time, `open_bus` gives a bus for its thread."""

    def __init__(self, *, open_bus: Callable[[], MessageBus], now: Callable[[], dt.datetime], queue: str) -> None:
        self._open_bus = open_bus
        self._now = now
        self._queue = queue
        self._bus: MessageBus | None = None
        self._in_doubt = False
        self._failures = 0
        self.worker = Worker(name="inbound", work=self._work)

    def close(self) -> None:
        """This will let go of the bus, once the thread has ended."""
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _work(self) -> float:
        if pausing.known.now() is not None:
            # Messages wait in the broker, also those that were on their way to us.
            self.close()
            return PAUSED_SECONDS
        if self._bus is None:
            self._bus = self._open_bus()
        if self._in_doubt:
            # Deliveries are counted by the broker. While the database does not answer, nothing is taken at all.
            _ask_database()
            self._in_doubt = False
        try:
            self._bus.consume(self._receive, queues=self._queues(self._bus), max_messages=BATCH, timeout=WAIT_SECONDS)
        except EnginePaused:
            logger.info("the engine was paused: what has just arrived is given back to the broker")
        except BusDown as error:
            self._failures += 1
            pause = min(LONGEST_PAUSE, 0.25 * 2 ** min(self._failures, 10))
            logger.warning("no messages come in: the bus does not answer (%s); again in %.1f s", error, pause)
            self.worker.doze(pause)
        else:
            self._failures = 0
        return 0

    def _queues(self, bus: MessageBus) -> list[str]:
        # What the broker has given up on comes to where operators look: nobody watches a queue of dead letters.
        dead = [dead_letter_queue(self._queue)] if getattr(bus, "has_dead_letters", False) else []
        return [self._queue, *dead]

    def _receive(self, messages: Sequence[Incoming]) -> None:
        self._in_doubt = True
        receive(messages, at=self._now())
        self._in_doubt = False


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def receive(messages: Sequence[Incoming], *, at: dt.datetime) -> None:
    """This will carry out a batch of messages. Whatever cannot be read or matched is in quarantine afterwards.

    Raises when the database does not answer, or when the engine is paused: then all of them are to arrive again, and
    those that count already are told apart by their ids.
    """
    readable: list[tuple[Incoming, Asked]] = []
    aside: list[quarantine.Aside] = []
    failpoints.hit("message_received")
    for message in messages:
        if message.death is not None:
            aside.append(dead_letter(message))
            continue
        try:
            readable.append((message, _read(message)))
        except (InvalidJson, UnreadableEvent) as error:
            aside.append(_aside(message, error.code, error.message))
    failpoints.hit("message_parsed")
    answers = _carry_out([asked for _, asked in readable], at)
    pausing.insist(answers)
    for (message, _), answer in zip(readable, answers, strict=True):
        # What HTTP would answer with 409 is in the history of its instance; the rest belongs to no instance, and so
        # does a start that was refused.
        if answer.code is not None and (STATUS.get(answer.code, 500) != 409 or answer.instance is None):
            aside.append(_aside(message, answer.code, answer.reason or ""))
    if aside:
        quarantine.hold_all(aside, at=at)


def dead_letter(message: Incoming) -> quarantine.Aside:
    """This will give a message that the broker has given up on as it is kept for operators."""
    queue, why = message.death or ("", "")
    reason = _DEATHS.get(why, f"The broker gave it up ({why or 'it does not say why'}).")
    return replace(_aside(message, "dead_letter", reason), source=f"{SOURCE}:{queue}")


_DEATHS = {
    "delivery_limit": "It was delivered too often without being acknowledged: whoever took it may have died of it.",
    "rejected": "Whoever took it has rejected it.",
    "expired": "Nobody has taken it in its time.",
    "maxlen": "Its queue was full.",
}


def _carry_out(asked: Sequence[Asked], at: dt.datetime) -> list[Answer]:
    if len(asked) <= 1:
        return [_alone(one, at) for one in asked]
    answers = handle(*asked, at=at)
    # What blew up is asked once more, to learn whether that was the message's fault.
    return [_alone(one, at) if answer.code == _FAILED else answer for one, answer in zip(asked, answers, strict=True)]


def _alone(asked: Asked, at: dt.datetime) -> Answer:
    try:
        return handle(asked, at=at)[0]
    except (OperationalError, InterfaceError):  # the database's fault: the message comes again
        raise
    except Exception as error:
        logger.exception("A message could not be carried out; it is kept in quarantine")
        return Answer(Outcome.REFUSED, code=_FAILED, reason=f"The command failed: {type(error).__name__}.")


_FAILED = "internal_error"


def _read(message: Incoming) -> Asked:
    if message.fault is not None:
        raise UnreadableEvent(*message.fault)
    body = strict_json.parse(message.body, max_bytes=settings.MAX_BODY_BYTES)
    return read_event(body, actor=ACTOR, message_id=_usable(message.message_id), trace=message.trace)


def _usable(message_id: str | None) -> str | None:
    """The id as it can stand in for an `event_id`; a longer one is as good as its digest."""
    if message_id is None or len(message_id) <= 200:
        return message_id
    return hashlib.sha256(message_id.encode(errors="surrogatepass")).hexdigest()


def _aside(message: Incoming, code: str, reason: str) -> quarantine.Aside:
    return quarantine.Aside(
        message.body,
        SOURCE,
        code,
        reason,
        message_id=message.message_id or "",
        size=message.size,
        again=message.redelivered,
    )
