"""The composition root: which bus, which listeners, which threads this site runs with."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from workflows.api import watching
from workflows.conf import settings
from workflows.live.broadcasting import broadcast
from workflows.messaging.adapters.database import DatabaseBus
from workflows.messaging.calling import Caller
from workflows.messaging.port import MessageBus
from workflows.messaging.receiving import Receiver
from workflows.messaging.relay import Relay
from workflows.runtime import broker, listeners, moments, pausing
from workflows.runtime.clock import Clock
from workflows.runtime.leasing import bell
from workflows.runtime.listeners import Listener
from workflows.runtime.wakeups import Ear, News, Voice
from workflows.runtime.workers import Report, Worker
from workflows.steps import observers
from workflows.steps.runner import InHand, StepRunner
from workflows.subscriptions import validating

_connected = False
_counting = False


def connect() -> None:
    """This will have every commit told to those who always listen. Starts nothing; a second call does nothing."""
    global _connected
    if not _connected:
        _connected = True
        listeners.subscribe(broadcast)
        listeners.subscribe(bell.ring)
        if settings.WAKE_OTHERS:
            listeners.subscribe(voice.heard)
            atexit.register(voice.end)
            bell.on_wait = others.listen
        if settings.METRICS:
            count()
        if settings.TELEMETRY:
            trace()
        broker.ask_with(_depths, own=_own_queues)


def count() -> None:
    """This will have commits and answered requests counted, for who asks for metrics. A second call does nothing."""
    global _counting
    if not _counting:
        _counting = True
        # Not at the top: a worker that nobody asks would carry 1.5 MB of it for nothing.
        from workflows.observability import metrics

        listeners.subscribe(metrics.listener)
        watching.observe(metrics.count_request)
        observers.plug("prometheus", metrics.count_step)
        observers.count_failures_with(metrics.count_observer_failure)


def trace() -> None:
    """This will have spans written of what is committed, and of the steps that are told `opentelemetry`."""
    # Not at the top: without TELEMETRY the library need not be there.
    from workflows.observability import telemetry

    telemetry.start()


def _depths(names: tuple[str, ...], seconds: float) -> Mapping[str, broker.Depth | None]:
    """What the pages and the API may know of the broker, which they do not import."""
    from workflows.messaging.depths import read_queues

    found = read_queues(settings.BROKER_URL, names, timeout=seconds)
    return {name: broker.Depth(one.messages, one.consumers) if one else None for name, one in found.items()}


def _own_queues() -> Mapping[str, str]:
    from workflows.messaging.queues import dead_letter_queue

    return {settings.INBOUND_QUEUE: "inbound", dead_letter_queue(settings.INBOUND_QUEUE): "dead"}


def open_bus() -> MessageBus:
    """This will give a bus for the calling thread: the broker of BROKER_URL, else the queue in the database."""
    if settings.BROKER_URL is None:
        return DatabaseBus()
    from workflows.messaging.connecting import is_amqp

    if not is_amqp(settings.BROKER_URL):
        from workflows.messaging.adapters.kombu_transport import KombuBus

        return KombuBus(settings.BROKER_URL, most_bytes=settings.MAX_BODY_BYTES)
    from workflows.messaging.adapters.amqp import AmqpBus

    return AmqpBus(
        settings.BROKER_URL,
        inbound=settings.INBOUND_QUEUE,
        queue_kind=settings.QUEUE_KIND,
        most_bytes=settings.MAX_BODY_BYTES,
    )


@dataclass(frozen=True, slots=True)
class Job:
    """Something that a process does by itself, in a thread: what wakes it, and what is to be done after its end.

    `kind` is how other processes know it; `rouse` has it look at everything, by default by waking it.
    """

    worker: Worker
    heard: Listener | None = None
    rouse: Callable[[], None] | None = None
    close: Callable[[], None] = lambda: None
    kind: str = ""


def _relay(team: InHand) -> Job:
    relay = Relay(open_bus=open_bus, now=moments.now)
    return Job(relay.worker, relay.heard, relay.look, relay.close, kind="relay")


def _clock(team: InHand) -> Job:
    clock = Clock(now=moments.now, chores=(validating.go_on,))
    return Job(clock.worker, clock.heard, kind="clock")


def _inbound(team: InHand) -> Job:
    receiver = Receiver(open_bus=open_bus, now=moments.now, queue=settings.INBOUND_QUEUE)
    return Job(receiver.worker, close=receiver.close, kind="inbound")


def _steps(team: InHand) -> Job:
    runner = StepRunner(now=moments.now, in_hand=team)
    return Job(runner.worker, runner.heard, kind="steps")


def _callers(team: InHand) -> Job:
    caller = Caller(now=moments.now)
    return Job(caller.worker, caller.heard, caller.look, kind="callers")


JOBS: Mapping[str, Callable[[InHand], Job]] = {
    "relay": _relay,
    "clock": _clock,
    "inbound": _inbound,
    "steps": _steps,
    "callers": _callers,
}
"""What a worker process does: sends messages, fires deadlines, takes events from the broker, runs steps, calls plugins
that have an address.
"""


def jobs(only: Iterable[str] | None = None, *, concurrency: int = 1) -> list[Job]:
    """This will make the jobs of these names, by default all that this site has use for, so many threads of each.

    Of the clock there is one: what it does is done in large batches, and a second one would be in its way.
    """
    kinds = [kind for kind in JOBS if kind != "inbound" or settings.BROKER_URL is not None] if only is None else only
    team = InHand()
    made = []
    for kind in kinds:
        count = 1 if kind == "clock" else concurrency
        for number in range(1, count + 1):
            job = JOBS[kind](team)
            if count > 1:
                job.worker.name = f"{kind} {number}"
            made.append(job)
    return made


class _Others:
    """What other processes commit, told to the jobs of this one and to those who wait for leases."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ear: Ear | None = None
        self._jobs: tuple[Job, ...] = ()

    def listen(self, jobs: Sequence[Job] = ()) -> None:
        """This will begin to listen, for these jobs, too."""
        if not settings.WAKE_OTHERS:
            return
        with self._lock:
            self._jobs += tuple(jobs)
            voice.here = {job.kind for job in self._jobs}
            if self._ear is None:
                self._ear = Ear(tell=self._tell, rouse=self._rouse)
                self._ear.worker.start()

    def end(self, jobs: Sequence[Job]) -> None:
        """This will listen no more for these jobs, and not at all where there are no others."""
        with self._lock:
            self._jobs = tuple(job for job in self._jobs if job not in jobs)
            voice.here = {job.kind for job in self._jobs}
            if self._jobs:
                return
            ear, self._ear = self._ear, None
        if ear is not None:
            ear.worker.stop()
            if ear.worker.join(2):
                ear.close()

    @property
    def report(self) -> Report | None:
        """How the listening goes; None where nobody listens."""
        ear = self._ear
        return ear.worker.report() if ear is not None else None

    def _tell(self, news: News) -> None:
        if news.everything:
            pausing.known.forget()
            self._rouse()
            return
        committed = news.as_committed()
        bell.ring(committed)
        for job in self._jobs:
            if job.kind in news.jobs and job.heard is not None:
                job.heard(committed)

    def _rouse(self) -> None:
        bell.ring_all()
        for job in self._jobs:
            if job.heard is not None:
                (job.rouse or job.worker.wake)()


voice = Voice()
others = _Others()


@dataclass(slots=True)
class Crew:
    """Jobs that are started and stopped together."""

    jobs: list[Job]
    _unsubscribe: list[Callable[[], None]] = field(default_factory=list)

    def start(self) -> None:
        """This will start them all."""
        others.listen(self.jobs)
        for job in self.jobs:
            if job.heard is not None:
                self._unsubscribe.append(listeners.subscribe(job.heard))
            job.worker.start()

    def reports(self) -> list[Report]:
        """This will tell how they all are."""
        listening = others.report
        return [job.worker.report() for job in self.jobs] + ([listening] if listening is not None else [])

    def dead(self) -> list[str]:
        """This will name those whose threads have ended although nobody had asked them to."""
        return [job.worker.name for job in self.jobs if job.worker.has_died]

    def stop(self, *, seconds: float = 10.0) -> list[str]:
        """This will have them all finish what they have in hand, and name those that have not ended in time."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        for job in self.jobs:
            job.worker.stop()
        end = time.monotonic() + seconds
        late = [job.worker.name for job in self.jobs if not job.worker.join(max(0.0, end - time.monotonic()))]
        for job in self.jobs:
            if job.worker.name not in late:
                job.close()
        others.end(self.jobs)
        return late
