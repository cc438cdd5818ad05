"""Those who use the broker: services that take their work from queues and answer over the inbound queue, and starters.

Written with nothing of the product: py-amqp, the queue names, and the contract.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import amqp
from amqp.exceptions import AMQPError, MessageNacked, NotFound

from tests.faults.behaviour import answers
from tests.faults.client import Answer
from tests.faults.evidence import Depth
from tests.faults.records import FAIL, OK, UNKNOWN, OperationLog
from tests.faults.services import Desk, Work
from tests.faults.shapes import COMPONENT, Start

BROKEN = (AMQPError, OSError)
_CONFIRM_SECONDS = 5
_PREFETCH = 40


def connect(port: int, **more: Any) -> Any:
    """Open a connection."""
    connection = amqp.Connection(f"127.0.0.1:{port}", connect_timeout=5, read_timeout=10, write_timeout=10, **more)
    try:
        connection.connect()
    except BaseException:
        let_go(connection)
        raise
    return connection


def let_go(connection: Any) -> None:
    """Drop a connection as it is, without a good-bye that somebody has to answer."""
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was never open
        connection.transport.sock.close()
    with contextlib.suppress(Exception):
        connection.collect()


class Mouth:
    """Sends messages to the inbound queue, one at a time, each confirmed; anew after every error. For one thread."""

    def __init__(self, port: int, queue: str, log: OperationLog) -> None:
        self._port = port
        self._queue = queue
        self._log = log
        self._connection: Any = None
        self._channel: Any = None
        self._returned = False

    def say(self, body: bytes, *, kind: str, key: str, request: Mapping[str, Any], message_id: str | None) -> Answer:
        """Send a message, and tell what came of it."""
        operation = self._log.begin(kind, key=key, request={**request, "message_id": message_id, "over": "amqp"})
        outcome = self._send(body, message_id)
        self._log.end(operation, outcome, {})
        return Answer(None, None, outcome)

    def _send(self, body: bytes, message_id: str | None) -> str:
        properties = {} if message_id is None else {"message_id": message_id, "content_type": "application/json"}
        try:
            if self._connection is None:
                self._connection = connect(self._port, confirm_publish=True)
                self._channel = self._connection.channel()
                self._channel.events["basic_return"].add(self._was_returned)
            self._returned = False
            self._channel.basic_publish(
                amqp.Message(body, delivery_mode=2, **properties),
                routing_key=self._queue,
                mandatory=True,
                confirm_timeout=_CONFIRM_SECONDS,
            )
        except MessageNacked:
            return FAIL
        except BROKEN:
            # A late confirm on this channel could be taken for that of another message.
            self.close()
            return UNKNOWN
        return FAIL if self._returned else OK

    def _was_returned(self, *_: Any) -> None:
        self._returned = True

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            let_go(connection)


class AmqpService(threading.Thread):
    """The service behind one queue: takes, does its effect, answers, and acknowledges when that was confirmed.

    `listening`: it only acknowledges; somebody else does the work.
    """

    def __init__(
        self,
        desk: Callable[[], Desk],
        mouth: Mouth,
        *,
        port: int,
        queue: str,
        classic: bool,
        stop: threading.Event,
        listening: bool = False,
    ) -> None:
        super().__init__(name=f"amqp-{queue}", daemon=True)
        self._make_desk = desk
        self._mouth = mouth
        self._port = port
        self._queue = queue
        self._classic = classic
        self._listening = listening
        self._stopping = stop
        self._connection: Any = None
        self._channel: Any = None
        self._consumer = ""
        self._unacknowledged = 0
        self._delete_for: float | None = None
        self.failure: BaseException | None = None
        self.deleted = 0

    @property
    def in_hand(self) -> int:
        """Give how many messages it has taken and not acknowledged yet."""
        return max(0, self._unacknowledged)

    def delete_queue(self, seconds: float) -> None:
        """Have the queue deleted once it is empty, and leave it missing for so long."""
        self._delete_for = seconds

    def run(self) -> None:
        """Serve until told to stop."""
        try:
            self._desk = self._make_desk()
            while not self._stopping.is_set():
                try:
                    self._round()
                except BROKEN:
                    self._die()
                    self._stopping.wait(0.3)
            self._die()
            self._mouth.close()
            self._desk.close()
        except BaseException as error:
            self.failure = error
            raise

    def _round(self) -> None:
        if self._connection is None and not self._open():
            self._stopping.wait(0.3)
            return
        if self._delete_for is not None:
            self._delete_queue(self._delete_for)
            return
        wait = 0.3 if self._desk.next_at is None else max(0.005, min(0.3, self._desk.next_at - time.monotonic()))
        self._drain(wait)
        for work in self._desk.due():
            self._do(work)
            if self._connection is None:
                return

    def _drain(self, seconds: float) -> None:
        try:
            self._connection.drain_events(timeout=seconds)
        except TimeoutError:
            return
        with contextlib.suppress(TimeoutError):
            while self._desk.in_hand < _PREFETCH:
                self._connection.drain_events(timeout=0.002)

    def _open(self) -> bool:
        connection = connect(self._port)
        try:
            channel = connection.channel()
            # Some services declare their queue, plainly; others wait until the orchestrator has.
            channel.queue_declare(self._queue, passive=not self._classic, durable=True, auto_delete=False)
        except NotFound:
            let_go(connection)
            return False
        except AMQPError:
            # It is there, and otherwise: the orchestrator was first.
            self._classic = False
            let_go(connection)
            return False
        channel.auto_decode = False
        channel.basic_qos(0, _PREFETCH, False)
        self._connection, self._channel = connection, channel
        self._consumer = channel.basic_consume(self._queue, callback=self._take, on_cancel=self._cancelled)
        return True

    def _cancelled(self, *_: Any) -> None:
        raise OSError("the queue is gone")

    def _take(self, message: Any) -> None:
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        tag, channel = message.delivery_tag, self._channel
        redelivered = bool(message.delivery_info.get("redelivered"))
        self._unacknowledged += 1

        def acknowledge() -> None:
            channel.basic_ack(tag)
            self._unacknowledged -= 1

        payload = json.loads(body)
        if self._listening:
            self._desk.saw(body, payload, redelivered=redelivered)
            acknowledge()
        elif self._desk.take(body, payload, redelivered=redelivered, acknowledge=acknowledge) is None:
            acknowledge()

    def _do(self, work: Work) -> None:
        self._desk.affect(work)
        if work.behaviour.name.startswith("die"):
            # With it goes everything that it had in hand; the broker gives it to the next one.
            self._die()
            return
        early = work.behaviour.name == "late" and random.Random(work.message_id).random() < 0.3
        if early:
            work.acknowledge()
        for said in answers(work.behaviour, work.payload):
            if not self._say(said):
                self._die()
                return
        if not early:
            work.acknowledge()

    def _say(self, said: dict[str, Any] | bytes) -> bool:
        """Tell whether it is certain what came of it."""
        for _ in range(5):
            if isinstance(said, bytes):
                request: Mapping[str, Any] = {"raw": said.decode()}
                answer = self._mouth.say(said, kind="event", key="", request=request, message_id=str(uuid.uuid4()))
            else:
                body = json.dumps(said).encode()
                name = said.get("event_id")
                # An old service names neither the message nor its attempt.
                shown = said if len(body) < 4_000 else {**said, "output": "(long)"}
                answer = self._mouth.say(body, kind="event", key=str(name or ""), request=shown, message_id=name)
            if answer.outcome != FAIL:
                return answer.outcome == OK
            # Nowhere to put it: the orchestrator has not declared its queue yet.
            self._stopping.wait(0.3)
        return False

    def _delete_queue(self, seconds: float) -> None:
        """Delete the queue, so that nothing is lost with it: only while it is empty, and nobody holds a message."""
        self._channel.basic_cancel(self._consumer)
        end = time.monotonic() + 5
        while self._unacknowledged and time.monotonic() < end and not self._stopping.is_set():
            self._drain(0.02)
            for work in self._desk.due():
                self._do(work)
                if self._connection is None:
                    return
        if self._unacknowledged == 0 and self._classic:
            # Refused where it is not empty (and, for a replicated queue, always). Tried once: who judges must know when.
            self._delete_for = None
            self._channel.queue_delete(self._queue, if_empty=True)
            self.deleted += 1
            self._classic = False
            self._stopping.wait(seconds)
        self._delete_for = None
        self._die()

    def _die(self) -> None:
        connection, self._connection = self._connection, None
        self._unacknowledged = 0
        self._desk.forget()
        if connection is not None:
            let_go(connection)


class AmqpStarter:
    """Starts workflows over the broker. For one thread."""

    def __init__(self, mouth: Mouth) -> None:
        self._mouth = mouth

    def start(self, start: Start) -> Answer:
        """Ask for an instance."""
        message = {
            "event_name": "StartWorkflow",
            "component_name": COMPONENT,
            "workflow_name": start.workflow,
            "business_ref_no": start.reference,
            "context": start.context,
        }
        # Half of them as old clients do, without ids.
        name = f"{start.reference}/start" if start.reference[-1] in "02468" else None
        if name is not None:
            message["event_id"] = name
        body = json.dumps(message).encode()
        answer = self._mouth.say(body, kind="start", key=start.reference, request=message, message_id=name)
        # Nowhere to put it yet: the same as nobody being there.
        return Answer(None, None, UNKNOWN) if answer.outcome == FAIL else answer

    def close(self) -> None:
        """Let go of the connection."""
        self._mouth.close()


def depths(port: int, queues: Iterable[str]) -> dict[str, Depth]:
    """Ask how many messages wait in each queue; nobody may hold any while this is asked."""
    connection = connect(port)
    found = {}
    try:
        for queue in queues:
            channel = connection.channel()
            try:
                found[queue] = Depth(int(channel.queue_declare(queue, passive=True).message_count))
                channel.close()
            except NotFound:
                found[queue] = Depth(0)
    finally:
        let_go(connection)
    return found


def remove(port: int, queues: Iterable[str]) -> None:
    """Delete queues, with whatever is in them."""
    connection = connect(port)
    try:
        for queue in queues:
            channel = connection.channel()
            channel.queue_delete(queue)
            channel.close()
    finally:
        let_go(connection)
