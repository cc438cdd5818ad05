"""ETag, If-Match, If-None-Match."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.callers import HUMAN_TASK, SERVICE_TASK, Caller, message
from workflows.models import HumanTask, WorkflowInstance


@pytest.fixture
def things(start: Any, assignee: Caller) -> dict[str, str]:
    instance = start(SERVICE_TASK, HUMAN_TASK)
    return {
        "instance": f"instances/{instance['id']}/",
        "template": f"templates/{WorkflowInstance.objects.get(pk=instance['id']).template_id}/",
        "human task": f"human-tasks/{HumanTask.objects.get(instance=instance['id']).pk}/",
        "ref": instance["business_ref_no"],
        "component": instance["component_name"],
    }


@pytest.mark.parametrize("what", ["instance", "template", "human task"])
def test_what_has_not_changed_is_not_sent_again(what: str, things: dict[str, str], operator: Caller):
    first = operator.get(things[what])
    tag = first.headers["etag"]

    for known in (tag, f'"x", W/{tag}', "*"):
        again = operator.get(things[what], If_None_Match=known)
        assert (again.status, again.text, again.headers["etag"]) == (304, "", tag)
    assert operator.get(things[what], If_None_Match='"other"').status == 200
    assert operator.get(things[what], If_Match='"other"').code == "precondition_failed"
    assert operator.get(things[what], If_Match=tag).status == 200


@pytest.mark.parametrize("what", ["instance", "human task"])
def test_the_tag_changes_with_every_event(what: str, things: dict[str, str], service: Caller, operator: Caller):
    before = operator.get(things[what]).headers["etag"]

    service.post(
        "events/",
        message({"business_ref_no": things["ref"], "component_name": things["component"]}, "TaskStarted"),
    )

    assert operator.get(things[what]).headers["etag"] != before


def test_an_old_state_has_a_tag_of_its_own(things: dict[str, str], operator: Caller):
    now = operator.get(things["instance"])
    old = operator.get(things["instance"] + "?at=1")

    assert old.json["last_sequence"] == 1
    assert old.headers["etag"] != now.headers["etag"]
    assert operator.get(things["instance"] + "?at=1", If_None_Match=old.headers["etag"]).status == 304
    assert operator.get(things["instance"] + "?at=1", If_None_Match=now.headers["etag"]).status == 200


@pytest.mark.parametrize("at", ["0", "-1", "1000", "x", "1.0", ""])
def test_there_are_states_of_events_only(at: str, things: dict[str, str], operator: Caller):
    said = operator.get(things["instance"] + f"?at={at}")

    assert (said.status, said.code) == (400, "invalid_parameter")


def test_an_action_on_what_has_changed_is_refused_and_leaves_no_trace(things: dict[str, str], operator: Caller):
    path = things["instance"]
    tag = operator.get(path).headers["etag"]

    done = operator.post(path + "suspend/", If_Match=tag)
    assert done.status == 200
    assert done.headers["etag"] == operator.get(path).headers["etag"] != tag

    said = operator.post(path + "resume/", If_Match=tag)
    assert (said.status, said.code) == (412, "precondition_failed")
    assert operator.get(path).headers["etag"] == done.headers["etag"]
    assert operator.post(path + "resume/", If_Match="*").status == 200


def test_a_weak_tag_never_matches(things: dict[str, str], operator: Caller):
    tag = operator.get(things["instance"]).headers["etag"]

    assert operator.post(things["instance"] + "suspend/", If_Match=f"W/{tag}").status == 412
    assert operator.post(things["instance"] + "suspend/", If_Match="nonsense").status == 412


def test_the_order_of_judgement(things: dict[str, str], callers: dict[str, Caller]):
    path = things["instance"] + "cancel/"

    assert callers["anonymous"].post(path, raw=b"{", If_Match='"0"').status == 401
    assert callers["other"].post(path, raw=b"{", If_Match='"0"').status == 404
    assert callers["auditor"].post(path, raw=b"{", If_Match='"0"').status == 403
    assert callers["operator"].post(path, raw=b"{", If_Match='"0"').status == 412
    assert callers["operator"].post(path, raw=b"{").status == 400
    callers["operator"].post(path, {"reason": "x"})
    assert callers["operator"].post(path, {}).status == 400
    assert callers["operator"].post(path, {"reason": "x"}).status == 409


def test_claiming_what_has_changed(things: dict[str, str], assignee: Caller):
    path = things["human task"]
    tag = assignee.get(path).headers["etag"]

    claimed = assignee.post(path + "claim/", If_Match=tag)
    assert claimed.status == 200
    assert claimed.headers["etag"] == assignee.get(path).headers["etag"]

    assert assignee.post(path + "release/", If_Match=tag).status == 412
    assert assignee.get(path).json["claimed_by"] == "assignee"
