"""Products and subscriptions over HTTP."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from tests.api.callers import Caller
from tests.subscriptions.flows import broken
from workflows.api.shapes import SCHEMAS
from workflows.definitions.schema_validator import validator_of
from workflows.engine.commands import CancelWorkflow
from workflows.runtime import tokens

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def caller_of(db):
    def make(role):
        user = User.objects.create_user(role)
        user.groups.add(Group.objects.get_or_create(name=role)[0])
        return Caller(tokens.issue(user, at=timezone.now(), scopes=[]), user)

    return make


@pytest.fixture
def operator(caller_of):
    return caller_of("operator")


def fits(said, name):
    """Check the answer against its description."""
    assert said.status == 200, said
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    assert [error.message for error in validator_of(schema).iter_errors(said.json)] == []
    return said.json


def test_products(nodes, operator):
    page = fits(operator.get("products/?tag=NET"), "ProductPage")
    (product,) = page["results"]
    assert (product["name"], product["fixed_inputs"]) == ("node", {"speed": "10G"})
    assert fits(operator.get(f"products/{product['id']}/"), "Product") == product
    assert operator.get("products/?tag=none").json["results"] == []


def test_a_list_by_keys_and_filters(nodes, operator):
    made = [nodes.make(f"N{number}") for number in range(3)]
    nodes.run("Visit", made[0].pk)
    seen, where = [], "subscriptions/?limit=2"
    while where:
        page = fits(operator.get(where), "SubscriptionPage")
        seen += [row["id"] for row in page["results"]]
        where = page["next"] and page["next"].partition("/api/v1/")[2]

    assert seen == [str(row.pk) for row in sorted(made, key=lambda row: (row.created_at, row.pk), reverse=True)]
    for query, count in (
        ("in_sync=false", 1), ("in_sync=true", 2), ("status=active", 3), ("status=initial,terminated", 0),
        ("customer=ACME", 3), ("customer=acme", 0), ("product=node", 3), ("product=port", 0),
    ):  # fmt: skip
        assert len(operator.get(f"subscriptions/?{query}").json["results"]) == count, query
    assert operator.get("subscriptions/?status=asleep").status == 400


def test_one_with_its_relations_versions_and_history(nodes, operator):
    parent, child = nodes.make("Parent"), nodes.make("Child")
    nodes.run("Attach", parent.pk, other=str(child.pk))
    done = nodes.run("Modify node", child.pk, name="Grown up")

    one = fits(operator.get(f"subscriptions/{parent.pk}/"), "Subscription")
    assert (one["depends_on"], one["in_use_by"], one["in_sync"], one["holder"]) == ([str(child.pk)], [], True, None)
    where = f"subscriptions/{child.pk}/"
    other = fits(operator.get(where), "Subscription")
    assert (other["depends_on"], other["in_use_by"], other["values"]) == ([], [str(parent.pk)], {"name": "Grown up"})
    versions = fits(operator.get(f"{where}versions/?limit=2"), "SubscriptionVersionPage")
    assert [row["version"] for row in versions["results"]] == [4, 3]
    assert (versions["results"][0]["instance_id"], versions["results"][0]["task_name"]) == (
        str(done.pk), "rename_the_node",
    )  # fmt: skip
    diff = fits(operator.get(f"{where}diff/"), "SubscriptionDiff")
    assert (diff["before"]["version"], diff["after"]["version"]) == (3, 4)
    assert diff["differences"] == [{"pointer": "/name", "kind": "changed", "before": "Child", "after": "Grown up"}]
    first = operator.get(f"{where}diff/?before=1&after=2").json
    assert [(row["pointer"], row["kind"]) for row in first["differences"]] == [("/name", "added")]
    assert (first["before"]["status"], first["after"]["status"]) == ("initial", "provisioning")
    assert operator.get(f"{where}diff/?before=1&after=9").code == "invalid_parameter"
    history = fits(operator.get(f"{where}history/"), "SubscriptionEventPage")
    assert [row["kind"] for row in history["results"]] == ["CREATED", "RELEASED", "TAKEN", "RELEASED"]


def test_a_refused_start_names_who_holds_it(nodes, operator):
    node = nodes.make()
    holder = nodes.run("Visit", node.pk)
    body = {
        "component_name": "NODES", "workflow_name": "Modify node", "business_ref_no": "M-1",
        "context": {"subscription_id": str(node.pk), "name": "B"},
    }  # fmt: skip

    for said in (operator.post("instances/", body), _by_message(body)):
        assert (said.status, said.code) == (409, "subscription_held")
        assert said.json["holder"] == {
            "instance_id": str(holder.pk), "component_name": "NODES", "workflow_name": "Visit",
            "business_ref_no": holder.business_ref_no,
        }  # fmt: skip
        assert said.json["subscription_id"] == str(node.pk)
        schema = {"$ref": "#/components/schemas/Problem", "components": {"schemas": SCHEMAS}}
        assert [error.message for error in validator_of(schema).iter_errors(said.json)] == []
    unknown = {**body, "context": {"subscription_id": str(uuid.uuid4())}}
    assert operator.post("instances/", unknown).code == "unknown_subscription"
    wrong = operator.post("instances/", {**body, "context": {"subscription_id": 7}})
    assert (wrong.code, wrong.pointers) == ("invalid_body", {"/context/subscription_id": "bad_value"})


def _by_message(body):
    client = User.objects.create_user("bot")
    client.groups.add(Group.objects.get_or_create(name="api_client")[0])
    caller = Caller(tokens.issue(client, at=timezone.now(), scopes=[]), client)
    return caller.post("events/", {"event_name": "StartWorkflow", **body})


def test_which_workflows_may_start(nodes, caller_of):
    client = caller_of("api_client")
    node = nodes.make()
    holder = nodes.run("Visit", node.pk)

    found = fits(client.get(f"subscriptions/{node.pk}/workflows/"), "SubscriptionWorkflows")["results"]

    named = {row["workflow_name"]: row for row in found}
    assert next(iter(named)) == "Create node"
    assert (named["Validate node"]["may_start"], named["Validate node"]["beside"]) == (True, True)
    refused = named["Modify node"]
    assert (refused["may_start"], refused["code"]) == (False, "subscription_held")
    assert refused["holder"]["instance_id"] == str(holder.pk)


def test_unlocking_and_notes(nodes, operator):
    node = nodes.make()
    broken.add("compare")
    found = nodes.run("Validate node", node.pk)
    where = f"subscriptions/{node.pk}/"

    assert operator.post(f"{where}unlock/", {}).code == "invalid_body"
    assert fits(operator.post(f"{where}unlock/", {"reason": "looked at it"}), "Subscription")["in_sync"] is True
    assert operator.post(f"{where}unlock/", {"reason": "again"}).status == 200
    holder = nodes.run("Visit", node.pk)
    said = operator.post(f"{where}unlock/", {"reason": "impatience"})
    assert (said.status, said.code, said.json["holder"]["instance_id"]) == (409, "subscription_held", str(holder.pk))
    nodes.ask(found, CancelWorkflow(reason="enough"))
    assert operator.get(where).json["in_sync"] is False

    assert operator.post(f"{where}note/", {"note": "Call before ten"}).json["note"] == "Call before ten"
    assert operator.post(f"{where}note/", {"note": "x" * 5001}).code == "invalid_body"
    assert operator.post(f"{where}note/", {}).json["note"] == ""
    history = operator.get(f"{where}history/?limit=200").json["results"]
    assert [(row["kind"], row["actor"]) for row in history if row["kind"] in ("UNLOCKED", "NOTED")] == [
        ("UNLOCKED", "operator"), ("NOTED", "operator"), ("NOTED", "operator"),
    ]  # fmt: skip
