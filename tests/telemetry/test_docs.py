"""What docs/telemetry.md shows runs as it is written there, and says what is so."""

import re

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest

from tests.tree import ROOT
from workflows.client.testing import start_task
from workflows.conf import USUALLY_MASKED
from workflows.observability import metrics

TEXT = (ROOT / "docs" / "telemetry.md").read_text()


@pytest.fixture
def written(monkeypatch):
    """The spans that the page's service writes."""
    from opentelemetry import trace

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def test_a_service_writes_its_span_below_the_tasks(written):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    page = {}
    exec(compile(code, "docs/telemetry.md", "exec"), page)  # noqa: S102
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    answer = page["services"].handle(start_task(traceparent=parent), queue="make_food_queue")

    (span,) = written.get_finished_spans()
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" in parent
    assert (answer["output"], answer["traceparent"]) == ({"oven": 2}, parent)


def test_the_metrics_are_those_that_are_served():
    named = set(re.findall(r"`(orchestrator_[a-z_]+)", TEXT))
    served = " ".join(
        generate_latest(one).decode() for one in (metrics.steps, metrics.step_seconds, metrics.observer_failures)
    )

    assert named
    assert {name for name in named if f"# TYPE {name} " not in served} == set()


def test_the_keys_that_are_masked_are_all_named():
    said = set(re.findall(r"`([a-z_()]+)`", TEXT.partition("## Secrets")[2]))

    assert {key for key in USUALLY_MASKED if key not in {"apikey", "credential", "credentials"}} <= said
