"""Activities and plugins over HTTP."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from tests.api.callers import Caller
from workflows.api.shapes import SCHEMAS
from workflows.definitions.schema_validator import validator_of
from workflows.models import ActivityRecord, Plugin
from workflows.runtime import tokens

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
WHERE = "activities/intake/plugins/"
SCAN = {"name": "scan", "phase": "pre", "task_queue": "scan_queue"}


@pytest.fixture
def caller_of(db):
    def make(name, role=None):
        user = User.objects.create_user(name)
        user.groups.add(Group.objects.get_or_create(name=role or name)[0])
        return Caller(tokens.issue(user, at=timezone.now(), scopes=[]), user)

    return make


@pytest.fixture
def operator(caller_of):
    return caller_of("operator")


def fits(said, name, status=200):
    """Check the answer against its description."""
    assert said.status == status, said
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    assert [error.message for error in validator_of(schema).iter_errors(said.json)] == []
    return said


def test_a_plugin_comes_changes_and_goes(operator):
    made = fits(operator.post(WHERE, {**SCAN, "reason": "new"}), "Plugin", 201)
    assert made.headers["location"] == f"/api/v1/{WHERE}scan/"
    assert fits(operator.post(WHERE, SCAN), "Plugin").headers["etag"] == made.headers["etag"]
    refused = operator.post(WHERE, {**SCAN, "task_queue": "other"})
    assert (refused.status, refused.code) == (409, "already_registered")
    changed = fits(
        operator.put(f"{WHERE}scan/", {"phase": "post", "url": "https://a.example/", "secret": "s"}), "Plugin"
    )
    assert (changed.json["phase"], changed.json["signed"], changed.json["registered_by"]) == ("post", True, "operator")
    assert "task_queue" not in changed.json
    assert "secret" not in changed.json
    again = operator.put(f"{WHERE}scan/", {"phase": "post", "url": "https://a.example/"})
    assert (again.status, again.headers["etag"]) == (200, changed.headers["etag"])
    fits(operator.put(f"{WHERE}other/", {"phase": "pre", "step": "shop.steps.look"}), "Plugin", 201)
    page = fits(operator.get(WHERE + "?limit=1"), "PluginPage").json
    assert ([one["name"] for one in page["results"]], page["previous"]) == (["other"], None)
    assert [one["name"] for one in operator.get(page["next"]).json["results"]] == ["scan"]

    gone = operator.delete(f"{WHERE}scan/?reason=sold")

    assert (gone.status, gone.text) == (204, "")
    assert operator.get(f"{WHERE}scan/").status == operator.delete(f"{WHERE}scan/").status == 404
    lines = fits(operator.get("activities/intake/history/"), "ActivityRecordPage").json["results"]
    assert [(one["revision"], one["kind"], one["plugin"], one["reason"]) for one in lines] == [
        (4, "DEREGISTERED", "scan", "sold"), (3, "REGISTERED", "other", ""), (2, "CHANGED", "scan", ""),
        (1, "REGISTERED", "scan", "new"),
    ]  # fmt: skip


def test_who_saw_an_older_one_is_told(operator):
    old = operator.post(WHERE, SCAN).headers["etag"]
    new = operator.put(f"{WHERE}scan/", {**SCAN, "system": "S"}, If_Match=old).headers["etag"]
    for said in (
        operator.put(f"{WHERE}scan/", {**SCAN, "system": "T"}, If_Match=old),
        operator.delete(f"{WHERE}scan/", If_Match=old),
        operator.put(f"{WHERE}nobody/", {**SCAN, "name": "nobody"}, If_Match=old),
    ):
        assert (said.status, said.code) == (412, "precondition_failed")
    assert operator.get(f"{WHERE}scan/", If_None_Match=new).status == 304
    assert operator.delete(f"{WHERE}scan/", If_Match=new).status == 204
    operator.post(WHERE, SCAN)
    assert operator.put(f"{WHERE}scan/", SCAN, If_Match=new).status == 412


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, {"": "required", "/name": "required", "/phase": "required"}),
        ([], {"": "wrong_type"}),
        ({**SCAN, "filter": {"a": [{"sounds-like": "b"}]}}, {"/filter/a/0/sounds-like": "bad_value"}),
        ({**SCAN, "after": ["scan"]}, {"/after/0": "cycle"}),
        ({**SCAN, "task_queue": None, "url": "http://127.0.0.1/"}, {"/url": "forbidden_address"}),
        ({**SCAN, "reason": 5}, {"/reason": "wrong_type"}),
        ({**SCAN, "colour": "red"}, {"/colour": "unknown_key"}),
    ],
)
def test_faults_have_pointers_and_change_nothing(operator, body, pointers):
    for said in (operator.post(WHERE, body), operator.put(f"{WHERE}scan/", body)):
        if said.status == 400 and "/name" in pointers:
            pointers.pop("/name") if "/name" not in said.pointers else None
        assert said.code == "invalid_body"
        assert said.pointers == pointers
    assert Plugin.objects.count() == ActivityRecord.objects.count() == 0
    assert operator.put(f"{WHERE}scan/", {**SCAN, "name": "other"}).pointers == {"/name": "bad_value"}


def test_a_system_registers_itself_and_leaves_others_alone(caller_of, operator):
    scanner, thief, auditor = caller_of("scanner", "api_client"), caller_of("thief", "api_client"), caller_of("auditor")
    assert scanner.post(WHERE, SCAN).status == 201
    for said in (thief.put(f"{WHERE}scan/", {**SCAN, "system": "mine"}), thief.delete(f"{WHERE}scan/")):
        assert (said.status, said.code) == (403, "permission_denied")
        assert "scanner" in said.json["detail"]
    for said in (auditor.put(f"{WHERE}scan/", SCAN), auditor.delete(f"{WHERE}scan/"), auditor.post(WHERE, SCAN)):
        assert said.status == 403
    assert operator.put(f"{WHERE}scan/", {**SCAN, "system": "ours"}).status == 200
    assert scanner.delete(f"{WHERE}scan/").status == 204


def test_who_would_take_part(operator):
    operator.post(WHERE, SCAN)
    operator.post(WHERE, {**SCAN, "name": "big", "filter": {"amount": [{"numeric": [">", 9]}], "code": ["7"]}})
    operator.post(WHERE, {**SCAN, "name": "any", "filter": {"$or": [{"paid": [True]}, {"eu": [True]}]}})
    where = "activities/intake/expected/"

    said = fits(operator.get(where), "ExpectedPlugins").json
    assert [(one["name"], one["reason"]) for one in said["plugins"]] == [
        ("scan", ""), ("big", "amount is not there."), ("any", "None of the policies in $or holds."),
    ]  # fmt: skip
    said = operator.get(where + '?attributes.amount=10&attributes.code="7"&attributes.paid=true').json
    assert said["attributes"] == {"amount": 10, "code": "7", "paid": True}
    assert [one["takes_part"] for one in said["plugins"]] == [True, True, True]
    said = operator.get(where + "?attributes.amount=5&attributes.code=7").json
    assert [one["reason"] for one in said["plugins"]][1] == "amount is 5."
    for odd in ("NaN", "1e999", "[1]", "{", "null", "9" * 400):
        fits(operator.get(where + f"?attributes.amount={odd}"), "ExpectedPlugins")
    assert operator.get(where + "?attributes=5").status == 400
    assert operator.get(where + "?nothing=5").status == 400


def test_the_lists(operator):
    assert fits(operator.get("activities/"), "ActivityPage").json["results"] == []
    operator.post(WHERE, {**SCAN, "before": ["late"]})
    operator.post(WHERE, {**SCAN, "name": "first", "before": ["scan"]})
    operator.post("activities/archive/plugins/", {**SCAN, "phase": "post"})
    template = {
        "workflow_name": "Claim", "component_name": "C",
        "stages": [{"stage_name": "LOOK", "stage_order": 1, "kind": "activity", "activity": "looking"}],
    }  # fmt: skip
    assert operator.post("templates/", template).status == 201

    page = fits(operator.get("activities/?limit=2"), "ActivityPage").json
    names = [one["name"] for one in page["results"]] + [
        one["name"] for one in operator.get(page["next"]).json["results"]
    ]
    assert names == ["archive", "intake", "looking"]
    assert page["results"][1]["plugins"] == {"pre": 2, "parallel": 0, "post": 0}
    looking = fits(operator.get("activities/looking/"), "Activity").json
    assert looking["plugins"] == []
    assert [(use["workflow_name"], use["stage_name"]) for use in looking["workflows"]] == [("Claim", "LOOK")]
    intake = operator.get("activities/intake/").json
    assert [one["name"] for one in intake["plugins"]] == ["first", "scan"]
    assert operator.get("activities/nothing/").status == operator.get("activities/nothing/plugins/").status == 404
