"""The engine over HTTP: pausing, resuming, retrying all that failed, schedules."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.callers import HUMAN_TASK, Caller, message
from workflows.models import WorkflowInstance
from workflows.runtime import bulk_retry, moments, pausing

pytestmark = pytest.mark.both_databases

NIGHTLY = {"name": "nightly", "reference": "{name}-{date}", "cron": "30 2 * * *", "time_zone": "Europe/Berlin"}


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    pausing.known.forget()
    yield
    pausing.known.forget()


def test_a_pause_is_told_to_everybody(operator: Caller, assignee: Caller):
    assert operator.get("engine/").json == {
        "state": "RUNNING", "paused_at": None, "paused_by": None, "reason": None, "running_steps": 0, "retry": None,
    }  # fmt: skip

    said = operator.post("engine/pause/", {"reason": "The warehouse moves"})

    assert (said.status, said.json["state"], said.json["paused_by"]) == (200, "PAUSED", operator.user.username)
    seen = assignee.get("engine/").json
    assert (seen["state"], seen["reason"]) == ("PAUSED", "The warehouse moves")
    again = operator.post("engine/pause/", {"reason": "Another"})
    assert again.json == said.json
    assert operator.post("engine/resume/", {}).json["state"] == "RUNNING"
    assert operator.post("engine/resume/").json["state"] == "RUNNING"
    log = operator.get("engine/log/").json["results"]
    assert [one["action"] for one in log] == ["RESUMED", "PAUSED"]


def test_what_is_refused_meanwhile(publish: Any, start: Any, operator: Caller, service: Caller, assignee: Caller):
    instance = start(ref="R1")
    human = start(HUMAN_TASK, ref="R2")
    task = assignee.get("human-tasks/").json["results"][0]
    operator.post("engine/pause/", {"reason": "The warehouse moves"})
    where = f"instances/{instance['id']}/"

    refused = [
        service.post("instances/", {"component_name": instance["component_name"], "business_ref_no": "R9"}),
        service.post("events/", message(instance)),
        service.post("events/batch/", {"events": [message(instance)]}),
        service.post("queues/charge_queue/lease/", {"worker_id": "w"}),
        operator.post(f"{where}tasks/S/charge/retry/", {"reason": "r"}),
        operator.post(f"{where}rollback/", {"reason": "r"}),
        operator.post("engine/retry-failed/", {"reason": "r"}),
        assignee.post(f"human-tasks/{task['id']}/complete/", {"outcome": "approve", "data": {"amount": 3}}),
    ]

    for one in refused:
        assert (one.status, one.code, one.headers["retry-after"]) == (503, "engine_paused", "5"), one
    assert service.get(where).json["last_sequence"] == instance["last_sequence"]
    assert assignee.post(f"human-tasks/{task['id']}/comment/", {"comment": "Later"}).status == 200
    assert operator.post(f"{where}cancel/", {"reason": "Not needed"}).json["state"] == "CANCELLED"
    assert service.get(f"instances/{human['id']}/").json["state"] == "RUNNING"

    operator.post("engine/resume/")
    assert assignee.post(
        f"human-tasks/{task['id']}/complete/", {"outcome": "approve", "data": {"amount": 3}}
    ).status == 200  # fmt: skip


def test_a_refused_start_may_be_sent_again_under_its_key(publish: Any, operator: Caller, service: Caller):
    body = {"component_name": publish()["component_name"], "business_ref_no": "R"}
    operator.post("engine/pause/", {"reason": "r"})
    assert service.post("instances/", body, Idempotency_Key="k").status == 503
    operator.post("engine/resume/")

    assert service.post("instances/", body, Idempotency_Key="k").status == 201


@pytest.mark.parametrize("who", ["auditor", "service", "assignee"])
def test_operators_alone_pause(who: str, request: Any, operator: Caller):
    caller = request.getfixturevalue(who)

    for path in ("engine/pause/", "engine/resume/", "engine/retry-failed/"):
        assert caller.post(path, {"reason": "r"}).status == 403
    assert operator.post("engine/pause/", {}).pointers == {"/reason": "required"}
    assert operator.get("engine/").json["state"] == "RUNNING"


def test_all_that_failed_is_retried(start: Any, service: Caller, operator: Caller):
    instances = [start(ref=f"R{n}") for n in range(3)]
    for one in instances:
        service.post("events/", message(one, "TaskFailed", error={"code": "no", "message": "No"}))
    component = instances[0]["component_name"]

    said = operator.post("engine/retry-failed/", {"reason": "The bank is back", "component_name": component})
    busy = operator.post("engine/retry-failed/", {"reason": "Again"})

    assert (said.status, said.json["count"], said.json["done"], said.json["left"]) == (202, 1, 0, False)
    assert (busy.status, busy.code, busy.json["retry"]["id"]) == (409, "busy", said.json["id"])
    while bulk_retry.go_on(moments.now()):
        pass
    retry = operator.get("engine/").json["retry"]
    assert (retry["done"], retry["retried"], retry["refused"]) == (1, 1, 0)
    assert operator.post("engine/retry-failed/", {"reason": "All", "q": "r"}).json["count"] == 2
    while bulk_retry.go_on(moments.now()):
        pass
    assert not WorkflowInstance.objects.filter(state="FAILED").exists()


def test_a_schedule_is_added_changed_and_switched(publish: Any, operator: Caller, auditor: Caller):
    body = {**NIGHTLY, "component_name": publish()["component_name"]}

    added = operator.post("schedules/", body)

    assert added.status == 201, added
    where = added.headers["location"]
    assert len(added.json["next_runs"]) == 5
    assert (added.json["enabled"], added.json["misfire"], added.json["last_run"]) == (True, "skip", None)
    assert auditor.get(where).json == added.json
    assert auditor.get("schedules/?enabled=true").json["results"] == [added.json]
    tag = added.headers["etag"]
    change = {key: value for key, value in body.items() if key != "name"} | {"misfire": "once"}
    changed = operator.post(where, change, If_Match=tag)
    assert (changed.status, changed.json["misfire"]) == (200, "once")
    assert operator.post(where, change, If_Match=tag).status == 412
    off = operator.post(f"{where}disable/", {"reason": "Holidays"})
    assert (off.json["enabled"], off.json["next_runs"]) == (False, [])
    assert operator.post(f"{where}enable/").json["enabled"] is True
    log = auditor.get("engine/log/").json["results"]
    assert [(one["action"], one["subject"]) for one in reversed(log)] == [
        ("SCHEDULE_ADDED", "nightly"), ("SCHEDULE_CHANGED", "nightly"), ("SCHEDULE_DISABLED", "nightly"),
        ("SCHEDULE_ENABLED", "nightly"),
    ]  # fmt: skip


def test_a_schedule_that_cannot_be_kept_says_why(operator: Caller, auditor: Caller, service: Caller):
    body = {**NIGHTLY, "component_name": "C"}

    assert operator.post("schedules/", {**body, "cron": "x"}).pointers == {"/cron": "bad_value"}
    assert operator.post("schedules/", {**body, "interval_seconds": 60}).pointers == {"/cron": "required"}
    assert operator.post("schedules/", {**body, "reference": "same"}).pointers == {"/reference": "bad_value"}
    assert operator.post("schedules/", {**body, "name": "x" * 101}).pointers == {"/name": "bad_value"}
    assert operator.post("schedules/", {}).status == 400
    assert operator.post("schedules/", body).status == 201
    assert operator.post("schedules/", body).pointers == {"/name": "bad_value"}
    assert auditor.post("schedules/", body).status == 403
    assert service.get("schedules/").status == 403
    assert operator.get("schedules/999/").status == 404
