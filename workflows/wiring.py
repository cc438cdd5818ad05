"""The composition root: which bus, which listeners, which threads this site runs with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from django.utils import timezone

from workflows.api import watching
from workflows.conf import settings
from workflows.live.broadcasting import broadcast
from workflows.messaging.adapters.database import DatabaseBus
from workflows.messaging.port import MessageBus
from workflows.messaging.receiving import Receiver
from workflows.messaging.relay import Relay
from workflows.observability import metrics
from workflows.runtime import broker, listeners
from workflows.runtime.clock import Clock
from workflows.runtime.leasing import bell
from workflows.runtime.listeners import Listener
from workflows.runtime.workers import Worker
from workflows.steps.runner import StepRunner

_connected = False


def connect() -> None:
    """This will have every commit told to those who always listen. Starts nothing; a second call does nothing."""
    global _connected
    if not _connected:
        _connected = True
        listeners.subscribe(broadcast)
        listeners.subscribe(bell.ring)
        listeners.subscribe(metrics.listener)
        watching.observe(metrics.count_request)
        broker.ask_with(_depths)


def _depths(names: tuple[str, ...], seconds: float) -> Mapping[str, broker.Depth | None]:
    """What the pages and the API may know of the broker, which they do not import."""
    from workflows.messaging.depths import read_queues

    found = read_queues(settings.BROKER_URL, names, timeout=seconds)
    return {name: broker.Depth(one.messages, one.consumers) if one else None for name, one in found.items()}


def open_bus() -> MessageBus:
    """This will give a bus for the calling thread: RabbitMQ where BROKER_URL is set, else the queue in the database."""
    if settings.BROKER_URL is None:
        return DatabaseBus()
    from workflows.messaging.adapters.amqp import AmqpBus

    return AmqpBus(settings.BROKER_URL)


@dataclass(frozen=True, slots=True)
class Job:
    """Something that a process does by itself, in a thread: what wakes it, and what is to be done after its end."""

    worker: Worker
    heard: Listener | None = None
    close: Callable[[], None] = lambda: None


def _relay() -> Job:
    relay = Relay(open_bus=open_bus, now=timezone.now)
    return Job(relay.worker, relay.heard, relay.close)


def _clock() -> Job:
    clock = Clock(now=timezone.now)
    return Job(clock.worker, clock.heard)


def _inbound() -> Job:
    receiver = Receiver(open_bus=open_bus, now=timezone.now, queue=settings.INBOUND_QUEUE)
    return Job(receiver.worker, close=receiver.close)


def _steps() -> Job:
    runner = StepRunner(now=timezone.now)
    return Job(runner.worker, runner.heard)


JOBS: Mapping[str, Callable[[], Job]] = {"relay": _relay, "clock": _clock, "inbound": _inbound, "steps": _steps}
"""What a worker process does: sends messages, fires deadlines, takes events from the broker, runs steps."""


def jobs(only: Iterable[str] | None = None) -> list[Job]:
    """This will make the jobs of these names, by default all that this site has use for."""
    names = [name for name in JOBS if name != "inbound" or settings.BROKER_URL is not None] if only is None else only
    return [JOBS[name]() for name in names]


@dataclass(slots=True)
class Crew:
    """Jobs that are started and stopped together."""

    jobs: list[Job]
    _unsubscribe: list[Callable[[], None]] = field(default_factory=list)

    def start(self) -> None:
        """This will start them all."""
        for job in self.jobs:
            if job.heard is not None:
                self._unsubscribe.append(listeners.subscribe(job.heard))
            job.worker.start()

    def stop(self, *, seconds: float = 10.0) -> list[str]:
        """This will stop them all, and give the names of those that have not ended in time."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        for job in self.jobs:
            job.worker.stop()
        late = [job.worker.name for job in self.jobs if not job.worker.join(seconds)]
        for job in self.jobs:
            if job.worker.name not in late:
                job.close()
        return late
