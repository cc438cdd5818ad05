"""What services say over HTTP: messages, batches, leases; and what is quarantined."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from tests.api.callers import SERVICE_TASK, Caller, message
from workflows.runtime import quarantine


def test_a_message_is_applied_before_the_answer(start: Any, service: Caller):
    instance = start()

    said = service.post("events/", message(instance, output={"eta": 20}))

    assert said.json == {
        "outcome": "applied",
        "reason": None,
        "instance": {"id": instance["id"], "state": "COMPLETED", "business_status": None},
    }
    assert service.get(f"instances/{instance['id']}/").json["context"] == {"eta": 20}


def test_a_refusal_is_a_problem_with_the_instance(start: Any, service: Caller):
    instance = start()
    service.post("events/", message(instance))

    said = service.post("events/", message(instance, "TaskFailed"))

    assert (said.status, said.code) == (409, "instance_closed")
    assert said.json["outcome"] == "refused"
    assert said.json["reason"] == said.json["detail"]
    assert said.json["instance"]["state"] == "COMPLETED"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"event_name": "OvenExploded"}, 400, "unknown_event_name"),
        ({"event_name": None}, 400, "invalid_body"),
        ({"event_name": ["TaskCompleted"]}, 400, "invalid_body"),
        ({"attempt": "1"}, 400, "invalid_body"),
        ({"attempt": 2**70 // 2**8}, 400, "invalid_body"),
        ({"output": []}, 400, "invalid_body"),
        ({"business_ref_no": "nobody"}, 404, "unknown_instance"),
        ({"component_name": "nothing"}, 404, "unknown_template"),
        ({"task_name": "nothing"}, 404, "unknown_task"),
        ({"attempt": 9}, 409, "unknown_attempt"),
    ],
)
def test_what_cannot_be_applied(change: dict[str, Any], status: int, code: str, start: Any, service: Caller):
    said = service.post("events/", message(start()) | change)

    assert (said.status, said.code) == (status, code)
    assert ("outcome" in said.json) == (status == 409)


def test_a_batch_answers_each_entry_as_if_it_were_alone(start: Any, service: Caller):
    instance = start(SERVICE_TASK, {**SERVICE_TASK, "task_name": "second", "parent_task": ["charge"]})

    said = service.post(
        "events/batch/",
        {
            "events": [
                message(instance, task_name="second"),
                message(instance, event_name="Nonsense"),
                message(instance, event_id="e1"),
                "no message",
                message(instance, event_id="e1"),
                message(instance, task_name="second"),
                message(instance, component_name="nothing"),
                {"event_name": "StartWorkflow", "component_name": instance["component_name"], "business_ref_no": "NEW"},
            ]
        },
    )

    assert said.status == 200
    results = said.json["results"]
    assert [one["status"] for one in results] == [409, 400, 200, 400, 200, 200, 404, 200]
    assert [one.get("outcome") for one in results] == [
        "refused",
        None,
        "applied",
        None,
        "duplicate",
        "applied",
        None,
        "applied",
    ]
    assert [one.get("code") for one in results] == [
        "not_its_turn", "unknown_event_name", None, "invalid_body", None, None, "unknown_template", None,
    ]  # fmt: skip
    assert results[5]["instance"]["state"] == "COMPLETED"


def test_a_batch_is_one_transaction(start: Any, service: Caller, monkeypatch: pytest.MonkeyPatch):
    from workflows.runtime import handling

    sizes, handle = [], handling.handle
    monkeypatch.setattr("workflows.runtime.handling.handle", lambda *asked: sizes.append(len(asked)) or handle(*asked))

    service.post("events/batch/", {"events": [message(start()) for _ in range(5)]})

    assert sizes == [1, 1, 1, 1, 1, 5]  # five starts, then the batch


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/events": "required"}),
        ({"events": {}}, {"/events": "wrong_type"}),
        ({"events": [{}] * 1_001}, {"/events": "bad_value"}),
    ],
)
def test_a_batch_is_a_list_of_at_most_a_thousand(body: Any, pointers: Any, service: Caller):
    said = service.post("events/batch/", body)

    assert (said.status, said.code, said.pointers) == (400, "invalid_body", pointers)


def test_a_batch_may_be_empty(service: Caller):
    assert service.post("events/batch/", {"events": []}).json == {"results": []}


# --- Leases -------------------------------------------------------------------------------------------------------


@pytest.fixture
def queue(start: Any) -> str:
    name = f"q/{uuid.uuid4().hex[:8]}"
    start({**SERVICE_TASK, "task_queue": name, "colour": "red"}, context={"n": 7})
    return name


def test_work_is_leased_kept_and_leased_again(queue: str, service: Caller):
    taken = service.post(f"queues/{queue}/lease/", {"worker_id": "w1", "lease_seconds": 1}).json["tasks"]
    assert [(task["task_name"], task["attempt"], task["context"], task["colour"]) for task in taken] == [
        ("charge", 1, {"n": 7}, "red")
    ]
    lease = taken[0]["lease_id"]

    assert service.post(f"queues/{queue}/leases/{lease}/extend/", {"lease_seconds": 1}).json["lease_id"] == lease
    assert service.post(f"queues/{queue}/lease/", {"worker_id": "w2"}).json == {"tasks": []}
    time.sleep(1.1)
    again = service.post(f"queues/{queue}/lease/", {"worker_id": "w2"}).json["tasks"]

    assert [task["attempt"] for task in again] == [1]
    assert again[0]["lease_id"] != lease
    assert service.post(f"queues/{queue}/leases/{lease}/extend/").code == "lease_lost"
    done = {key: again[0][key] for key in ("business_ref_no", "component_name", "stage_name", "task_name")}
    done["event_name"] = "TaskCompleted"
    assert service.post("events/", done | {"lease_id": lease}).code == "lease_lost"
    assert service.post("events/", done | {"lease_id": again[0]["lease_id"]}).json["outcome"] == "applied"


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"/worker_id": "required"}), ({"worker_id": ""}, {"/worker_id": "bad_value"}), ({"worker_id": 1}, {"/worker_id": "wrong_type"}),
        ({"worker_id": "w", "max_tasks": 0}, {"/max_tasks": "bad_value"}), ({"worker_id": "w", "max_tasks": 101}, {"/max_tasks": "bad_value"}),
        ({"worker_id": "w", "lease_seconds": 0}, {"/lease_seconds": "bad_value"}), ({"worker_id": "w", "lease_seconds": 3601}, {"/lease_seconds": "bad_value"}),
        ({"worker_id": "w", "wait_seconds": 31}, {"/wait_seconds": "bad_value"}), ({"worker_id": "w", "wait_seconds": "1"}, {"/wait_seconds": "wrong_type"}),
    ],
)  # fmt: skip
def test_limits_of_leases(body: Any, pointers: Any, service: Caller):
    said = service.post("queues/q/lease/", body)

    assert (said.status, said.code, said.pointers) == (400, "invalid_body", pointers)


def test_a_worker_may_wait(service: Caller):
    started = time.monotonic()

    assert service.post("queues/nothing/lease/", {"worker_id": "w", "wait_seconds": 1}).json == {"tasks": []}

    assert 0.9 <= time.monotonic() - started < 5


@pytest.mark.parametrize(
    "path", ["queues/%00/lease/", "queues/%20q/lease/", "queues/q%0A/lease/", "queues/q/leases/x/extend/"]
)
def test_names_that_are_none(path: str, service: Caller):
    assert service.post(path, {"worker_id": "w"}).code == "not_found"


def test_a_lease_that_never_was_is_lost(service: Caller):
    assert service.post(f"queues/q/leases/{uuid.uuid4()}/extend/", {}).code == "lease_lost"


# --- Quarantine ---------------------------------------------------------------------------------------------------


def test_what_was_quarantined_is_handed_in_again(start: Any, service: Caller, operator: Caller):
    import json

    template = start()
    ref = f"late-{uuid.uuid4().hex[:6]}"
    body = json.dumps(message(template, business_ref_no=ref)).encode()
    held = quarantine.hold(
        body, source="workflow_manager", message_id="m1", code="unknown_instance", reason="no such instance"
    )
    path = f"quarantine/{held.pk}/"
    assert operator.get(path).json["state"] == "OPEN"
    assert [one["id"] for one in operator.get("quarantine/?code=unknown_instance").json["results"]] == [held.pk]

    early = operator.post(path + "resubmit/")
    assert (early.status, early.code) == (409, "wrong_state")

    service.post("instances/", {"component_name": template["component_name"], "business_ref_no": ref})
    done = operator.post(path + "resubmit/")
    assert (done.status, done.json["state"], done.json["resolved_by"]) == (200, "RESUBMITTED", "operator")
    assert operator.post(path + "resubmit/").code == "wrong_state"
    assert operator.get("quarantine/").json["results"] == []
    assert len(operator.get("quarantine/?state=RESUBMITTED").json["results"]) == 1


def test_what_was_quarantined_may_be_let_go(operator: Caller):
    held = quarantine.hold(b"{", source="workflow_manager", code="invalid_json", reason="broken")
    path = f"quarantine/{held.pk}/"

    assert operator.post(path + "discard/").pointers == {"/reason": "required"}
    done = operator.post(path + "discard/", {"reason": "a test"})

    assert (done.json["state"], done.json["resolution"]) == ("DISCARDED", "a test")
    assert operator.post(path + "discard/", {"reason": "a test"}).code == "wrong_state"
