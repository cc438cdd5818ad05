"""Spans say what was committed: one trace for an instance, whoever goes on with it, and however much later."""

import datetime as dt

import pytest
from django.db import transaction
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from tests.builders import (
    ROLL_BACK,
    completed,
    decided,
    failed,
    human,
    not_undone,
    operator_retries,
    retry,
    service,
    undo,
    undone,
    workflow,
)  # fmt: skip
from tests.runtime.conftest import door
from tests.steps import flows
from workflows import tracecontext
from workflows.models import LoggedEvent, OutboxMessage, WorkflowInstance
from workflows.observability import metrics, telemetry
from workflows.runtime.loading import snapshots
from workflows.steps import begin, observers
from workflows.steps import workflow as flow
from workflows.steps.runner import StepRunner
from workflows.tracecontext import TraceContext

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]
__all__ = ["door"]

CALLER = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True, "rojo=1")
OTHER = TraceContext("1" * 32, "2" * 16)


class Written:
    """The spans that were written, as tests ask for them."""

    def __init__(self, exporter):
        self._exporter = exporter

    def all(self):
        return list(self._exporter.get_finished_spans())

    def names(self):
        return [span.name for span in self.all()]

    def one(self, name, **about):
        (found,) = [span for span in self.all() if span.name == name and about.items() <= facts(span).items()]
        return found


def facts(span):
    return {key.removeprefix("orchestrator."): value for key, value in span.attributes.items()}


