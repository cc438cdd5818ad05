"""Spans for OpenTelemetry: written from what was committed, under ids that messages have named long before.

Needs the library (requirements-telemetry.txt); imported only where TELEMETRY is on. Where spans go is said in the
environment, as for any program of OpenTelemetry: docs/telemetry.md. See tracing, Note [One trace for each instance].
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

from django.core.exceptions import ImproperlyConfigured

try:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import (
        Link,
        NonRecordingSpan,
        SpanContext,
        SpanKind,
        StatusCode,
        TraceFlags,
        TraceState,
        set_span_in_context,
    )
except ImportError as error:
    raise ImproperlyConfigured(
        "TELEMETRY needs the library of OpenTelemetry: pip install -r requirements-telemetry.txt, or leave it unset."
    ) from error

from workflows import tracecontext
from workflows.definitions.schema import TaskKind
from workflows.runtime import listeners, tracing
from workflows.runtime.attempts import EndedAttempt
from workflows.runtime.listeners import Change, Committed, Details
from workflows.steps import observers
from workflows.steps.observers import Seen
from workflows.steps.outcomes import Failed
from workflows.tracecontext import TraceContext

logger = logging.getLogger(__name__)

NAME = "opentelemetry"
_SERVICE = "orchestrator"
_FAILED = ("FAILED", "ROLLBACK_FAILED", "CANCELLED", "ROLLED_BACK")


class _Ids(IdGenerator):
    """Gives the ids that are laid down for the next span. Whoever begins one holds the lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = ("", "")

    @contextmanager
    def laid_down(self, trace_id: str, span_id: str) -> Iterator[None]:
        """This will give these ids while the block lasts."""
        with self._lock:
            self._next = (trace_id, span_id)
            yield

    def generate_trace_id(self) -> int:
        """This will give the trace's id."""
        return int(self._next[0], 16)

    def generate_span_id(self) -> int:
        """This will give the span's id."""
        return int(self._next[1], 16)


