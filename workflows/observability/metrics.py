"""Numbers for Prometheus: counted as things happen, measured (never counted out) when somebody asks.

Counters are those of this process; with several, Prometheus adds them up. No label holds an id, a name or a text of
somebody's: the number of series does not grow with the data. (Steps are labelled with names of code and templates;
what is by names that people publish is in `gauges`.)
"""

from __future__ import annotations

import datetime as dt
import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.db.models import Min
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from workflows.conf import settings
from workflows.engine.lifecycle import ENDED, InstanceState, QuarantineState
from workflows.models import Deadline, HumanTask, OutboxMessage, QuarantinedMessage, WorkflowInstance
from workflows.observability import gauges

if TYPE_CHECKING:
    from workflows.runtime.listeners import Committed
    from workflows.runtime.workers import Report
    from workflows.steps.observers import Seen

_FRESH_SECONDS = 5.0
_UNDER_WAY = tuple(state for state in InstanceState if state not in ENDED)

registry = CollectorRegistry(auto_describe=False)

commits = Counter("orchestrator_commits_total", "Transactions that changed instances.", registry=registry)
started = Counter("orchestrator_instances_started_total", "Instances that were started.", registry=registry)
changes = Counter(
    "orchestrator_instance_changes_total", "Instances changed by a commit, by the state they were left in.",
    ["state"], registry=registry,
)  # fmt: skip
events = Counter("orchestrator_events_total", "What happened to instances, by name.", ["event"], registry=registry)
requests = Counter(
    "orchestrator_http_requests_total", "Answered API requests.", ["route", "method", "status"], registry=registry
)
seconds = Histogram(
    "orchestrator_http_request_seconds", "How long API requests took.", ["route"], registry=registry,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)  # fmt: skip
steps = Counter(
    "orchestrator_steps_total", "Steps that ran, by answer and direction (observer `prometheus`).",
    ["component", "step", "direction", "outcome"], registry=registry,
)  # fmt: skip
step_seconds = Histogram(
    "orchestrator_step_seconds", "How long steps ran (observer `prometheus`).",
    ["component", "step", "direction"], registry=registry,
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip
observer_failures = Counter(
    "orchestrator_observer_failures_total", "Failures of observers of steps, by the observer's name.",
    ["observer"], registry=registry,
)  # fmt: skip
_METHODS = frozenset({"GET", "HEAD", "POST"})


# Each commit counts a handful of events: looking a label up anew would cost more than counting it.
_change_of = functools.cache(changes.labels)
_event_of = functools.cache(events.labels)


def listener(committed: Committed) -> None:
    """This will count what a commit has changed (to be registered with `runtime.listeners.subscribe`)."""
    commits.inc()
    for change in committed.changes:
        _change_of(str(change.state)).inc()
        for name in change.events:
            _event_of(name).inc()
        if change.created:
            started.inc()


def count_request(route: str, method: str, status: int, took: float) -> None:
    """This will count an answered request (to be registered with `api.watching.observe`)."""
    requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
    seconds.labels(route).observe(took)


def count_step(seen: Seen) -> None:
    """This will count a step that ran (to be plugged in as the observer `prometheus`).

    Its labels are names of code and templates: there are as many series as somebody has written steps.
    """
    if seen.outcome is not None:
        where = (seen.component, seen.step, "down" if seen.down else "up")
        steps.labels(*where, type(seen.outcome).__name__.lower()).inc()
        step_seconds.labels(*where).observe(seen.seconds)


def count_observer_failure(name: str) -> None:
    """This will count a failure of an observer (to be registered with `steps.observers.count_failures_with`)."""
    observer_failures.labels(name).inc()


Measure = Callable[[dt.datetime], Iterable[GaugeMetricFamily]]


class _Measured(Collector):
    """What only the database knows. Counts stop at a cap; it is asked once in five seconds (`rarely`: 15) at most."""

    def __init__(self, measure: Measure, *, rarely: bool = False) -> None:
        self._measure, self._rarely = measure, rarely
        self._lock = threading.Lock()
        self._measured_at = 0.0
        self._families: list[GaugeMetricFamily] = []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """This will give the newest measurements."""
        with self._lock:
            fresh = _FRESH_SECONDS * (3 if self._rarely else 1)
            if time.monotonic() - self._measured_at > fresh or not self._families:
                self._families = list(self._measure(dt.datetime.now(dt.UTC)))
                self._measured_at = time.monotonic()
            return self._families

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """This will register without asking the database."""
        return ()


def _measure(now: dt.datetime) -> Iterator[GaugeMetricFamily]:
    cap = settings.COUNT_CAP
    instances = GaugeMetricFamily(
        "orchestrator_instances", f"Instances under way, by state; {cap} means that many or more.", labels=["state"]
    )
    for state in _UNDER_WAY:
        instances.add_metric([str(state)], _capped(WorkflowInstance.objects.filter(state=state), cap))
    yield instances
    unsent = OutboxMessage.objects.to_send()
    yield _gauge("orchestrator_outbox_waiting", "Messages that are not sent yet; capped.", _capped(unsent, cap))
    yield _gauge(
        "orchestrator_outbox_oldest_seconds", "Age of the oldest message that is not sent yet.", outbox_age(now)
    )
    yield _gauge(
        "orchestrator_quarantine_open", "Quarantined messages that wait for somebody; capped.",
        _capped(QuarantinedMessage.objects.filter(state=QuarantineState.OPEN), cap),
    )  # fmt: skip
    yield _gauge(
        "orchestrator_human_tasks_open", "People's tasks that are open; capped.",
        _capped(HumanTask.objects.open(), cap),
    )  # fmt: skip
    due = Deadline.objects.aggregate(first=Min("due_at"))["first"]
    late = max(0.0, (now - due).total_seconds()) if due else 0.0
    yield _gauge("orchestrator_deadline_late_seconds", "By how much the clock is behind the earliest deadline.", late)


def outbox_age(now: dt.datetime) -> float:
    """This will give the seconds that the oldest unsent message has waited; 0 where none waits."""
    oldest = OutboxMessage.objects.to_send().aggregate(first=Min("created_at"))["first"]
    return max(0.0, (now - oldest).total_seconds()) if oldest else 0.0


def _capped(rows: Any, cap: int) -> int:
    return int(rows.order_by()[:cap].count())


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, value=value)


class _Jobs(Collector):
    """The jobs of this process."""

    def __init__(self, reports: Callable[[], Sequence[Report]]) -> None:
        self._reports = reports

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """This will give how they are just now."""
        alive = GaugeMetricFamily("orchestrator_job_alive", "Whether the job's thread lives.", labels=["job"])
        failing = GaugeMetricFamily(
            "orchestrator_job_failures", "How often in a row the job's work has failed.", labels=["job"]
        )
        busy = GaugeMetricFamily(
            "orchestrator_job_busy_seconds", "How long the job has been at its piece of work.", labels=["job"]
        )
        for job in self._reports():
            alive.add_metric([job.name], float(job.alive))
            failing.add_metric([job.name], job.failures)
            busy.add_metric([job.name], job.busy_seconds)
        return alive, failing, busy

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """This will register without asking anybody."""
        return ()


def watch(reports: Callable[[], Sequence[Report]]) -> None:
    """This will show how the jobs of this process are. For a worker process, once."""
    registry.register(_Jobs(reports))


registry.register(_Measured(_measure))
registry.register(_Measured(gauges.measure, rarely=True))
ProcessCollector(registry=registry)
