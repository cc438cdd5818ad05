"""What docs/python-workflows.md and docs/undo.md show runs as it is written there."""

import datetime as dt
import json
import re
import sys
import types
import uuid
from dataclasses import replace
from io import StringIO
from unittest.mock import MagicMock

import pytest
from django.core.management import CommandError, call_command

from tests.tree import ROOT
from workflows.engine.commands import RollBackWorkflow, SendSignal, StartWorkflow
from workflows.models import WorkflowInstance, WorkflowTemplate
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.handling import handle
from workflows.runtime.publishing import check_template, publish_template
from workflows.runtime.replay import check_history
from workflows.steps import Done, Seen, StepTask, begin, flows, workflow
from workflows.steps.runner import StepRunner

pytestmark = pytest.mark.django_db
AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
TEXT = (ROOT / "docs" / "python-workflows.md").read_text()


@pytest.fixture
def shop(settings, monkeypatch):
    """The page's code as the module `shop.flows`."""
    module = types.ModuleType("shop.flows")
    module.Stock, module.Factory, module.Counter = MagicMock(), MagicMock(), MagicMock()
    monkeypatch.setattr(flows, "_registered", {})
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block, "docs/python-workflows.md", "exec"), module.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, "shop", types.ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.flows", module)
    settings.STEP_MODULES = ["shop.flows"]
    return module


def test_the_first_workflow_runs(shop):
    said = StringIO()
    call_command("publish_workflows", "shop.flows.ship_order", stdout=said)
    call_command("publish_workflows", "shop.flows.ship_order", stdout=said)
    assert [line.split(":")[0] for line in said.getvalue().splitlines()] == ["Published", "Unchanged"]
    context = {"order": "A-1", "pieces": 2}
    start = Asked(StartWorkflow("A-1", context=context), Reference("SHOP", "A-1"), actor="tests")
    assert handle(start, at=AT)[0].applied

    StepRunner(now=lambda: AT).run_due()
    StepRunner(now=lambda: AT).run_due()

    instance = WorkflowInstance.objects.get()
    assert instance.state == "COMPLETED"
    assert instance.context == {**context, "reserved": 2, "label": "PARCEL-A-1"}
    shop.Stock.objects.create.assert_called_once_with(order="A-1", pieces=2)


def test_the_longer_chain_is_a_correct_template(shop):
    def checked():
        return begin >> shop.checked

    checked.__module__, checked.__qualname__ = "shop.flows", "checked"
    template = dict(workflow("Checked", component="SHOP")(checked).template)
    check_template(template)
    assert [task["task_name"] for task in template["stages"][0]["tasks"]] == [
        "check_the_address", "reserve_stock", "ship", "reserve_and_ship"
    ]  # fmt: skip


def test_the_callback_step_takes_the_call(shop):
    told = StepTask(str(uuid.uuid4()), "A-1", "S", "t", 1, {"order": "A-1"})
    assert shop.is_up({"rc": 0, "name": "ge-1"}) == {"port_name": "ge-1"}
    woken = replace(told, signal={"rc": 0, "name": "ge-1"}, woken=True)
    assert shop.provision.perform(woken).output == {"port": {"rc": 0, "name": "ge-1"}, "port_name": "ge-1"}
    shop.provision(state={"order": "A-1"}, callback_url="/x/")
    shop.Factory.order.assert_called_once_with("A-1", call="/x/")


def test_publishing_says_what_is_wrong_and_stores_nothing(shop):
    def broken():
        return begin

    broken.__module__, broken.__qualname__ = "shop.flows", "broken"
    workflow("Broken", component="SHOP", timeout=-1)(broken)
    with pytest.raises(CommandError, match=r"shop\.flows\.broken: /timeout_seconds"):
        call_command("publish_workflows", "shop.flows.broken", "shop.flows.ship_order")
    with pytest.raises(CommandError, match="no workflow named shop.flows.none"):
        call_command("publish_workflows", "shop.flows.none")
    said = StringIO()
    call_command("publish_workflows", "shop.flows.ship_order", "--check", stdout=said)
    assert said.getvalue() == "Correct: shop.flows.ship_order\n"
    assert WorkflowTemplate.objects.count() == 0


def test_the_observers_do_what_they_say(shop):
    told = StepTask("i", "A-1", "S", "t", 1, {"pieces": 101})
    assert "hundred" in shop.within_budget(Seen(told, "s")).reason
    assert shop.within_budget(Seen(replace(told, context={}), "s")) is None
    shop.count(Seen(told, "s", Done()))
    shop.Counter.inc.assert_called_once_with("s", down=False)


def test_a_journey_is_undone_as_the_page_says():
    module = types.ModuleType("travel.flows")
    module.Hotel = MagicMock()
    text = (ROOT / "docs" / "undo.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "docs/undo.md", "exec"), module.__dict__)  # noqa: S102
    (task,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    stage = {"stage_name": "S", "stage_order": 1, "tasks": [json.loads(task)]}
    check_template({"workflow_name": "W", "component_name": "C", "stages": [stage]})
    publish_template(dict(module.journey.template), by="tests")
    start = Asked(StartWorkflow("J-1", context={"city": "Lyon"}), Reference("TRAVEL_DESK", "J-1"), actor="tests")
    assert handle(start, at=AT)[0].applied
    StepRunner(now=lambda: AT).run_due()
    instance = WorkflowInstance.objects.get()
    handle(Asked(RollBackWorkflow(reason="ill"), instance.pk, actor="olga"), at=AT)
    StepRunner(now=lambda: AT).run_due()
    module.Hotel.ask_to_cancel.assert_called_once_with(str(instance.pk))
    handle(Asked(SendSignal("room_cancelled", payload={"fee": 1}), instance.pk, actor="tests"), at=AT)
    StepRunner(now=lambda: AT).run_due()
    instance.refresh_from_db()
    assert instance.state == "ROLLED_BACK"
    assert check_history(instance) == []