class Spans:
    """Writes spans of commits and of steps to a processor of the library, which sends them in a thread of its own."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._ids = _Ids()
        self._provider = TracerProvider(resource=_resource(), id_generator=self._ids)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("workflows")

    def sampled(self, trace_id: str) -> bool:
        """This will ask the sampler whether a trace that begins here is kept."""
        return self._provider.sampler.should_sample(None, int(trace_id, 16), "start").decision.is_sampled()

    def heard(self, committed: Committed) -> None:
        """This will write the spans of what a commit has begun and ended."""
        for change in committed.changes:
            if change.details is not None:
                self._write(change, change.details, committed.at)

    def step(self, seen: Seen) -> None:
        """This will write the span of a run of a step, once it is committed (to be plugged in as the observer)."""
        if seen.outcome is not None and (parent := seen.task.trace) is not None:
            ended = time.time_ns()
            seen.later.append(lambda: self._step(seen, parent, ended))

    def close(self) -> None:
        """This will send what is left."""
        self._provider.shutdown()

    def _step(self, seen: Seen, parent: TraceContext, ended: int) -> None:
        outcome = seen.outcome
        try:
            error = {"code": outcome.code, "message": outcome.message} if isinstance(outcome, Failed) else None
            self._span(
                f"step {seen.step}",
                uuid.uuid4().hex[:16],
                parent,
                began=ended - int(seen.seconds * 1e9),
                ended=ended,
                error=error,
                about={
                    "instance": seen.task.instance_id,
                    "reference": seen.task.business_ref_no,
                    "component": seen.component,
                    "task": f"{seen.task.stage_name}/{seen.task.task_name}",
                    "attempt": seen.task.attempt,
                    "step": seen.step,
                    "outcome": type(outcome).__name__.lower(),
                    "direction": "down" if seen.down else "up",
                },
            )
        except Exception:
            observers.failed(NAME)
            logger.exception("listener %s failed at %s; the step has gone on", NAME, seen.step)

    def _write(self, change: Change, details: Details, at: dt.datetime) -> None:
        now = details.now
        trace = tracing.of_instance(change.instance_id, now.trace)
        if trace is None:
            return
        about = {
            "instance": str(change.instance_id),
            "reference": now.business_ref_no,
            "component": change.component_name,
            "workflow": change.workflow_name,
        }
        if change.created:
            # Short, and written at once: whatever comes later has a parent that is there.
            caller = tracecontext.from_text(now.trace)
            self._span(
                f"start {change.workflow_name}",
                trace.span_id,
                caller,
                began=_ns(now.created_at),
                ended=_ns(now.created_at),
                about=about,
                trace=trace,
                kind=SpanKind.CONSUMER,
            )
        for heard in details.heard:
            if heard.trace.trace_id != trace.trace_id:
                self._span(
                    heard.command,
                    uuid.uuid4().hex[:16],
                    heard.trace,
                    began=_ns(at),
                    ended=_ns(at),
                    about=about,
                    links=[Link(_context(trace))],
                    kind=SpanKind.CONSUMER,
                )
        for attempt in details.attempts:
            self._attempt(change, details, attempt, trace, about, at)
        if details.ended:
            state = str(now.state)
            self._span(
                f"workflow {change.workflow_name}",
                uuid.uuid4().hex[:16],
                trace,
                began=_ns(now.created_at),
                ended=_ns(at),
                about={**about, "state": state},
                error={"code": state} if state in _FAILED else None,
            )

    def _attempt(
        self,
        change: Change,
        details: Details,
        attempt: EndedAttempt,
        trace: TraceContext,
        about: Mapping[str, Any],
        at: dt.datetime,
    ) -> None:
        task = details.definition.tasks[attempt.position]
        own = tracing.of_attempt(
            change.instance_id,
            details.now.trace,
            position=attempt.position,
            attempt=attempt.attempt,
            compensation=attempt.compensation,
        )
        if own is None:  # it has just been told to write no more
            return
        waited = {"waited_seconds": (attempt.taken - attempt.began).total_seconds()} if attempt.taken else {}
        queue = (task.compensate.task_queue if task.compensate else None) if attempt.compensation else task.task_queue
        self._span(
            f"{'undo' if attempt.compensation else 'task'} {task.task_name}",
            own.span_id,
            trace,
            began=_ns(attempt.began),
            ended=_ns(at),
            error=(attempt.error or {"code": "failed"}) if attempt.outcome == "failed" else None,
            kind=SpanKind.PRODUCER if queue and task.kind is not TaskKind.HUMAN else SpanKind.INTERNAL,
            about={
                **about,
                "task": task.key,
                "task_type": str(task.kind),
                "attempt": attempt.attempt,
                "outcome": attempt.outcome,
                "direction": "down" if attempt.compensation else "up",
                **waited,
            },
        )

    def _span(
        self,
        name: str,
        span_id: str,
        parent: TraceContext | None,
        *,
        began: int,
        ended: int,
        about: Mapping[str, Any],
        error: Mapping[str, Any] | None = None,
        links: Sequence[Link] = (),
        kind: SpanKind = SpanKind.INTERNAL,
        trace: TraceContext | None = None,
    ) -> None:
        above = set_span_in_context(NonRecordingSpan(_context(parent))) if parent else set_span_in_context(_NOBODY)
        known = parent or trace
        with self._ids.laid_down(known.trace_id if known else "", span_id):
            span = self._tracer.start_span(
                name,
                context=above,
                kind=kind,
                attributes={f"orchestrator.{key}": value for key, value in about.items()},
                links=links,
                start_time=began,
            )
        if error is not None:
            said = {"exception.type": str(error.get("code") or "failed"), "exception.message": _text(error)}
            span.add_event("exception", said, timestamp=ended)
            span.set_status(StatusCode.ERROR, said["exception.type"])
        span.end(end_time=ended)


_NOBODY = NonRecordingSpan(SpanContext(0, 0, is_remote=False))


def _context(trace: TraceContext) -> SpanContext:
    return SpanContext(
        int(trace.trace_id, 16),
        int(trace.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([trace.state]) if trace.state else None,
    )


def _text(error: Mapping[str, Any]) -> str:
    return str(error.get("message") or "")[:2000]


def _ns(moment: dt.datetime) -> int:
    # In whole microseconds: a float would lose some.
    return (moment - _EPOCH) // dt.timedelta(microseconds=1) * 1000


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


# --- Where they go ------------------------------------------------------------------------------------------------


class _Named(SpanExporter):
    """An exporter whose failures are told under the observer's name, and stay its own."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """This will send spans; what cannot be sent is lost, and said to be."""
        try:
            result = self._inner.export(spans)
        except Exception as error:
            why: object = repr(error)
        else:
            if result is SpanExportResult.SUCCESS:
                return result
            why = "see the lines of the exporter"
        observers.failed(NAME)
        logger.warning("observer %s: %d spans could not be sent (%s); nothing else is lost", NAME, len(spans), why)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """This will let go of it."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """This will wait until all has been sent."""
        return self._inner.force_flush(timeout_millis)


def batched(exporter: SpanExporter) -> SpanProcessor:
    """This will make what gathers spans and sends them in a thread of its own, so that nobody waits for it."""
    return BatchSpanProcessor(_Named(exporter))


def start(processor: SpanProcessor | None = None) -> Callable[[], None]:
    """This will write spans from now on, to `processor` or to where the environment says; the answer ends that."""
    spans = Spans(processor or batched(_exporter()))
    tracing.site.sampled = spans.sampled
    unsubscribe = listeners.subscribe(spans.heard, details=True)
    observers.plug(NAME, spans.step)

    def stop() -> None:
        tracing.site.sampled = None
        unsubscribe()
        observers.plug(NAME, None)
        spans.close()

    return stop


_OF_THE_LIBRARY = {"otlp": "otlp_proto_http"}


def _exporter() -> SpanExporter:
    """The exporter that OTEL_TRACES_EXPORTER names, as packages of OpenTelemetry have registered it."""
    name = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    wanted = _OF_THE_LIBRARY.get(name, name)
    found = list(entry_points(group="opentelemetry_traces_exporter", name=wanted))
    if not found:
        known = sorted({one.name for one in entry_points(group="opentelemetry_traces_exporter")})
        raise ImproperlyConfigured(f"OTEL_TRACES_EXPORTER is {name!r}; there are {', '.join(known) or 'none'}.")
    made: SpanExporter = found[0].load()()
    return made


def _resource() -> Resource:
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({} if named else {SERVICE_NAME: _SERVICE})
