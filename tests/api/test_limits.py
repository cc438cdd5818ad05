"""The limits of a queue over HTTP: set, seen, taken away, and kept who did it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.utils import timezone

from tests.api.callers import SERVICE_TASK, Caller
from workflows.messaging.adapters.database import DatabaseBus
from workflows.messaging.relay import relay_once
from workflows.models import ControlRecord
from workflows.runtime import limits, line, pausing

pytestmark = pytest.mark.both_databases


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(limits, "_wait", lambda longer: pausing.known.now())
    yield
    pausing.known.forget()
    pausing.known.limited = frozenset()


@pytest.fixture
def queue() -> str:
    """A queue whose name holds a slash."""
    return f"q/{uuid.uuid4().hex[:8]}"


def let_out() -> None:
    line.let_out(timezone.now())
    relay_once(DatabaseBus(), timezone.now())


def test_a_limited_queue_gives_out_so_much_and_says_what_waits(
    queue: str, start: Callable[..., Any], operator: Caller, service: Caller
):
    said = operator.put(f"queues/{queue}/limits/", {"max_in_flight": 2, "reason": "The printer is slow"})
    assert (said.status, said.json["max_in_flight"], said.json["max_per_second"]) == (200, 2, None)
    for _ in range(5):
        start({**SERVICE_TASK, "task_queue": queue})
    let_out()

    leased = service.post(f"queues/{queue}/lease/", {"worker_id": "w", "max_tasks": 10}).json["tasks"]
    seen = operator.get(f"queues/{queue}/").json

    assert len(leased) == 2
    assert (seen["limits"]["in_flight"], seen["limits"]["line"], seen["limits"]["line_is_least"]) == (2, 3, False)
    assert seen["limits"]["oldest_in_line_at"] is not None
    assert seen["limits"]["changed_by"] == operator.user.username  # type: ignore[union-attr]
    assert operator.get(f"queues/{queue}/limits/").json == seen["limits"]
    listed = operator.get(f"queues/?q={queue}").json["results"]
    assert [one["limits"]["line"] for one in listed] == [3]
    held = operator.get(f"outbox/?queue={queue}&reason=held").json["results"]
    assert [one["reason"] for one in held] == ["held"] * 3
    assert operator.get(f"outbox/?queue={queue}").json["results"] == []


def test_a_queue_without_work_is_listed_when_it_has_limits(queue: str, operator: Caller):
    operator.put(f"queues/{queue}/limits/", {"max_per_second": 0.5})

    said = operator.get(f"queues/{queue}/")

    assert (said.status, said.json["limits"]["max_per_second"], said.json["line_takes_seconds"]) == (200, 0.5, None)


def test_the_line_says_how_long_it_will_take(queue: str, start: Callable[..., Any], operator: Caller):
    operator.put(f"queues/{queue}/limits/", {"max_per_second": 0.5})
    for _ in range(3):
        start({**SERVICE_TASK, "task_queue": queue})

    assert operator.get(f"queues/{queue}/").json["line_takes_seconds"] == 6


def test_limits_are_taken_away_and_the_line_is_given_out(
    queue: str, start: Callable[..., Any], operator: Caller, service: Caller
):
    operator.put(f"queues/{queue}/limits/", {"max_in_flight": 1})
    for _ in range(3):
        start({**SERVICE_TASK, "task_queue": queue})

    said = operator.delete(f"queues/{queue}/limits/?reason=No+longer+slow")
    let_out()

    assert (said.status, said.text) == (204, "")
    assert operator.get(f"queues/{queue}/").json["limits"] is None
    assert len(service.post(f"queues/{queue}/lease/", {"worker_id": "w", "max_tasks": 10}).json["tasks"]) == 3
    assert operator.delete(f"queues/{queue}/limits/").status == 404
    log = operator.get("engine/log/").json["results"][0]
    assert (log["action"], log["subject"], log["reason"]) == ("QUEUE_UNLIMITED", queue, "No longer slow")
    assert log["data"] == {"from": {"max_in_flight": 1, "max_per_second": None}, "to": None}


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/max_in_flight", "required"),
        ({"max_in_flight": 0}, "/max_in_flight", "bad_value"),
        ({"max_in_flight": 1.5}, "/max_in_flight", "wrong_type"),
        ({"max_in_flight": True}, "/max_in_flight", "wrong_type"),
        ({"max_per_second": "fast"}, "/max_per_second", "wrong_type"),
        ({"max_per_second": -1}, "/max_per_second", "bad_value"),
        ({"max_per_second": 1e300}, "/max_per_second", "bad_value"),
    ],
)
def test_limits_that_make_no_sense_are_refused_with_a_pointer(
    queue: str, operator: Caller, body: Any, pointer: str, code: str
):
    said = operator.put(f"queues/{queue}/limits/", body)

    assert said.status == 400
    assert [(one["pointer"], one["code"]) for one in said.json["errors"]] == [(pointer, code)]
    assert not ControlRecord.objects.exists()


def test_queues_inside_the_site_take_no_limits(operator: Caller):
    assert operator.put("queues/@steps/limits/", {"max_in_flight": 1}).status == 400
