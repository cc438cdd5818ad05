"""What docs/subscriptions.md shows runs as it is written there."""

import datetime as dt
import json
import re
import sys
import types
from io import StringIO

import pytest
from django.core.management import call_command

from tests.tree import ROOT
from workflows.definitions.schema import Target
from workflows.engine.commands import StartWorkflow
from workflows.engine.lifecycle import SubscriptionStatus
from workflows.models import Subscription, SubscriptionVersion, WorkflowInstance
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.handling import handle
from workflows.runtime.refusals import STATUS
from workflows.steps import flows
from workflows.steps.runner import StepRunner
from workflows.subscriptions import check_subscription

pytestmark = pytest.mark.django_db
AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
TEXT = (ROOT / "docs" / "subscriptions.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def network(settings, monkeypatch, tmp_path):
    """The page's product, and its code as the module `network.flows`, published."""
    (product,) = blocks("json")
    (tmp_path / "port.json").write_text(product)
    call_command("define_product", str(tmp_path / "port.json"), stdout=StringIO())
    module = types.ModuleType("network.flows")
    monkeypatch.setattr(flows, "_registered", {})
    for block in blocks("python"):
        exec(compile(block, "docs/subscriptions.md", "exec"), module.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, "network", types.ModuleType("network"))
    monkeypatch.setitem(sys.modules, "network.flows", module)
    settings.STEP_MODULES = ["network.flows"]
    call_command("publish_workflows", "network.flows.create_port", "network.flows.modify_port", stdout=StringIO())
    return module


def run(title, ref, **context):
    asked = Asked(StartWorkflow(ref, context=context), Reference("NETWORK", ref, title), actor="tests")
    answer = handle(asked, at=AT)[0]
    if answer.applied:
        for _ in range(3):
            StepRunner(now=lambda: AT).run_due()
    return answer


def test_the_workflows_of_the_page_run(network):
    run("Create port", "P-1", customer="ACME", speed=10)

    port = Subscription.objects.get()
    assert (port.status, port.in_sync, port.values) == ("active", True, {"speed": 10})
    stale = {"subscription_id": str(port.pk), "speed": 100, "subscription_version": 1}
    assert STATUS[run("Modify port", "P-2", **stale).code] == 412
    run("Modify port", "P-3", subscription_id=str(port.pk), speed=100)
    run("Modify port", "P-4", subscription_id=str(port.pk), speed=-1)

    port.refresh_from_db()
    assert (port.values, port.in_sync, port.version) == ({"speed": 100}, True, 4)
    assert WorkflowInstance.objects.get(business_ref_no="P-4").state == "ROLLED_BACK"
    assert json.loads(blocks("json")[0])["fixed_inputs"] == port.product.fixed_inputs
    assert SubscriptionVersion.objects.filter(subscription=port).count() == 4
    assert check_subscription(port) == []


def test_the_words_of_the_page_are_those_of_the_code():
    from workflows import subscriptions

    for name in re.findall(r"^\| `(\w+)\(", TEXT, re.MULTILINE):
        assert name in subscriptions.__all__
    for name in re.findall(r"`(subscription_\w+|wrong_product|unknown_subscription)`", TEXT):
        assert name in STATUS
    for name in re.findall(r"`([A-Z]{6,})`", TEXT):
        assert name in set(Target)
    assert all(status in TEXT for status in SubscriptionStatus)