def own(span):
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def parent(span):
    return (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") if span.parent else None


def told(task, attempt=1, event="StartTask"):
    """Whose child the service's span is, says the message."""
    row = OutboxMessage.objects.get(task_name=task, attempt=attempt, event_name=event)
    found = tracecontext.from_text(row.trace)
    return found.trace_id, found.span_id


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    stop = telemetry.start(SimpleSpanProcessor(exporter))
    yield Written(exporter)
    stop()


def test_one_trace_from_the_caller_through_each_attempt_to_the_end(door, spans):
    site = door(workflow(service("a", **retry(2, 60)), service("b", "a")))
    site.start(trace=CALLER)
    site.later(10)
    site.ask(failed("a"))
    site.later(60)
    snapshots.forget()
    site.ask(completed("a"))
    site.later(3 * 86_400)
    site.ask(completed("b"))

    assert spans.names() == ["start Workflow", "task a", "task a", "task b", "workflow Workflow"]
    begun = spans.one("start Workflow")
    assert parent(begun) == (CALLER.trace_id, CALLER.span_id)
    assert {own(span)[0] for span in spans.all()} == {CALLER.trace_id}
    assert [parent(span) for span in spans.all()[1:]] == [own(begun)] * 4
    assert own(spans.one("task a", attempt=1)) == told("a", 1)
    assert own(spans.one("task a", attempt=2)) == told("a", 2)
    assert own(spans.one("task b")) == told("b")
    assert len({own(span)[1] for span in spans.all()}) == 5
    assert spans.one("task b").context.trace_state.to_header() == "rojo=1"


def test_a_span_lasts_from_the_scheduling_to_the_end_of_the_attempt(door, spans):
    site = door(workflow(human("approve"), service("a", "approve")))
    site.start()
    began = site.at
    site.later(5 * 86_400)
    site.ask(decided("approve", by="fred", groups=frozenset({"finance"})))

    wait = spans.one("task approve")
    assert (wait.end_time - wait.start_time) == 5 * 86_400 * 10**9
    assert wait.start_time == int(began.timestamp()) * 10**9
    assert facts(wait)["task_type"] == "HUMAN"
    assert "fred" not in str(wait.attributes)
    assert (wait.kind, spans.one("start Workflow").kind) == (SpanKind.INTERNAL, SpanKind.CONSUMER)


def test_what_began_without_a_caller_has_a_trace_of_its_own_that_any_process_finds(door, spans):
    site = door(workflow(service("a"), service("b", "a")))
    site.start()
    site.start("OTHER")
    snapshots.forget()
    site.ask(completed("a"))

    begun, other = spans.all()[:2]
    assert parent(begun) is None
    assert own(begun)[0] != own(other)[0]
    assert parent(spans.one("task a")) == own(begun)
    assert OutboxMessage.objects.get(task_name="b").trace.startswith(f"00-{own(begun)[0]}-")
    assert "trace" not in LoggedEvent.objects.filter(event="WorkflowStarted").first().data


def test_a_failure_a_rollback_and_its_attempts_have_spans_of_their_own(door, spans):
    site = door(workflow(service("a", **undo(retry={"max_attempts": 2})), service("b", "a")))
    site.start(trace=CALLER)
    site.ask(completed("a"))
    site.ask(failed("b", code="no_money"))
    site.ask(operator_retries("b"))
    site.ask(ROLL_BACK)
    site.ask(not_undone("a"))
    site.later(5)
    site.ask(undone("a"))

    told_of = [(span.name, facts(span).get("attempt"), facts(span).get("outcome")) for span in spans.all()[1:-1]]
    assert told_of == [
        ("task a", 1, "completed"), ("task b", 1, "failed"), ("task b", 2, "cancelled"),
        ("undo a", 1, "failed"), ("undo a", 2, "completed"),
    ]  # fmt: skip
    broken = spans.one("task b", attempt=1)
    assert (broken.status.status_code.name, broken.status.description) == ("ERROR", "no_money")
    assert broken.events[0].attributes["exception.type"] == "no_money"
    assert own(spans.one("undo a", attempt=2)) == told("a", 2, "CompensateTask")
    assert facts(spans.one("undo a", attempt=1))["direction"] == "down"
    assert facts(spans.one("workflow Workflow"))["state"] == "ROLLED_BACK"


def test_who_acts_in_another_trace_finds_the_instance_by_a_link(door, spans):
    site = door(workflow(service("a"), service("b", "a")))
    site.start(trace=CALLER)
    site.ask(completed("a"), trace=OTHER)

    act = spans.one("CompleteTask")
    assert parent(act) == (OTHER.trace_id, OTHER.span_id)
    (link,) = act.links
    assert f"{link.context.span_id:016x}" == own(spans.one("start Workflow"))[1]
    assert told("b")[0] == CALLER.trace_id


def test_a_nudge_supersedes_an_attempt(door, spans):
    site = door(workflow(service("a")))
    site.start()
    site.ask(operator_retries("a"))

    assert facts(spans.one("task a", attempt=1))["outcome"] == "superseded"


def test_what_is_not_sampled_stays_so_and_says_so(door, spans):
    site = door(workflow(service("a")))
    site.start(trace=TraceContext(CALLER.trace_id, CALLER.span_id, sampled=False))
    site.ask(completed("a"))

    assert spans.all() == []
    assert OutboxMessage.objects.get().trace.endswith("-00")


def started_and_taken_back(site):
    with transaction.atomic():
        site.start()
        raise ZeroDivisionError


def test_what_is_rolled_back_has_no_spans(door, spans):
    site = door(workflow(service("a")))
    with pytest.raises(ZeroDivisionError):
        started_and_taken_back(site)

    assert spans.all() == []


# --- Steps --------------------------------------------------------------------------------------------------------


@flow("Traced", component="FLOWS", on_failure="rollback")
def traced():
    return begin >> flows.reserve >> flows.charge


@pytest.fixture
def _steps(settings):
    settings.STEP_OBSERVERS = ["prometheus", "opentelemetry"]
    flows.calls.clear()
    flows.broken.clear()
    yield
    flows.broken.clear()


def run(site):
    runner = StepRunner(now=lambda: site.at)
    while (before := LoggedEvent.objects.count()) is not None:
        runner.run_due()
        if LoggedEvent.objects.count() == before:
            return


@pytest.mark.usefixtures("_steps")
def test_each_run_of_a_step_is_a_span_below_its_attempt_up_and_down(door, spans):
    flows.broken.add("charge")
    site = door(traced.template, component="FLOWS")
    site.start(trace=CALLER, context={"amount": 3})
    run(site)

    runs = [span for span in spans.all() if span.name.startswith("step ")]
    assert [(facts(span)["step"].rpartition(".")[2], facts(span)["outcome"], facts(span)["direction"]) for span in runs] == [
        ("reserve", "done", "up"), ("charge", "failed", "up"), ("release", "done", "down"),
    ]  # fmt: skip
    assert parent(runs[0]) == own(spans.one("task reserve_stock"))
    assert parent(runs[1]) == own(spans.one("task charge"))
    assert parent(runs[2]) == own(spans.one("undo reserve_stock"))
    assert (runs[1].status.description, runs[1].events[0].attributes["exception.message"]) == (
        "LookupError", "charge is broken",
    )  # fmt: skip
    assert WorkflowInstance.objects.get().state == "ROLLED_BACK"


@pytest.mark.usefixtures("_steps")
def test_prometheus_counts_steps_by_name_direction_and_outcome(door):
    flows.broken.add("charge")

    def count(step, direction, outcome):
        labels = {"component": "FLOWS", "step": f"tests.steps.flows.{step}", "direction": direction, "outcome": outcome}
        return metrics.registry.get_sample_value("orchestrator_steps_total", labels) or 0

    wanted = [("reserve", "up", "done"), ("charge", "up", "failed"), ("release", "down", "done")]
    before = [count(*one) for one in wanted]
    site = door(traced.template, component="FLOWS")
    site.start(context={"amount": 3})
    run(site)

    assert [count(*one) for one in wanted] == [one + 1 for one in before]
    where = {"component": "FLOWS", "step": "tests.steps.flows.reserve", "direction": "up"}
    assert metrics.registry.get_sample_value("orchestrator_step_seconds_count", where) >= 1


# --- When it breaks -----------------------------------------------------------------------------------------------


class Broken(SpanExporter):
    def export(self, spans):
        raise OSError("the collector is away")

    def shutdown(self):
        pass


def failures(name):
    return metrics.registry.get_sample_value("orchestrator_observer_failures_total", {"observer": name}) or 0


@pytest.mark.usefixtures("_steps")
def test_a_broken_exporter_is_named_and_costs_nothing(door, caplog):
    before = failures("opentelemetry")
    processor = telemetry.batched(Broken())
    stop = telemetry.start(processor)
    try:
        site = door(traced.template, component="FLOWS")
        site.start(trace=CALLER, context={"amount": 3})
        run(site)
        processor.force_flush()
    finally:
        stop()

    assert WorkflowInstance.objects.get().state == "COMPLETED"
    assert "observer opentelemetry" in caplog.text
    assert failures("opentelemetry") > before


def test_a_listener_that_fails_is_counted_under_its_name():
    before = failures("tests.telemetry.broken")

    @observers.listener("tests.telemetry.broken")
    def broken(seen):
        raise LookupError

    observers.ask(observers.chosen(["tests.telemetry.broken"]), observers.Seen(task=None, step="x"))

    assert failures("tests.telemetry.broken") == before + 1


def test_the_time_of_a_span_is_exact():
    assert telemetry._ns(dt.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC)) % 1_000_000 == 1_000
