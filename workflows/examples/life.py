"""The life of the examples: on an empty database the past is lived through first, then the present begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.utils import timezone

from workflows.conf import settings
from workflows.examples import inventory
from workflows.examples.past import Past, leave_marks
from workflows.examples.plugins import Systems
from workflows.examples.services import FromBroker, Services
from workflows.examples.traffic import Traffic
from workflows.models import WorkflowInstance
from workflows.runtime.workers import Worker
from workflows.wiring import Crew, Job


class Life:
    """Threads: the jobs that are given and, with traffic, simulated services and people."""

    def __init__(self, *, jobs: Sequence[Job], versions: Mapping[str, int], traffic: bool = True) -> None:
        self._versions = versions
        self._beginning = Worker(name="past", work=self._live_through_the_past)
        simulated = [*_services(), *_others(versions)] if traffic else []
        self._traffic = traffic
        self._present = Crew([*jobs, *simulated])
        self._present_began = False

    def begin(self) -> None:
        """This will start the threads."""
        if self._traffic:
            self._beginning.start()
        else:
            self._begin_the_present()

    def stop(self) -> list[str]:
        """This will end the threads, and name those that have not ended in time."""
        self._beginning.stop()
        if not self._beginning.join(10):
            return [self._beginning.name]
        return self._present.stop() if self._present_began else []

    def _live_through_the_past(self) -> None:
        if not WorkflowInstance.objects.exists():
            past = Past(now=timezone.now(), versions=self._versions, stopping=lambda: self._beginning.stopping)
            past.live_through()
            leave_marks(now=timezone.now())
            if settings.BROKER_URL is not None:
                # The messages of the past went to its own services. What these have not done is on no broker.
                self._present.jobs.append(Job(Services(now=timezone.now, again=False).worker))
        if not self._beginning.stopping:
            inventory.fill(stopping=lambda: self._beginning.stopping)
        if not self._beginning.stopping:
            self._begin_the_present()
            self._beginning.stop()

    def _begin_the_present(self) -> None:
        self._present_began = True
        self._present.start()


def _others(versions: Mapping[str, int]) -> list[Job]:
    return [Job(Traffic(now=timezone.now, versions=versions).worker), Job(Systems(now=timezone.now).worker)]


def _services() -> list[Job]:
    if settings.BROKER_URL is None:
        services = Services(now=timezone.now)
        return [Job(services.worker, services.heard)]
    fed = FromBroker(url=settings.BROKER_URL, inbound_queue=settings.INBOUND_QUEUE)
    return [Job(fed.worker, close=fed.close)]
