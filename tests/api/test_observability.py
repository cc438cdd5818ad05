"""What monitors ask."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.utils import timezone

from tests.api.callers import SERVICE_TASK, Caller, message
from workflows.messaging.condition import BLOCKED, Condition
from workflows.observability import gauges, health, metrics
from workflows.runtime import line, pausing
from workflows.runtime.workers import Report


def test_the_process_lives_whatever_the_database_does(anonymous: Caller, django_assert_num_queries: Any):
    with django_assert_num_queries(0):
        said = anonymous.get("/healthz")

    assert (said.status, said.json) == (200, {"status": "ok"})


def test_ready(anonymous: Caller):
    said = anonymous.get("/readyz")

    assert said.status == 200
    assert {name: check["ok"] for name, check in said.json["checks"].items()} == {
        "database": True,
        "outbox": True,
        "broker": True,
    }


def test_without_its_broker_it_serves_all_the_same_and_says_so(anonymous: Caller, settings: Any):
    settings.BROKER_URL = "amqp://guest:secret@127.0.0.1:1/"

    said = anonymous.get("/readyz")

    assert (said.status, said.json["status"]) == (200, "degraded")
    assert said.json["checks"]["broker"]["ok"] is False
    assert "secret" not in said.text


def test_a_broker_that_takes_nothing_is_shown(anonymous: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.BROKER_URL = "amqp://guest:secret@127.0.0.1:1/"
    monkeypatch.setattr(health.condition, "read", lambda: Condition(BLOCKED, "low on disk", 0.0))

    said = anonymous.get("/readyz")

    assert said.json["status"] == "degraded"
    assert said.json["checks"]["broker"] == {"ok": False, "kind": "amqp", "condition": "blocked"}


def report(name: str, *, alive: bool = True, failures: int = 0, busy_seconds: float = 0.0) -> Report:
    return Report(name=name, alive=alive, failures=failures, busy_seconds=busy_seconds)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("job", "status", "word"),
    [
        (report("clock"), 200, "ready"),
        (report("clock", failures=2), 200, "ready"),
        (report("clock", failures=3), 200, "degraded"),
        (report("clock", busy_seconds=1000), 200, "degraded"),
        (report("clock", alive=False), 503, "not ready"),
    ],
)
def test_a_worker_says_how_its_jobs_are(job: Report, status: int, word: str):
    said = health.readiness([report("relay"), job])

    assert (said[0], said[1]["status"]) == (status, word)
    assert said[1]["checks"]["jobs"]["of"]["clock"]["alive"] is job.alive


def test_not_ready_without_its_database(anonymous: Caller, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "_database", lambda: 1 / 0)

    assert anonymous.get("/readyz").status == 503


def test_metrics_are_for_those_in_charge(callers: dict[str, Caller]):
    assert callers["anonymous"].get("/metrics").status == 401
    assert {role: callers[role].get("/metrics").status for role in callers if role != "anonymous"} == {
        "api_client": 403, "operator": 200, "auditor": 200, "assignee": 403, "other": 403, "admin": 200,
    }  # fmt: skip


def test_in_a_demo_anybody_may_scrape(anonymous: Caller, settings: Any):
    settings.DEMO = True

    assert anonymous.get("/metrics").status == 200


def value(text: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} ([0-9.e+]+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.django_db(transaction=True)
def test_what_happens_is_counted(start: Any, service: Caller, operator: Caller):
    before = operator.get("/metrics").text

    service.post("events/", message(start()))

    after = operator.get("/metrics").text
    for series in (
        "orchestrator_instances_started_total", 'orchestrator_events_total{event="TaskCompleted"}',
        'orchestrator_instance_changes_total{state="COMPLETED"}',
        'orchestrator_http_requests_total{method="POST",route="events",status="200"}',
    ):  # fmt: skip
        assert value(after, series) == value(before, series) + 1, series


def test_the_database_is_measured_and_not_counted_out(start: Any, operator: Caller, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metrics, "_FRESH_SECONDS", -1.0)
    for _ in range(3):
        start()

    text = operator.get("/metrics").text
    assert value(text, 'orchestrator_instances{state="RUNNING"}') == 3
    assert value(text, "orchestrator_outbox_waiting") == 3
    monkeypatch.setattr("workflows.conf.Settings.COUNT_CAP", 2)
    assert value(operator.get("/metrics").text, "orchestrator_outbox_waiting") == 2


def test_what_runs_is_told_apart_by_template_and_stage(
    start: Any, service: Caller, operator: Caller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(metrics, "_FRESH_SECONDS", -1.0)
    one, two = start(SERVICE_TASK), start({**SERVICE_TASK, "task_name": "b"})
    for _ in range(2):
        again = {"component_name": one["component_name"], "business_ref_no": f"REF-{uuid.uuid4().hex[:8]}"}
        assert service.post("instances/", again).status == 201

    text = operator.get("/metrics").text
    by = 'component="{component_name}"{more},workflow="{workflow_name}"'
    for instance, count in ((one, 3), (two, 1)):
        template, stage = by.format(**instance, more=""), by.format(**instance, more=',stage="S"')
        assert value(text, f"orchestrator_workflows_running{{{template}}}") == count
        assert value(text, f"orchestrator_stage_workflows_running{{{stage}}}") == count
    monkeypatch.setattr(gauges, "MOST_NAMES", 1)
    text = operator.get("/metrics").text
    assert value(text, 'orchestrator_workflows_running{component="(other)",workflow="(other)"}') == 1


def test_the_lines_of_limited_queues_are_measured(start: Any, operator: Caller, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metrics, "_FRESH_SECONDS", -1.0)
    queue = f"q-{uuid.uuid4().hex[:8]}"
    operator.put(f"queues/{queue}/limits/", {"max_in_flight": 1, "max_per_second": 2.5})
    for _ in range(3):
        start({**SERVICE_TASK, "task_queue": queue})
    line.let_out(timezone.now())

    text = operator.get("/metrics").text
    said = {
        name: value(text, f'orchestrator_queue_{name}{{queue="{queue}"}}')
        for name in ("line", "in_flight", "max_in_flight", "max_per_second")
    }
    assert said == {"line": 2, "in_flight": 1, "max_in_flight": 1, "max_per_second": 2.5}
    assert 0 < value(text, f'orchestrator_queue_line_oldest_seconds{{queue="{queue}"}}') < 60
    assert value(text, "orchestrator_outbox_waiting") == 1
    pausing.known.limited = frozenset()


def test_the_number_of_series_does_not_grow_with_the_data(
    start: Any, operator: Caller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(metrics, "_FRESH_SECONDS", -1.0)
    monkeypatch.setattr(gauges, "MOST_NAMES", 2)
    for _ in range(3):
        start()

    def series() -> int:
        return len(re.findall(r"^orchestrator_", operator.get("/metrics").text, re.MULTILINE))

    before = series()
    for _ in range(5):
        start()

    assert series() == before
