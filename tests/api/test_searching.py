"""Search fields in the API: shown with instances, filtered by in their list, told in the documentation."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.callers import HUMAN_TASK, SERVICE_TASK, Caller, message
from workflows.api.description import describe

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

SEARCH = {"customer": "/order/customer", "amount": "/order/amount", "paid": "/paid"}


def order(customer: str, amount: float) -> dict[str, Any]:
    return {"order": {"customer": customer, "amount": amount}}


@pytest.fixture
def orders(publish: Any, service: Caller) -> str:
    """Four orders of one component, oldest first: A-0 … A-3 of ACME, and one of somebody else."""
    component = publish(SERVICE_TASK, search=SEARCH)["component_name"]
    for number in range(4):
        body = {"component_name": component, "business_ref_no": f"A-{number}", "context": order("ACME", number * 50)}
        assert service.post("instances/", body).status == 201
    body = {"component_name": component, "business_ref_no": "B-0", "context": order("Bäcker & Söhne", 7)}
    assert service.post("instances/", body).status == 201
    return str(component)


def refs(said: Any) -> list[str]:
    assert said.status == 200, said
    return [row["business_ref_no"] for row in said.json["results"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("search.customer=ACME&search.amount__gte=100", ["A-3", "A-2"]),
        ("search.customer__prefix=A&search.amount__gt=0&search.amount__lt=150", ["A-2", "A-1"]),
        (f"search.customer={quote('Bäcker & Söhne')}", ["B-0"]),
        ("search.paid__exists=true", []),
        ("search.paid__exists=false&limit=1", ["B-0"]),
        ("search.nothing=1", []),
        ("search.amount__lte=50&q=a-&ordering=business_ref_no", ["A-0", "A-1"]),
    ],
)
def test_the_list_is_filtered(query: str, found: list[str], orders: str, operator: Caller):
    assert refs(operator.get(f"instances/?{query}")) == found


def test_pages_keep_the_filter(orders: str, operator: Caller):
    first = operator.get("instances/?search.customer=ACME&limit=3").json
    second = operator.get(first["next"])

    assert "search.customer=ACME" in first["next"]
    assert refs(second) == ["A-0"]


def test_values_follow_the_context_and_instances_show_them(start: Any, service: Caller, operator: Caller):
    instance = start(SERVICE_TASK, search=SEARCH, context=order("ACME", 1), ref="R")
    assert instance["search"] == {"customer": "ACME", "amount": 1}

    service.post("events/", message(instance, output={"paid": True, "order": {"customer": "Eve"}}))

    assert operator.get(f"instances/{instance['id']}/").json["search"] == {"customer": "Eve", "paid": True}
    assert operator.get(f"instances/{instance['id']}/?at=1").json["search"] == {"customer": "ACME", "amount": 1}
    (row,) = operator.get("instances/?search.customer=Eve&search.paid=true").json["results"]
    assert row["search"] == {"customer": "Eve", "paid": True}
    assert refs(operator.get("instances/?search.customer=ACME")) == []


def test_everybody_finds_what_is_theirs_to_see(start: Any, callers: dict[str, Caller]):
    start(SERVICE_TASK, search=SEARCH, context=order("ACME", 1), ref="SERVICE")
    start(HUMAN_TASK, search=SEARCH, context=order("ACME", 1), ref="HUMAN")

    for role, found in {
        "operator": ["HUMAN", "SERVICE"], "auditor": ["HUMAN", "SERVICE"], "assignee": ["HUMAN"], "other": [],
    }.items():  # fmt: skip
        assert refs(callers[role].get("instances/?search.customer=ACME")) == found, role
    assert callers["anonymous"].get("instances/?search.customer=ACME").status == 401


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("search.amount__between=1", "operator"), ("search.amount__=1", "operator"), ("search.=1", "parameter"),
        ("search=1", "parameter"), ("search.a b=1", "search field"), ("search.customer=", "characters"),
        ("search.paid__exists=1", "true or false"), ("search.customer=a&search.customer=b", "more than once"),
        ("search.customer=%00", "NUL"), (f"search.customer={'x' * 201}", "characters"),
    ],
)  # fmt: skip
def test_a_filter_that_makes_no_sense_is_refused_by_its_name(query: str, said: str, operator: Caller):
    answer = operator.get(f"instances/?{query}")

    assert (answer.status, answer.code) == (400, "invalid_parameter")
    (fault,) = answer.json["errors"]
    assert fault["parameter"] == query.partition("=")[0]
    assert said in fault["message"]


def test_other_lists_take_no_search_fields(operator: Caller):
    assert operator.get("templates/?search.customer=a").code == "invalid_parameter"


def test_a_template_with_wrong_fields_is_refused_and_one_with_idle_ones_warned_of(operator: Caller):
    template = {
        "workflow_name": "W", "component_name": "C", "stages": [{"stage_name": "S", "stage_order": 1}],
        "context_schema": {"type": "object", "properties": {}, "additionalProperties": False},
    }  # fmt: skip

    refused = operator.post("templates/", template | {"search": {"a__b": "/x", "c": "x"}})
    taken = operator.post("templates/", template | {"search": {"c": "/x"}})

    assert (refused.status, refused.code) == (400, "invalid_template")
    assert refused.pointers == {"/search/a__b": "bad_name", "/search/c": "bad_value"}
    assert taken.status == 201
    assert [(one["pointer"], one["code"]) for one in taken.json["warnings"]] == [("/search/c", "never_there")]


def test_the_documentation_describes_the_filters():
    (said,) = [one for one in describe()["paths"]["/api/v1/instances/"]["get"]["parameters"] if one["name"] == "search"]

    assert (said["style"], said["explode"], said["schema"]["additionalProperties"]) == ("form", True, False)
    matched = [
        [name for name in said["schema"]["patternProperties"] if re.search(name, parameter)]
        for parameter in ("search.amount__gte", "search.amount_2", "search.paid__exists", "search.amount__between")
    ]
    assert [len(names) for names in matched] == [1, 1, 1, 0]
    assert matched[0] == matched[1] != matched[2]
