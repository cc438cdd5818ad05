"""Functions that do the tasks of workflows, by the queue that their work comes from."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from types import FrameType
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from workflows.client import answers
from workflows.client.answers import Answer, BadAnswer
from workflows.client.desk import Desk, Job, Work, names
from workflows.client.stores import Answers, MemoryAnswers
from workflows.client.tasks import CANCEL, COMPENSATE, START, Task, TaskCancelled, TaskFailed, UnreadableMessage
from workflows.client.tasks import read_message as _read

logger = logging.getLogger("workflows.client")

Function = Callable[[Task], Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None]
F = TypeVar("F", bound=Function)


class Transport(Protocol):
    """Brings work to a desk and its answers to the orchestrator. See amqp.py and leases.py."""

    def start(self) -> None:
        """This will begin to take work, and go on whatever becomes of the other side."""

    def stop_taking(self) -> None:
        """This will take nothing new. What is in hand goes on, and is answered."""

    def done(self, work: Work) -> None:
        """This will deliver the work's answer, and try again until that has succeeded."""

    def give_back(self, works: list[Work]) -> None:
        """This will let others have this work at once."""

    def close(self) -> None:
        """This will let go of all connections."""


class Services:
    """A program's services. Register functions, then `run`.

    `url` is the broker (`amqp://…`, `amqps://…`) or the orchestrator itself (`http://…`, `https://…`, with a `token`).
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        concurrency: int = 4,
        name: str | None = None,
        answers: Answers | None = None,
        inbound_queue: str = "workflow_manager",
        prefetch: int | None = None,
        announce_after: float | None = 2.0,
        lease_seconds: int = 60,
        poll_seconds: int = 5,
        stop_seconds: float = 25.0,
    ) -> None:
        """This will remember how to run.

        `concurrency`: how many pieces of work at once. `answers`: where answers are kept, in memory by default.
        `inbound_queue` (AMQP): where the orchestrator listens. `prefetch` (AMQP): how many messages of a queue this
        process may hold. `announce_after` (AMQP): the orchestrator is told TaskStarted of work that takes longer than
        so many seconds; None: never. `lease_seconds` (HTTP): how soon others get the work of a process that died.
        `poll_seconds` (HTTP): how long a request waits for work; an idle service ends within that time.
        `stop_seconds`: how long running work may take to finish once the process is told to end.
        """
        if concurrency < 1:
            raise ValueError("concurrency counts from 1.")
        if not 1 <= lease_seconds <= 3_600:
            raise ValueError("lease_seconds goes from 1 to 3600.")
        if not 0 <= poll_seconds <= 30:
            raise ValueError("poll_seconds goes from 0 to 30.")
        self.url = url
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._token = token
        self._concurrency = concurrency
        self._answers: Answers = answers or MemoryAnswers()
        self._inbound_queue = inbound_queue
        # Beyond what runs, so that a CancelTask finds its way past work that waits.
        self._prefetch = prefetch or 2 * concurrency + 2
        self._announce_after = announce_after
        self._lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._stop_seconds = stop_seconds
        self._functions: dict[str, Function] = {}
        self._compensations: dict[str, Function] = {}
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._desk: Desk | None = None
        self._transport: Transport | None = None

    def service(self, queue: str) -> Callable[[F], F]:
        """This will register the function that does the tasks of a queue."""
        return lambda function: self._register(self._functions, queue, function)

    def compensation(self, queue: str) -> Callable[[F], F]:
        """This will register the function that undoes tasks: it gets the CompensateTask messages of a queue."""
        return lambda function: self._register(self._compensations, queue, function)

    @property
    def queues(self) -> list[str]:
        """The queues that somebody here listens to."""
        return sorted({*self._functions, *self._compensations})

    def handle(self, message: Mapping[str, Any] | bytes | str, *, queue: str | None = None) -> Answer | None:
        """This will do one message's work here and now, and give the answer; None: there is none.

        For tests of services: nothing is connected to, nothing is remembered. The queue may be left out where there is
        only one. Raises UnreadableMessage.
        """
        if queue is None:
            if len(self.queues) != 1:
                raise ValueError(f"Say which queue: {', '.join(self.queues) or 'there is none yet'}.")
            (queue,) = self.queues
        task = Task(message if isinstance(message, Mapping) else _read(message), queue=queue)
        job = self.job_for(task)
        if job is None:
            return None
        said: Any = job(task)
        if inspect.iscoroutine(said):
            said = asyncio.run(said)
        return said or None

    def run(self, url: str | None = None, *, token: str | None = None) -> bool:
        """This will serve until SIGTERM or SIGINT, then finish what runs; False when not all could be finished.

        A second signal ends it at once.
        """
        before = self._listen_to_signals()
        try:
            self.start(url, token=token)
            while not self._stopping.wait(60):
                pass
            logger.info("told to end: what runs is finished first; told again, it ends at once")
            return self.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self, url: str | None = None, *, token: str | None = None) -> None:
        """This will serve from threads of its own, until `stop`."""
        if self._desk is not None:
            raise RuntimeError("It serves already.")
        if not self.queues:
            raise ValueError('There is nothing to serve: register functions with @services.service("a_queue").')
        desk = Desk(concurrency=self._concurrency, answers=self._answers, done=self._done)
        transport = self._make_transport(url or self.url, token or self._token, desk)
        self._desk, self._transport = desk, transport
        transport.start()
        logger.info("serving %s as %s", ", ".join(self.queues), self.name)

    def stop(self, seconds: float | None = None) -> bool:
        """This will take nothing new, finish what runs, deliver all answers and give back what had not begun.

        False when that was not done in time: what is left is offered again to whoever serves.
        """
        desk, transport = self._desk, self._transport
        if desk is None or transport is None:
            return True
        end = time.monotonic() + (self._stop_seconds if seconds is None else seconds)
        transport.stop_taking()
        transport.give_back(desk.close())
        while not (finished := desk.wait(min(0.2, max(0.0, end - time.monotonic())))):
            if time.monotonic() >= end or self._hurry.is_set():
                break
        if left := desk.in_hand():
            logger.warning("not finished in time, others will be offered it: %s", names(left))
            transport.give_back(left)
        transport.close()
        desk.end()
        self._desk = self._transport = None
        return finished

    def ask_to_stop(self) -> None:
        """This will make `run` return, from any thread."""
        self._stopping.set()

    def job_for(self, task: Task) -> Job | None:
        """This will give what answers the task; None for a message that asks for no work."""
        if task.event_name == CANCEL:
            return None
        if task.event_name not in (START, COMPENSATE):
            raise UnreadableMessage(f"there is no work named {task.event_name!r}")
        # A function that does is never taken for one that undoes: a payment would be made twice.
        of, name = (self._compensations, "compensation") if task.is_compensation else (self._functions, "service")
        function = of.get(task.queue)
        if function is None:
            why = TaskFailed(
                "no_function", f"No function is registered here with @{name}({task.queue!r}).", {"worker": self.name}
            )
            return lambda task: answers.failed(task, why)
        if not inspect.iscoroutinefunction(function):
            return lambda task: _perform(function, task)

        async def perform(task: Task) -> Answer:
            return await _perform_async(function, task)

        return perform

    def _register(self, where: dict[str, Function], queue: str, function: F) -> F:
        if self._desk is not None:
            raise RuntimeError("Register functions before you run them.")
        if queue in where:
            raise ValueError(f"The queue {queue!r} has a function already.")
        where[queue] = function
        return function

    def _make_transport(self, url: str | None, token: str | None, desk: Desk) -> Transport:
        scheme = urlsplit(url or "").scheme
        if url and scheme in ("amqp", "amqps", "pyamqp"):
            from workflows.client.amqp import AmqpTransport

            return AmqpTransport(
                url,
                desk=desk,
                job_for=self.job_for,
                queues=self.queues,
                inbound_queue=self._inbound_queue,
                prefetch=self._prefetch,
                announce_after=self._announce_after,
                name=self.name,
            )
        if url and scheme in ("http", "https"):
            from workflows.client.leases import LeaseTransport

            return LeaseTransport(
                url,
                token=token,
                desk=desk,
                job_for=self.job_for,
                queues=self.queues,
                lease_seconds=self._lease_seconds,
                poll_seconds=self._poll_seconds,
                name=self.name,
            )
        raise ValueError("Say where to serve: amqp://… for a broker, http://… for the orchestrator itself.")

    def _done(self, work: Work) -> None:
        if self._transport is not None:
            self._transport.done(work)

    def _listen_to_signals(self) -> dict[int, Any]:
        self._stopping.clear()
        self._hurry.clear()
        if threading.current_thread() is not threading.main_thread():
            return {}

        def asked(number: int, frame: FrameType | None) -> None:
            if self._stopping.is_set():
                self._hurry.set()
            self._stopping.set()

        return {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}


def _perform(function: Function, task: Task) -> Answer:
    try:
        output = function(task)
    except BaseException as error:
        return _what_became(task, error)
    return _answer(task, output)


async def _perform_async(function: Function, task: Task) -> Answer:
    try:
        awaitable: Any = function(task)
        output = await awaitable
    except asyncio.CancelledError:
        # Who ends the loop is told by the desk from a function that gave up by itself.
        raise
    except BaseException as error:
        return _what_became(task, error)
    return _answer(task, output)


def _answer(task: Task, output: Any) -> Answer:
    if _is_for_people(task):
        return {}
    try:
        # Also of work that was withdrawn meanwhile: where it has to be undone, the orchestrator wants to know.
        return answers.completed(task, output)
    except BadAnswer as error:
        logger.error("%r: %s", task, error)  # noqa: TRY400
        return answers.failed(task, TaskFailed("bad_output", str(error), retry=False))


def _what_became(task: Task, error: BaseException) -> Answer:
    if isinstance(error, TaskFailed):
        logger.info("%r failed: %s", task, error)
    elif not isinstance(error, TaskCancelled):
        logger.error("%r failed", task, exc_info=error)
    if task.cancelled or _is_for_people(task) or isinstance(error, TaskCancelled):
        return {}
    return answers.failed(task, error)


def _is_for_people(task: Task) -> bool:
    # Whoever is told of a person's task may send a letter; the task is the person's to complete.
    return task.task_type == "HUMAN" and not task.is_compensation
