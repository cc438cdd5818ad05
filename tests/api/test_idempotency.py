"""Idempotency-Key: once carried out, twice answered."""

from __future__ import annotations

import datetime as dt
import threading
import time
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from tests.api.callers import Caller
from workflows.api import idempotency
from workflows.models import IdempotencyRecord, WorkflowInstance


@pytest.fixture
def body(publish: Any) -> dict[str, Any]:
    return {"component_name": publish()["component_name"], "business_ref_no": "R", "context": {"a": 1}}


def test_the_same_request_gets_the_same_answer(service: Caller, body: Any):
    first = service.post("instances/", body, Idempotency_Key="k1")
    again = service.post("instances/", body, Idempotency_Key="k1")

    assert (first.status, again.status) == (201, 201)
    assert again.text == first.text
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["location"] == first.headers["location"]
    assert service.post("instances/", body, Idempotency_Key="k2").status == 200


def test_anything_else_under_the_key_is_refused(service: Caller, body: Any):
    service.post("instances/", body, Idempotency_Key="k1")

    other_body = service.post("instances/", body | {"context": {}}, Idempotency_Key="k1")
    other_path = service.post("events/", body, Idempotency_Key="k1")

    assert (other_body.status, other_body.code) == (422, "idempotency_key_reused")
    assert (other_path.status, other_path.code) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("instances/", {}, 400), ("events/", {"event_name": "No"}, 400), ("templates/", {}, 403), ("nonsense/", {}, 404),
     ("instances/00000000-0000-4000-8000-000000000000/cancel/", {}, 404), ("human-tasks/x/claim/", {}, 403)],
)  # fmt: skip
def test_refusals_are_answers_too(path: str, body: Any, status: int, service: Caller):
    first = service.post(path, body, Idempotency_Key="k")
    again = service.post(path, body, Idempotency_Key="k")

    assert (first.status, again.status) == (status, status)
    if path != "nonsense/":
        assert again.text == first.text
        assert again.kind == "application/problem+json"
        assert again.headers["idempotent-replayed"] == "true"


def test_a_refusal_by_the_state_is_recorded_once(service: Caller, operator: Caller, start: Any):
    instance = start()
    path = f"instances/{instance['id']}/tasks/S/charge/replay/"

    for _ in range(3):
        assert operator.post(path, {"reason": "x"}, Idempotency_Key="k").status == 409

    events = [event["event"] for event in operator.get(f"instances/{instance['id']}/history/").json["results"]]
    assert events.count("InputRefused") == 1


def test_a_key_belongs_to_its_caller(service: Caller, operator: Caller, body: Any):
    assert service.post("instances/", body, Idempotency_Key="k").status == 201

    said = operator.post("instances/", body, Idempotency_Key="k")

    assert said.status == 200
    assert "idempotent-replayed" not in said.headers


def test_our_own_faults_are_not_kept(service: Caller, body: Any, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr("workflows.runtime.handling.handle", lambda *asked: 1 / 0)
        assert service.post("instances/", body, Idempotency_Key="k").status == 500

    assert service.post("instances/", body, Idempotency_Key="k").status == 201


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb", "é"])
def test_a_key_is_short_and_printable(key: str, service: Caller, body: Any):
    said = service.post("instances/", body, Idempotency_Key=key)

    assert (said.status, said.code) == (400, "invalid_parameter")


def test_a_key_lives_for_a_day(service: Caller, body: Any):
    service.post("instances/", body, Idempotency_Key="k")
    IdempotencyRecord.objects.update(created_at=timezone.now() - dt.timedelta(hours=24, seconds=1))

    said = service.post("instances/", body | {"context": {}}, Idempotency_Key="k")

    assert said.status == 200
    assert "idempotent-replayed" not in said.headers


def test_what_is_too_old_is_swept_away(service: Caller, body: Any):
    service.post("instances/", body, Idempotency_Key="k")
    IdempotencyRecord.objects.update(created_at=timezone.now() - dt.timedelta(hours=25))

    assert idempotency.sweep(timezone.now()) == 1
    assert not IdempotencyRecord.objects.exists()


def test_a_process_that_died_does_not_hold_the_key_for_ever(
    service: Caller, body: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(idempotency, "_PATIENCE", 0.1)
    service.post("instances/", body, Idempotency_Key="k")
    IdempotencyRecord.objects.update(status=None, created_at=timezone.now() - dt.timedelta(seconds=5))

    said = service.post("instances/", body, Idempotency_Key="k")
    assert (said.status, said.code) == (409, "request_in_progress")
    assert said.headers["retry-after"] == "1"

    IdempotencyRecord.objects.update(created_at=timezone.now() - dt.timedelta(seconds=121))
    assert service.post("instances/", body, Idempotency_Key="k").status == 200


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_is_carried_out(service: Caller, body: Any, monkeypatch: pytest.MonkeyPatch):
    from workflows.runtime import handling

    calls = []
    handle = handling.handle

    def slow(*asked: Any) -> Any:
        calls.append(asked)
        time.sleep(0.3)
        return handle(*asked)

    monkeypatch.setattr("workflows.runtime.handling.handle", slow)
    said = []

    def send() -> None:
        try:
            said.append(Caller(service.token).post("instances/", body, Idempotency_Key="k"))
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(calls) == 1
    assert WorkflowInstance.objects.count() == 1
    assert [one.status for one in said] == [201] * 6
    assert sum("idempotent-replayed" in one.headers for one in said) == 5
    assert len({one.text for one in said}) == 1
