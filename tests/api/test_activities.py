"""Activities in the API: how the stage is shown, who may see it, progress that says nothing is refused where it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests import builders as b
from tests.api.callers import Caller, message
from workflows.runtime import plugins

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

STAGE = {"stage_name": "PROCESS", "stage_order": 1, "kind": "activity", "activity": "rate"}
PLUGINS = {
    "parallel": [b.plugin(b.service("scan"), system="OCR"), b.plugin(b.human("look", to="nobody")), b.excluded("auto")]
}


@pytest.fixture
def rated(operator: Caller) -> Iterator[dict[str, Any]]:
    """An instance that is nothing but an activity."""
    undo = plugins.ask_with(lambda activity, phase, attributes: b.expected_of(PLUGINS, phase))
    template = {"workflow_name": "Rate", "component_name": "RATES", "stages": [STAGE]}
    assert operator.post("templates/", template).status == 201
    said = operator.post("instances/", {"component_name": "RATES", "business_ref_no": "R-1"})
    assert said.status == 201, said
    yield said.json
    undo()


def test_an_activity_is_shown_by_phase(rated: dict[str, Any], operator: Caller):
    stage = operator.get(f"instances/{rated['id']}/").json["stages"][0]

    assert (stage["kind"], stage["activity"], stage["warning"]) == ("activity", "rate", False)
    assert [(phase["phase"], phase["state"]) for phase in stage["phases"]] == [
        ("pre", "COMPLETE"), ("parallel", "IN_PROGRESS"), ("post", "NOT_STARTED"),
    ]  # fmt: skip
    assert [(one["name"], one["state"], one["task_name"]) for one in stage["phases"][1]["plugins"]] == [
        ("scan", "IN_PROGRESS", "scan"), ("look", "IN_PROGRESS", "look"), ("auto", "NOT_APPLICABLE", None),
    ]  # fmt: skip


def test_others_see_nothing_of_it(rated: dict[str, Any], assignee: Caller):
    assert assignee.get(f"instances/{rated['id']}/").status == 404


def test_progress_over_the_api(rated: dict[str, Any], service: Caller, operator: Caller):
    started = message(rated, "TaskStarted", stage_name="PROCESS", task_name="scan")

    assert service.post("events/", {**started, "progress": {"percent": 40, "message": "page 4"}}).status == 200
    wrong = service.post("events/", {**started, "progress": {"percent": 140}})

    assert wrong.status == 400
    assert [error["pointer"] for error in wrong.json["errors"]] == ["/progress/percent"]
    scan = operator.get(f"instances/{rated['id']}/").json["stages"][0]["phases"][1]["plugins"][0]
    assert (scan["percent"], scan["message"]) == (40, "page 4")


def test_a_stage_of_an_activity_has_no_tasks_of_its_own(operator: Caller):
    tasks = [{"task_name": "a", "task_type": "HUMAN"}]
    stages = [{**STAGE, "tasks": tasks}, {"stage_name": "B", "stage_order": 2, "activity": "rate"}]

    said = operator.post("templates/validate/", {"workflow_name": "W", "component_name": "C", "stages": stages})

    assert [error["pointer"] for error in said.json["errors"]] == ["/stages/0/tasks", "/stages/1/activity"]
