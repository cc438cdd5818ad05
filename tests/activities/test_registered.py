"""Journeys through the real registry: who is registered when a phase begins takes part, whatever comes later."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from tests.activities.called import go
from tests.api.callers import Caller
from tests.builders import activity, completed, failed, stage, workflow
from tests.builders import service as service_task
from tests.runtime.door import Door
from workflows.engine import commands as c
from workflows.models import HumanTask, LoggedEvent, PluginRun
from workflows.runtime import tokens
from workflows.steps import StepTask, step
from workflows.steps.runner import StepRunner

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

CLAIM = workflow(
    activity("INTAKE", activity="intake"), stage("LAST", service_task("out")),
    search={"line": "/line", "amount": "/amount"},
)  # fmt: skip


@step(name="activities.stamp")
def stamp(task: StepTask) -> dict[str, Any]:
    """Stamp it."""
    return {"stamped": task.business_ref_no}


@pytest.fixture
def api(db: None) -> Caller:
    user = User.objects.create_user("scanner")
    user.groups.add(Group.objects.get_or_create(name="api_client")[0])
    return Caller(tokens.issue(user, at=timezone.now()), user)


@pytest.fixture
def put(api: Caller) -> Callable[..., None]:
    """Register a plugin over the API."""

    def make(name: str, phase: str = "parallel", **more: Any) -> None:
        way = {} if {"url", "step", "assigned_to"} & more.keys() else {"task_queue": f"{name}_queue"}
        said = api.put(f"activities/intake/plugins/{name}/", {"phase": phase, **way, **more})
        assert said.status in (200, 201), said

    return make


@pytest.fixture
def site(door: Callable[..., Door]) -> Callable[..., Door]:
    def begin(ref: str = "REF", **context: Any) -> Door:
        one = door(CLAIM)
        one.at = timezone.now()
        assert one.start(ref=ref, context=context).applied
        return one

    return begin


def done(name: str) -> c.Command:
    return completed(f"INTAKE/{name}")


def phases(site: Door) -> list[tuple[str, list[str], list[str]]]:
    rows = LoggedEvent.objects.filter(instance=site.instance(), event="PhaseStarted").order_by("sequence")
    return [
        (
            data["phase"],
            [one["name"] for one in data["plugins"]],
            sorted(name for group in data["excluded"] for name in group["names"]),
        )
        for data in rows.values_list("data", flat=True)
    ]


def test_they_run_in_their_phases_and_their_order(site, put):
    put("archive", "post")
    put("m1", "pre", after=["m2"])
    put("m2", "pre")
    put("a")
    put("b", mandatory=False)
    one = site()

    for name in ("m2", "m1", "a", "b", "archive"):
        assert one.states()[name] == "SCHEDULED"
        one.ask(done(name))
    one.ask(completed("LAST/out"))

    assert one.state() == "COMPLETED"
    assert one.messages() == [f"StartTask {name}#1" for name in ("m2", "m1", "a", "b", "archive", "out")]


def test_who_comes_late_takes_part_in_later_phases_only(site, put):
    put("first", "pre")
    put("scan")
    one = site()
    put("second", "pre")
    put("late")

    one.ask(done("first"))
    assert one.states() == {"out": "PENDING", "first": "COMPLETED", "scan": "SCHEDULED", "late": "SCHEDULED"}
    put("later")
    put("archive", "post")
    for name in ("scan", "late", "archive"):
        one.ask(done(name))

    assert phases(one) == [("pre", ["first"], []), ("parallel", ["scan", "late"], []), ("post", ["archive"], [])]
    assert one.states()["out"] == "SCHEDULED"


def test_case_43_who_is_deregistered_is_still_waited_for_where_it_was_expected(site, put, api):
    put("scan")
    put("ocr")
    one = site()
    assert api.delete("activities/intake/plugins/ocr/").status == 204
    other = site("OTHER")

    one.ask(done("scan"))
    assert one.states()["ocr"] == "SCHEDULED"
    assert one.states()["out"] == "PENDING"
    one.ask(done("ocr"))

    assert one.states()["out"] == "SCHEDULED"
    assert "ocr" not in other.states("OTHER")
    assert phases(one)[1] == ("parallel", ["scan", "ocr"], [])


def test_case_39_who_is_filtered_out_is_not_applicable(site, put, api):
    put("auto", filter={"line": ["auto"]}, regulation="AML")
    put("large", filter={"amount": [{"numeric": [">=", 1]}]})
    put("other", filter={"workflow_name": ["Another"]}, mandatory=False)
    one = site(line="home", amount=1)

    assert phases(one)[1] == ("parallel", ["large"], ["auto", "other"])
    one.ask(done("large"))

    assert one.states() == {"out": "SCHEDULED", "large": "COMPLETED"}
    stages = api.get(f"instances/{one.instance().pk}/").json["stages"]
    parallel = next(phase for phase in stages[0]["phases"] if phase["phase"] == "parallel")
    shown = {
        plugin["name"]: (plugin["state"], plugin["mandatory"], plugin["regulation"]) for plugin in parallel["plugins"]
    }
    assert shown["auto"] == ("NOT_APPLICABLE", True, "AML")
    assert set(PluginRun.objects.values_list("name", flat=True)) == {"large"}


def test_who_changes_is_as_it_was_where_it_was_expected(site, put):
    put("scan", task_queue="old_queue", retry={"max_attempts": 2, "delay_seconds": 0})
    one = site()
    put("scan", task_queue="new_queue")
    one.ask(failed("INTAKE/scan"))

    assert [task["task_name"] for task in one.lease("old_queue")] == ["scan"]
    site("OTHER")
    assert [task["business_ref_no"] for task in one.lease("new_queue")] == ["OTHER"]


def test_an_optional_one_that_fails_stops_nothing_and_a_mandatory_one_does(site, put):
    put("nice", mandatory=False, retry={"max_attempts": 1})
    put("must", retry={"max_attempts": 1}, on_failure="rollback")
    one = site()

    one.ask(failed("INTAKE/nice"))
    assert one.state() == "RUNNING"
    one.ask(failed("INTAKE/must"))

    assert one.state() == "ROLLED_BACK"


def test_python_people_and_addresses(site, put, called, caller):
    put("stamp", "pre", step="activities.stamp")
    put("scan", "parallel", url=called.url, secret="tell nobody")
    put("look", "post", assigned_to="finance", title="Look at it")
    called.says(200, {"pages": 3})
    one = site(line="auto")

    StepRunner(now=timezone.now).run_due()
    assert one.states()["stamp"] == "COMPLETED"
    go(caller)
    assert one.states()["scan"] == "COMPLETED"
    assert HumanTask.objects.get().title == "Look at it"
    decided = c.DecideTask("INTAKE", "look", by="fred", groups=frozenset({"finance"}), outcome="complete")
    assert one.ask(decided).applied

    assert one.instance().context == {"line": "auto", "stamped": "REF", "pages": 3}
    ((headers, raw),) = called.calls
    assert json.loads(raw) | {"activity": "intake", "phase": "parallel", "task_name": "scan"} == json.loads(raw)
    assert "webhook-signature" in headers
    assert "tell nobody" not in str(list(LoggedEvent.objects.values_list("data", flat=True)))
    assert one.states()["out"] == "SCHEDULED"


def test_who_is_deregistered_while_it_is_called_is_called_again_and_signed(site, put, called, caller, api):
    put("scan", url=called.url, secret="s", retry={"max_attempts": 2, "delay_seconds": 0})
    one = site()
    called.says(503)
    go(caller)
    api.delete("activities/intake/plugins/scan/")
    called.says(200, {})

    go(caller)

    assert one.states()["scan"] == "COMPLETED"
    assert ["webhook-signature" in headers for headers, _ in called.calls] == [True, True]


def test_how_their_runs_stand_is_counted(site, put, api):
    put("scan")
    put("ocr", retry={"max_attempts": 1})
    one = site()
    site("OTHER")
    one.ask(failed("INTAKE/ocr"))
    site("THIRD")
    one.ask(c.CancelWorkflow(reason="sold"), ref="THIRD")

    runs = api.get("activities/intake/").json["runs"]

    assert runs == {"in_progress": 3, "in_error": 1, "counted": True}
    assert api.get("activities/").json["results"][0]["runs"] == runs
