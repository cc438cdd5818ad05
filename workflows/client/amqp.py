"""Work from a broker: one thread owns the connection; it takes messages, sends answers, then acknowledges."""

from __future__ import annotations

import contextlib
import logging
import random
import selectors
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import amqp
from amqp.exceptions import AMQPError, NotFound

from workflows import tracecontext
from workflows.client import answers
from workflows.client.desk import Desk, Job, Work
from workflows.client.tasks import CANCEL, Task, UnreadableMessage, read_message

logger = logging.getLogger("workflows.client")

CONNECT_SECONDS = 5
CONFIRM_SECONDS = 15
HEARTBEAT_SECONDS = 20
LOOK_SECONDS = 0.5
MOST_UNCONFIRMED = 200
_TRACE = (tracecontext.PARENT, tracecontext.STATE)
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds between attempts to connect, or to send an answer that the broker did not take."""

# Note [Delivered once the broker has it]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
# The message that asked for the work is acknowledged after the broker has confirmed the answer. Whatever happens in
# between, one of the two is still there: the message, which arrives again and is answered from the store, or the
# answer. A connection is thrown away after any error; what was sent on it and not confirmed is sent again on the next,
# with the same message_id, and the orchestrator tells the second one apart.


class AmqpTransport:
    """See Transport."""

    def __init__(
        self,
        url: str,
        *,
        desk: Desk,
        job_for: Callable[[Task], Job | None],
        queues: Sequence[str],
        inbound_queue: str,
        prefetch: int,
        announce_after: float | None,
        name: str,
    ) -> None:
        # Several servers of one broker, separated by semicolons: whichever answers.
        self._urls = url.split(";")
        self._desk = desk
        self._job_for = job_for
        self._queues = queues
        self._inbound_queue = inbound_queue
        self._prefetch = prefetch
        self._announce_after = announce_after
        self._name = name
        self._line: _Line | None = None
        self._thread = threading.Thread(target=self._live, name="services' broker", daemon=True)
        self._taking = True
        self._ended = threading.Event()
        # Filled by any thread, emptied by ours.
        self._unsent: deque[Work] = deque()
        self._given_back: deque[Work] = deque()
        # Ours alone: answers that the broker would not take, and when to try again.
        self._later: list[tuple[float, Work]] = []
        self._refusals = 0
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self._mouth.setblocking(False)

    def start(self) -> None:
        """This will connect and consume, and do so again whenever the connection is lost."""
        self._thread.start()

    def stop_taking(self) -> None:
        """This will end the consumers."""
        self._taking = False
        self._wake()

    def done(self, work: Work) -> None:
        """This will send the answer as soon as there is a connection."""
        self._unsent.append(work)
        self._wake()

    def give_back(self, works: list[Work]) -> None:
        """This will put messages back into their queues."""
        self._given_back.extend(works)
        self._wake()

    def close(self) -> None:
        """This will close the connection; with it, what was not acknowledged goes back to its queue."""
        self._ended.set()
        self._wake()
        self._thread.join(CONNECT_SECONDS + 2)
        self._ear.close()
        self._mouth.close()

    def _wake(self) -> None:
        # A full pipe wakes as well.
        with contextlib.suppress(OSError):
            self._mouth.send(b"x")

    # --- The thread ---

    def _live(self) -> None:
        failures = 0
        while not self._ended.is_set():
            try:
                queues = self._queues if self._taking else ()
                url = self._urls[failures % len(self._urls)]
                self._line = line = _Line(url, queues, inbound_queue=self._inbound_queue, prefetch=self._prefetch)
                failures = 0
                self._serve(line)
            except Exception as error:
                expected = isinstance(error, (AMQPError, OSError))
                pause = PAUSES[min(failures, len(PAUSES) - 1)] * random.uniform(0.75, 1.25)  # noqa: S311
                failures += 1
                logger.warning("the broker is away, next try in %.1f s: %s", pause, error, exc_info=not expected)
                self._part()
                self._ended.wait(pause)
        self._part()

    def _part(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            # What was not confirmed goes out first on the next connection.
            again = [work for work, taken in line.confirmed if not taken] + list(line.unconfirmed.values())
            self._unsent.extendleft(work for work in reversed(again) if isinstance(work, Work))
            for work, taken in line.confirmed:
                if taken and isinstance(work, Work):
                    self._desk.settled(work)
            line.close()

    def _serve(self, line: _Line) -> None:
        while not self._ended.is_set():
            if line.consuming and not self._taking:
                line.stop_consuming()
            self._take(line)
            self._settle(line)
            self._give_back(line)
            if not line.blocked:
                self._announce(line)
                self._send(line)
            line.check()
            if not line.arrived and not line.confirmed:
                line.wait(self._ear, LOOK_SECONDS)
        # What was given back or settled in the last moment.
        self._settle(line)
        self._give_back(line)

    def _take(self, line: _Line) -> None:
        while line.arrived:
            arrival = line.arrived.popleft()
            handle = (line, arrival.tag)
            try:
                task = Task(read_message(arrival.body), queue=arrival.queue, headers=arrival.headers)
                job = self._job_for(task)
            except UnreadableMessage as error:
                # No traceback: the fault is the sender's.
                said = arrival.body[:2_000]
                logger.error("a message of %s goes to the dead letters, %s: %r", arrival.queue, error, said)  # noqa: TRY400
                line.put_aside(arrival, f"{self._inbound_queue}.dead")
                continue
            if task.event_name == CANCEL or job is None:
                self._desk.cancel(task.key)
                line.acknowledge(arrival.tag)
            elif not self._desk.take(task, job, handle):
                line.put_back(arrival.tag)

    def _send(self, line: _Line) -> None:
        now = time.monotonic()
        if self._later:
            self._unsent.extend(work for due, work in self._later if due <= now)
            self._later = [(due, work) for due, work in self._later if due > now]
        while self._unsent and len(line.unconfirmed) < MOST_UNCONFIRMED:
            work = self._unsent.popleft()
            if not work.answer:
                self._forget(line, work)
                continue
            try:
                line.publish(work.answer, self._inbound_queue, work)
            except BaseException:
                self._unsent.appendleft(work)
                raise

    def _announce(self, line: _Line) -> None:
        for work, progress in self._desk.reports():
            work.announced = True
            if work.task.task_type != "HUMAN":
                said = answers.started(work.task, worker_id=self._name, progress=progress)
                line.publish(said, self._inbound_queue, None)
        if self._announce_after is None:
            return
        for work in self._desk.running():
            if not work.announced and work.began and time.monotonic() - work.began >= self._announce_after:
                work.announced = True
                if work.task.task_type != "HUMAN":
                    line.publish(answers.started(work.task, worker_id=self._name), self._inbound_queue, None)

    def _settle(self, line: _Line) -> None:
        while line.confirmed:
            work, taken = line.confirmed.popleft()
            if work is None:
                continue
            if isinstance(work, _Arrival):
                # Where there are no dead letters yet, the queue's own rule says what becomes of it.
                (line.acknowledge if taken else line.refuse)(work.tag)
                continue
            if taken:
                self._refusals = 0
                self._forget(line, work)
                continue
            # The orchestrator declares its queue. Until it has been there, the answer waits here.
            pause = PAUSES[min(self._refusals, len(PAUSES) - 1)]
            self._refusals += 1
            logger.warning("the broker has no room for answers in %s, next try in %s s", self._inbound_queue, pause)
            self._later.append((time.monotonic() + pause, work))

    def _forget(self, line: _Line, work: Work) -> None:
        self._desk.settled(work)
        for on, tag in work.handles:
            if on is line:
                line.acknowledge(tag)

    def _give_back(self, line: _Line) -> None:
        while self._given_back:
            for on, tag in self._given_back.popleft().handles:
                if on is line:
                    line.put_back(tag)


class _Arrival(NamedTuple):
    tag: int
    queue: str
    body: bytes
    headers: Mapping[str, Any]


class _Line:
    """One connection with a channel that consumes and one that publishes. Its callbacks only take notes."""

    def __init__(self, url: str, queues: Sequence[str], *, inbound_queue: str, prefetch: int) -> None:
        self.arrived: deque[_Arrival] = deque()
        self.confirmed: deque[tuple[Work | _Arrival | None, bool]] = deque()
        self.unconfirmed: dict[int, Work | _Arrival | None] = {}
        self.blocked = False
        self.consuming = False
        self._ids: dict[int, str] = {}
        self._returned: set[str] = set()
        self._last_tag = 0
        self._waiting_since = time.monotonic()
        self._connection: Any = amqp.Connection(
            **_address(url),
            heartbeat=HEARTBEAT_SECONDS,
            connect_timeout=CONNECT_SECONDS,
            on_blocked=self._on_blocked,
            on_unblocked=self._on_unblocked,
        )
        try:
            self._connection.connect()
            # From here on: a server that accepts a connection and falls silent is as good as gone.
            self._connection.sock.settimeout(CONFIRM_SECONDS)
            self._publishing = self._connection.channel()
            self._publishing.confirm_select()
            self._publishing.events["basic_ack"].add(lambda tag, multiple: self._closed(tag, multiple, taken=True))
            self._publishing.events["basic_nack"].add(lambda tag, multiple: self._closed(tag, multiple, taken=False))
            self._publishing.events["basic_return"].add(self._on_return)
            for queue in queues:
                _make_sure_of(self._connection, queue)
            self._consuming = self._connection.channel()
            # Bytes stay bytes.
            self._consuming.auto_decode = False
            self._consuming.basic_qos(0, prefetch, False)
            self._tags = [
                self._consuming.basic_consume(
                    queue, callback=lambda message, queue=queue: self._on_message(queue, message)
                )
                for queue in queues
            ]
            self.consuming = bool(queues)
        except BaseException:
            self.close()
            raise

    def publish(self, answer: answers.Answer, queue: str, work: Work | None) -> None:
        message = amqp.Message(
            answers.encode(answer),
            message_id=answer["event_id"],
            content_type="application/json",
            delivery_mode=2,
            application_headers={name: answer[name] for name in _TRACE if name in answer},
        )
        self._publish(message, queue, work)

    def put_aside(self, arrival: _Arrival, queue: str) -> None:
        """This will bring what nobody can read to the dead letters, as the broker itself would."""
        death = {"x-first-death-queue": arrival.queue, "x-first-death-reason": "rejected"}
        message = amqp.Message(arrival.body, message_id=uuid.uuid4().hex, application_headers=death, delivery_mode=2)
        self._publish(message, queue, arrival)

    def _publish(self, message: Any, queue: str, about: Work | _Arrival | None) -> None:
        if not self.unconfirmed:
            self._waiting_since = time.monotonic()
        self._last_tag += 1
        self.unconfirmed[self._last_tag] = about
        self._ids[self._last_tag] = message.properties["message_id"]
        self._publishing.basic_publish(message, exchange="", routing_key=queue, mandatory=True)

    def acknowledge(self, tag: int) -> None:
        self._consuming.basic_ack(tag)

    def put_back(self, tag: int) -> None:
        self._consuming.basic_reject(tag, requeue=True)

    def refuse(self, tag: int) -> None:
        self._consuming.basic_reject(tag, requeue=False)

    def stop_consuming(self) -> None:
        self.consuming = False
        for tag in self._tags:
            self._consuming.basic_cancel(tag)

    def check(self) -> None:
        """This will keep the connection alive, and raise when the broker is silent."""
        self._connection.heartbeat_tick()
        if self.unconfirmed and not self.blocked and time.monotonic() - self._waiting_since > CONFIRM_SECONDS:
            raise TimeoutError("it confirms nothing")

    def wait(self, ear: socket.socket, seconds: float) -> None:
        """This will wait for the broker, or for somebody to wake us, and take in what has come."""
        sock = self._connection.sock
        if not (hasattr(sock, "pending") and sock.pending()):
            with selectors.DefaultSelector() as selector:
                selector.register(sock, selectors.EVENT_READ)
                selector.register(ear, selectors.EVENT_READ)
                ready = {key.fileobj for key, _ in selector.select(seconds)}
            if ear in ready:
                with contextlib.suppress(BlockingIOError):
                    ear.recv(4_096)
            if sock not in ready:
                return
        with contextlib.suppress(TimeoutError):
            # Whatever has come already; a frame that is not complete yet is left for the next look.
            for _ in range(MOST_UNCONFIRMED):
                self._connection.drain_events(timeout=0.001)

    def close(self) -> None:
        with contextlib.suppress(AMQPError, OSError, AttributeError):
            if self._connection.connected:
                self._connection.transport.sock.settimeout(2)
                self._connection.close()
        with contextlib.suppress(AMQPError, OSError, AttributeError):
            self._connection.collect()

    def _on_message(self, queue: str, message: Any) -> None:
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode(errors="replace")
        headers = message.properties.get("application_headers")
        said = headers if isinstance(headers, dict) else {}
        self.arrived.append(_Arrival(message.delivery_tag, queue, body, said))

    def _on_return(self, error: Any, exchange: str, routing_key: str, message: Any) -> None:
        # The broker returns a message before it confirms it.
        self._returned.add(message.properties.get("message_id", ""))

    def _closed(self, tag: int, multiple: bool, *, taken: bool) -> None:
        self._waiting_since = time.monotonic()
        for one in [one for one in self.unconfirmed if one <= tag] if multiple else [tag]:
            if one not in self.unconfirmed:
                continue
            message_id = self._ids.pop(one)
            returned = message_id in self._returned
            self._returned.discard(message_id)
            self.confirmed.append((self.unconfirmed.pop(one), taken and not returned))

    def _on_blocked(self, reason: str = "") -> None:
        logger.warning("the broker takes no answers for now (%s)", reason or "it is short of memory or disk")
        self.blocked = True

    def _on_unblocked(self) -> None:
        self._waiting_since = time.monotonic()
        self.blocked = False


def _address(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    secure = parts.scheme == "amqps"
    host = parts.hostname or "localhost"
    named = f"[{host}]" if ":" in host else host
    return {
        "host": f"{named}:{parts.port or (5671 if secure else 5672)}",
        "userid": unquote(parts.username or "guest"),
        "password": unquote(parts.password or "guest"),
        "virtual_host": unquote(parts.path[1:]) or "/",
        "login_method": "PLAIN",
        "ssl": {"context": {"check_hostname": True}, "server_hostname": host} if secure else False,
    }


def _make_sure_of(connection: Any, queue: str) -> None:
    # A queue that exists stays as whoever declared it wants it. A new one is declared as everybody declares one.
    with contextlib.suppress(NotFound):
        channel = connection.channel()
        channel.queue_declare(queue, passive=True)
        channel.close()
        return
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, auto_delete=False)
    channel.close()
