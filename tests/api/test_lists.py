"""Lists: pages that neither repeat nor miss, filters that hold, parameters that are judged."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any
from urllib.parse import quote

import pytest
from django.utils import timezone

from tests.api.callers import HUMAN_TASK, SERVICE_TASK, Caller, message
from workflows.models import HumanTask, WorkflowInstance

LISTS = ("instances/", "templates/", "human-tasks/", "quarantine/")


@pytest.fixture
def many(service: Caller, publish: Any) -> list[str]:
    """Seven instances of one component, oldest first."""
    component = publish()["component_name"]
    for number in range(7):
        service.post("instances/", {"component_name": component, "business_ref_no": f"R-{number}"})
    # Some at the same moment: the order must still be one.
    moment = timezone.now()
    WorkflowInstance.objects.filter(business_ref_no__in=["R-2", "R-3", "R-4"]).update(created_at=moment)
    return [instance.business_ref_no for instance in WorkflowInstance.objects.order_by("created_at", "id")]


def refs(page: Any) -> list[str]:
    return [row["business_ref_no"] for row in page["results"]]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
@pytest.mark.parametrize(
    "ordering", ["created_at", "-created_at", "updated_at", "-updated_at", "business_ref_no", "-business_ref_no"]
)
def test_pages_go_forth_and_back(limit: int, ordering: str, many: list[str], operator: Caller):
    whole = refs(operator.get(f"instances/?ordering={ordering}").json)
    assert sorted(whole) == sorted(many)

    pages, url = [], f"instances/?ordering={ordering}&limit={limit}"
    while url:
        pages.append(operator.get(url).json)
        url = pages[-1]["next"]
    assert [ref for page in pages for ref in refs(page)] == whole
    assert pages[0]["previous"] is None

    back, url = [pages[-1]], pages[-1]["previous"]
    while url:
        back.insert(0, operator.get(url).json)
        url = back[0]["previous"]
    assert [refs(page) for page in back] == [refs(page) for page in pages]


def test_rows_that_come_meanwhile_move_nothing(many: list[str], operator: Caller, start: Any):
    first = operator.get("instances/?limit=3").json
    start(ref="NEW")

    second = operator.get(first["next"]).json

    assert refs(first) + refs(second) == list(reversed(many))[:6]


def test_addresses_of_pages_are_whole_and_keep_the_filters(many: list[str], operator: Caller):
    page = operator.get("instances/?limit=2&q=R-&state=RUNNING").json

    assert page["next"].startswith("http://testserver/api/v1/instances/?")
    assert "q=R-" in page["next"]
    assert "state=RUNNING" in page["next"]


def test_history_and_messages_are_lists_too(start: Any, service: Caller, operator: Caller):
    instance = start(SERVICE_TASK, {**SERVICE_TASK, "task_name": "second", "parent_task": ["charge"]})
    service.post("events/", message(instance))
    path = f"instances/{instance['id']}"

    first = operator.get(f"{path}/history/?limit=3").json
    rest = operator.get(first["next"]).json
    sent = operator.get(f"{path}/commands/?limit=1").json

    assert [event["sequence"] for event in first["results"] + rest["results"]] == [1, 2, 3, 4, 5]
    assert [one["task_name"] for one in sent["results"] + operator.get(sent["next"]).json["results"]] == [
        "charge",
        "second",
    ]


# --- Filters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=RUNNING", "open other"), ("state=COMPLETED", "done"), ("state=COMPLETED,RUNNING", "open done other"),
        ("business_status=CHARGED", "done"), ("business_ref_no=open", "open"), ("workflow_name=Loan", "open done other"),
        ("workflow_name=loan", ""), ("version=1", "open done other"), ("version=2", ""), ("stage=S", "open other"),
        ("stage=T", ""), ("has_failed_task=true", ""), ("has_failed_task=false", "open done other"),
        ("q=PE", "open"), ("q=charGED", "done"), ("q=%25", ""), ("q=_", ""), ("q=%5C", ""), ("q=", None), ("q=oan", "open done other"),
        ("state=RUNNING&q=oth", "other"), ("created_after=2100-01-01T00:00:00Z", ""),
        ("created_before=2100-01-01T00:00:00%2B02:00", "open done other"), ("updated_after=2001-01-01T00:00:00Z", "open done other"),
        ("updated_before=2001-01-01T00:00:00.5-05:00", ""),
        ("created_after=2001-01-01T00:00:00+02:00", "open done other"),
    ],
)  # fmt: skip
def test_filters_of_instances(query: str, found: str | None, start: Any, service: Caller, operator: Caller):
    for ref in ("open", "done", "other"):
        instance = start({**SERVICE_TASK, "business_status": "CHARGED"}, ref=ref)
        if ref == "done":
            service.post("events/", message(instance))

    said = operator.get(f"instances/?{query}")

    if found is None:
        assert (said.status, said.code) == (400, "invalid_parameter")
    else:
        assert sorted(refs(said.json)) == sorted(found.split()), said


def test_failed_tasks_are_found(start: Any, service: Caller, operator: Caller):
    instance = start(ref="broken")
    start(ref="fine")
    service.post("events/", message(instance, "TaskFailed"))

    assert refs(operator.get("instances/?has_failed_task=true").json) == ["broken"]
    assert refs(operator.get("instances/?has_failed_task=false").json) == ["fine"]


def test_other_scripts_are_found_whatever_their_case(start: Any, operator: Caller):
    start(ref="GRÖSSE-ÄÖ")

    assert refs(operator.get(f"instances/?q={quote('größe-äö'.replace('ß', 'ss'))}").json) == ["GRÖSSE-ÄÖ"]


def test_templates_are_filtered(publish: Any, operator: Caller):
    first = publish()
    operator.post(
        "templates/",
        {
            "workflow_name": "Loan",
            "component_name": first["component_name"],
            "stages": [{"stage_name": "T", "stage_order": 1}],
        },
    )
    publish(workflow_name="Else")

    def versions(query: str) -> list[tuple[str, int]]:
        return sorted(
            (row["workflow_name"], row["version"]) for row in operator.get(f"templates/?{query}").json["results"]
        )

    assert versions("") == [("Else", 1), ("Loan", 1), ("Loan", 2)]
    assert versions("latest=true") == [("Else", 1), ("Loan", 2)]
    assert versions("latest=false&workflow_name=Loan") == [("Loan", 1), ("Loan", 2)]
    assert versions(f"component_name={first['component_name']}&latest=true") == [("Loan", 2)]


# --- Parameters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query",
    [
        "foo=1", "limit=0", "limit=-1", "limit=201", "limit=abc", "limit=1000000000", "limit=", "limit=1&limit=2", "limit=%D9%A1",
        "cursor=abc", "cursor=", "cursor=%00", "cursor=" + "A" * 100, "format=api", "page=2", "offset=5",
        "state=%27%20OR%201=1--", "assignee__password=x", "%00=1",
    ],
)  # fmt: skip
def test_parameters_that_make_no_sense(path: str, query: str, operator: Caller):
    said = operator.get(f"{path}?{query}")

    assert (said.status, said.code) == (400, "invalid_parameter"), said
    assert said.json["errors"][0]["parameter"]


@pytest.mark.parametrize(
    "query",
    [
        "state=running", "state=RUNNING,", "state=RUNNING&state=FAILED", "version=0", "version=99999999999", "version=1.0",
        "created_after=yesterday", "created_after=2026-01-01", "created_after=2026-01-01T00:00:00", "created_after=2027-02-29T00:00:00Z",
        "created_after=0001-01-01T00:00:00%2B14:00", "created_after=9999-12-31T23:59:59-14:00", "has_failed_task=1", "has_failed_task=True",
        "ordering=password", "ordering=--created_at", "ordering=created_at,id", "q=" + "x" * 201, "q=a%00b", "business_status=%00",
        "instance__initiator__password__startswith=p",
    ],
)  # fmt: skip
def test_parameters_of_instances_that_make_no_sense(query: str, operator: Caller):
    said = operator.get(f"instances/?{query}")

    assert (said.status, said.code) == (400, "invalid_parameter"), said


def test_every_bad_parameter_is_named(operator: Caller):
    said = operator.get("instances/?limit=0&foo=1&state=x")

    assert [error["parameter"] for error in said.json["errors"]] == ["limit", "foo", "state"]


def test_a_cursor_is_good_for_its_list_and_order_only(many: list[str], operator: Caller):
    cursor = re.search(r"cursor=([^&]+)", operator.get("instances/?limit=2").json["next"])
    assert cursor is not None

    assert operator.get(f"instances/?limit=2&cursor={cursor[1]}").status == 200
    assert operator.get(f"instances/?ordering=created_at&cursor={cursor[1]}").code == "invalid_parameter"
    assert operator.get(f"human-tasks/?cursor={cursor[1]}").code == "invalid_parameter"
    assert operator.get(f"instances/?cursor={cursor[1][:-4]}AAAA").code == "invalid_parameter"


def test_a_thousand_parameters_are_too_many(operator: Caller):
    said = operator.get("instances/?" + "&".join(f"a{number}=1" for number in range(1_200)))

    assert (said.status, said.code) == (400, "invalid_parameter")


def test_a_single_thing_takes_no_unknown_parameters(start: Any, operator: Caller):
    instance = start()

    assert operator.get(f"instances/{instance['id']}/?foo=1").code == "invalid_parameter"
    assert operator.post(f"instances/{instance['id']}/cancel/?force=1", {"reason": "x"}).code == "invalid_parameter"


# --- Cost ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["instances/", "templates/", "human-tasks/", "instances/{id}/history/", "instances/{id}/commands/"]
)
def test_no_query_per_row(path: str, start: Any, operator: Caller, django_assert_max_num_queries: Any):
    for _ in range(5):
        instance = start(SERVICE_TASK, HUMAN_TASK)
    url = path.format(id=instance["id"])
    operator.get(url)  # the definitions are read once for each process

    with django_assert_max_num_queries(3) as queries:  # the token, the instance that the list is below, the rows
        assert len(operator.get(url).json["results"]) >= 1

    assert not [query for query in queries if re.search(r"count\(", query["sql"], re.IGNORECASE)]


# --- People's tasks -----------------------------------------------------------------------------------------------


@pytest.fixture
def inbox(start: Any) -> dict[str, str]:
    """Human tasks by reference: when each is due, and its id."""
    due = {"late": -60, "soon": 60, "later": 3_600, "never": None, "never-2": None}
    now, ids = timezone.now(), {}
    for ref, seconds in due.items():
        instance = start(HUMAN_TASK, ref=ref)
        moment = None if seconds is None else now + dt.timedelta(seconds=seconds)
        HumanTask.objects.filter(instance=instance["id"]).update(due_at=moment)
        ids[ref] = str(HumanTask.objects.get(instance=instance["id"]).pk)
    return ids


def test_what_is_due_first_comes_first(inbox: dict[str, str], assignee: Caller):
    assert refs(assignee.get("human-tasks/").json) == ["late", "soon", "later", "never", "never-2"]
    assert refs(assignee.get("human-tasks/?ordering=created_at").json) == list(inbox)
    assert refs(assignee.get("human-tasks/?ordering=-created_at").json) == list(reversed(inbox))
    assert refs(assignee.get("human-tasks/?ordering=-due_at").json) == ["never", "never-2", "later", "soon", "late"]


@pytest.mark.parametrize("ordering", ["due_at", "-due_at", "created_at", "-created_at"])
def test_pages_of_the_inbox(ordering: str, inbox: dict[str, str], assignee: Caller):
    whole, found = refs(assignee.get(f"human-tasks/?ordering={ordering}").json), []

    url = f"human-tasks/?ordering={ordering}&limit=2"
    while url:
        page = assignee.get(url).json
        found += refs(page)
        url = page["next"]

    assert found == whole


def test_views_of_the_inbox(inbox: dict[str, str], assignee: Caller, callers: dict[str, Caller]):
    assignee.post(f"human-tasks/{inbox['soon']}/claim/")
    assignee.post(f"human-tasks/{inbox['later']}/complete/", {"outcome": "approve", "data": {"amount": 5}})

    def seen(query: str, who: Caller = assignee) -> set[str]:
        return set(refs(who.get(f"human-tasks/?{query}").json))

    assert seen("view=mine") == {"soon"}
    assert seen("view=claimable") == {"late", "never", "never-2"}
    assert seen("view=done") == {"later"}
    assert seen("view=overdue") == {"late"}
    assert seen("") == {"late", "soon", "never", "never-2"}
    assert seen("state=COMPLETED") == {"later"}
    assert seen("state=STARTED,COMPLETED") == {"soon", "later"}
    assert seen("q=LATE") == {"late"}
    assert seen("q=nothing-like-it") == set()
    assert seen("", callers["other"]) == set()
    assert seen("", callers["auditor"]) == {"late", "soon", "never", "never-2"}
    assert seen("view=mine", callers["operator"]) == set()


def test_lists_show_an_assignee_their_own_only(start: Any, assignee: Caller, callers: dict[str, Caller]):
    start(SERVICE_TASK, HUMAN_TASK, ref="theirs")
    start(SERVICE_TASK, ref="not-theirs")

    assert refs(assignee.get("instances/").json) == ["theirs"]
    assert refs(assignee.get("instances/?q=not-theirs").json) == []
    assert refs(callers["other"].get("instances/").json) == []
    assert uuid.UUID(assignee.get("instances/").json["results"][0]["id"])
