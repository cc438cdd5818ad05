"""Starting, acting, deciding: what the API makes of the engine's answers."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.api.callers import HUMAN_TASK, SERVICE_TASK, Caller, message
from workflows.models import HumanTask


def test_a_start_is_answered_with_the_instance(publish: Any, service: Caller):
    component = publish()["component_name"]
    body = {"component_name": component, "business_ref_no": "R", "context": {"a": [1, None]}}

    said = service.post("instances/", body)

    assert said.status == 201
    assert said.headers["location"] == f"/api/v1/instances/{said.json['id']}/"
    assert {
        "id", "business_ref_no", "component_name", "workflow_name", "version", "state", "business_status", "context",
        "created_at", "updated_at", "finished_at", "last_sequence", "stages",
    } <= set(said.json)  # fmt: skip
    assert said.json["context"] == {"a": [1, None]}
    assert said.json["stages"][0]["tasks"][0]["state"] == "SCHEDULED"


def test_a_second_start_gives_the_first_or_a_conflict(publish: Any, service: Caller):
    component = publish()["component_name"]
    body = {"component_name": component, "business_ref_no": "R"}
    first = service.post("instances/", body).json

    again = service.post("instances/", body | {"context": {"other": 1}, "version": 99})
    refused = service.post("instances/", body | {"on_conflict": "fail"})

    assert (again.status, again.json) == (200, first)
    assert (refused.status, refused.code) == (409, "duplicate_instance")
    assert refused.json["instance"]["id"] == first["id"]
    assert service.get(f"instances/{first['id']}/").json["last_sequence"] == first["last_sequence"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [({"component_name": "nothing"}, 404, "unknown_template"), ({"version": 9}, 404, "unknown_template"),
     ({"workflow_name": "nothing"}, 404, "unknown_template"), ({"context": {"amount": "x"}}, 400, "invalid_body")],
)  # fmt: skip
def test_starts_that_go_nowhere(body: Any, status: int, code: str, publish: Any, service: Caller):
    schema = {"type": "object", "properties": {"amount": {"type": "number"}}}
    component = publish(context_schema=schema)["component_name"]

    said = service.post("instances/", {"component_name": component, "business_ref_no": "R"} | body)

    assert (said.status, said.code) == (status, code)
    if status == 400:
        assert said.pointers == {"/context/amount": "type"}


def test_two_workflows_of_a_component(publish: Any, service: Caller, operator: Caller):
    first = publish()
    stages = [{"stage_name": "S", "stage_order": 1, "tasks": [SERVICE_TASK]}]
    operator.post("templates/", {"workflow_name": "Else", "component_name": first["component_name"], "stages": stages})
    body = {"component_name": first["component_name"], "business_ref_no": "R"}

    said = service.post("instances/", body)

    assert (said.status, said.code) == (400, "ambiguous_workflow")
    assert service.post("instances/", body | {"workflow_name": "Else"}).status == 201


def test_publishing(operator: Caller, publish: Any):
    component = f"C-{uuid.uuid4().hex[:8]}"
    template = {
        "workflow_name": "Loan", "component_name": component,
        "stages": [{"stage_name": "S", "stage_order": 1, "tasks": [{**HUMAN_TASK, "asigned_to": "x", "assigned_to": "nobody-at-all"}]}],
    }  # fmt: skip

    first = operator.post("templates/", template)
    again = operator.post("templates/", template)

    assert (first.status, again.status) == (201, 200)
    assert set(first.json) == {"id", "workflow_name", "component_name", "version", "fingerprint", "warnings"}
    assert first.json == again.json
    assert {warning["code"] for warning in first.json["warnings"]} == {"possible_typo", "unknown_assignee"}
    assert operator.get(first.headers["location"]).json["definition"] == template
    assert operator.post("templates/validate/", template).json == {"valid": True, "warnings": first.json["warnings"]}


@pytest.mark.parametrize("action", ["cancel", "rollback", "tasks/S/charge/retry", "tasks/S/charge/skip", "tasks/S/charge/fail",
                                    "tasks/S/charge/complete", "tasks/S/charge/replay", "stages/S/replay"])  # fmt: skip
def test_an_act_needs_a_reason(action: str, start: Any, operator: Caller):
    path = f"instances/{start()['id']}/{action}/"

    assert operator.post(path).pointers == {"/reason": "required"}
    assert operator.post(path, {"reason": " "}).pointers == {"/reason": "bad_value"}
    assert operator.post(path, {"reason": 5}).pointers == {"/reason": "wrong_type"}


def test_acts_on_a_task(start: Any, operator: Caller):
    instance = start()
    path = f"instances/{instance['id']}/tasks/S/charge"

    failed = operator.post(f"{path}/fail/", {"reason": "no hope"}).json
    assert (failed["state"], failed["stages"][0]["tasks"][0]["state"]) == ("FAILED", "FAILED")
    retried = operator.post(f"{path}/retry/", {"reason": "some hope"}).json
    assert (retried["state"], retried["stages"][0]["tasks"][0]["attempt"]) == ("RUNNING", 2)
    done = operator.post(f"{path}/complete/", {"reason": "by hand", "output": {"paid": True}}).json
    assert (done["state"], done["context"]) == ("COMPLETED", {"paid": True})
    replayed = operator.post(f"{path}/replay/", {"reason": "again"}).json
    assert (replayed["state"], replayed["stages"][0]["tasks"][0]["attempt"]) == ("RUNNING", 3)
    skipped = operator.post(f"{path}/skip/", {"reason": "never mind"}).json
    assert (skipped["state"], skipped["stages"][0]["state"]) == ("COMPLETED", "SKIPPED")
    refused = operator.post(f"{path}/fail/", {"reason": "late"})
    assert (refused.status, refused.code, refused.json["outcome"]) == (409, "instance_closed", "refused")


def test_an_act_on_no_task(start: Any, operator: Caller):
    instance = start()

    for path in ("tasks/S/nothing/skip/", "tasks/T/charge/skip/", "stages/T/replay/"):
        said = operator.post(f"instances/{instance['id']}/{path}", {"reason": "x"})
        assert (said.status, said.code) == (404, "unknown_task")


def test_the_actor_and_the_request_are_in_the_history(start: Any, operator: Caller):
    instance = start()

    operator.post(f"instances/{instance['id']}/suspend/", {"reason": "audit"}, X_Request_Id="req-7")

    event = operator.get(f"instances/{instance['id']}/history/").json["results"][-1]
    assert (event["event"], event["actor"], event["cause"]) == ("WorkflowSuspended", "operator", "req-7")


# --- People's tasks -----------------------------------------------------------------------------------------------


@pytest.fixture
def task(start: Any) -> str:
    instance = start(HUMAN_TASK, context={"customer": "Ada"})
    return f"human-tasks/{HumanTask.objects.get(instance=instance['id']).pk}/"


def test_a_task_says_all_that_one_needs(task: str, assignee: Caller):
    said = assignee.get(task).json

    assert {
        "id", "instance_id", "business_ref_no", "component_name", "workflow_name", "stage_name", "task_name", "title",
        "description", "state", "attempt", "assigned_to", "claimed_by", "due_at", "compensation", "outcomes", "form",
        "context", "why",
    } <= set(said)  # fmt: skip
    assert said["form"] == HUMAN_TASK["form"]
    assert [outcome["name"] for outcome in said["outcomes"]] == ["approve", "refuse"]
    assert said["context"] == {"customer": "Ada"}
    assert "finance" in said["why"]
    assert [event["event"] for event in said["history"]] == ["TaskScheduled"]


def test_a_task_is_claimed_released_and_decided(task: str, assignee: Caller, make_caller: Any, operator: Caller):
    colleague = make_caller("fiona", "finance")
    claimed = assignee.post(task + "claim/")
    assert (claimed.status, claimed.json["state"], claimed.json["claimed_by"]) == (200, "STARTED", "assignee")
    assert assignee.post(task + "claim/").status == 200

    taken = colleague.post(task + "claim/")
    assert (taken.status, taken.code) == (409, "already_claimed")
    assert "assignee" in taken.json["detail"]
    assert colleague.post(task + "release/").code == "permission_denied"
    assert operator.post(task + "claim/").code == "permission_denied"

    assert assignee.post(task + "release/").json["claimed_by"] is None
    assert assignee.post(task + "release/").code == "not_claimed"

    wrong = colleague.post(task + "complete/", {"outcome": "approve", "data": {"amount": 0}})
    assert (wrong.status, wrong.pointers) == (400, {"/data/amount": "minimum"})
    assert colleague.post(task + "complete/", {"outcome": "approve"}).pointers == {"/data/amount": "required"}
    assert colleague.post(task + "complete/", {"outcome": "maybe"}).pointers == {"/outcome": "bad_value"}
    assert colleague.post(task + "complete/", {"outcome": "refuse"}).pointers == {"/comment": "required"}

    done = colleague.post(task + "complete/", {"outcome": "approve", "data": {"amount": 5}, "comment": "fine"})
    assert (done.status, done.json["state"], done.json["decided_by"]) == (200, "COMPLETED", "fiona")
    assert colleague.post(task + "complete/", {"outcome": "approve", "data": {"amount": 5}}).status == 409


def test_a_task_is_reassigned(task: str, assignee: Caller, callers: dict[str, Caller], operator: Caller):
    assert operator.post(task + "reassign/", {"assigned_to": "nobody", "reason": "x"}).status == 400
    assert operator.post(task + "reassign/", {"assigned_to": "sales"}).pointers == {"/reason": "required"}

    said = operator.post(task + "reassign/", {"assigned_to": "sales", "reason": "holiday"})

    assert (said.status, said.json["assigned_to"]) == (200, "sales")
    assert assignee.get(task).status == 404
    assert callers["other"].get(task).status == 200


def test_a_task_is_commented(task: str, assignee: Caller, operator: Caller):
    assert assignee.post(task + "comment/").pointers == {"/comment": "required"}
    assert assignee.post(task + "comment/", {"comment": "asked the customer"}).status == 200
    assert operator.post(task + "comment/", {"comment": "and?"}).status == 200

    assert [event["event"] for event in assignee.get(task).json["history"]] == [
        "TaskScheduled",
        "TaskCommented",
        "TaskCommented",
    ]


def test_four_eyes(publish: Any, make_caller: Any, start: Any, service: Caller):
    tasks = [
        {**HUMAN_TASK, "four_eyes": True},
        {**HUMAN_TASK, "task_name": "second", "parent_task": ["approve"], "four_eyes": True},
    ]
    instance = start(*tasks)
    fred, fiona = make_caller("fred", "finance"), make_caller("fiona", "finance")
    first = f"human-tasks/{HumanTask.objects.get(instance=instance['id']).pk}/"
    assert fred.post(first + "complete/", {"outcome": "approve", "data": {"amount": 5}}).status == 200
    second = f"human-tasks/{HumanTask.objects.get(instance=instance['id'], task_name='second').pk}/"

    said = fred.post(second + "claim/")

    assert (said.status, said.code) == (403, "four_eyes")
    assert fred.get("human-tasks/?view=claimable").json["results"] == []
    assert [row["id"] for row in fiona.get("human-tasks/?view=claimable").json["results"]] == [second.split("/")[1]]


def test_a_task_of_an_ended_instance(task: str, assignee: Caller, operator: Caller):
    operator.post(f"instances/{assignee.get(task).json['instance_id']}/cancel/", {"reason": "x"})

    said = assignee.post(task + "claim/")

    assert (said.status, said.code) == (409, "instance_closed")
    assert assignee.get(task).json["state"] == "CANCELLED"


def test_an_old_attempt_is_closed(task: str, assignee: Caller, operator: Caller):
    instance = assignee.get(task).json["instance_id"]
    operator.post(f"instances/{instance}/tasks/S/approve/retry/", {"reason": "again"})

    said = assignee.post(task + "claim/")

    assert (said.status, said.code) == (409, "attempt_closed")


def test_commands_are_shown_as_they_are_sent(start: Any, operator: Caller, service: Caller):
    instance = start({**SERVICE_TASK, "colour": "red"})
    service.post("events/", message(instance, "TaskStarted"))

    (sent,) = operator.get(f"instances/{instance['id']}/commands/").json["results"]

    assert set(sent) == {
        "message_id",
        "event_name",
        "queue",
        "stage_name",
        "task_name",
        "attempt",
        "payload",
        "state",
        "created_at",
        "sent_at",
    }
    assert (sent["event_name"], sent["queue"], sent["state"]) == ("StartTask", "charge_queue", "PENDING")
    assert sent["payload"]["colour"] == "red"
    assert sent["payload"]["message_id"] == sent["message_id"]
