"""Nodes and ports of the demo: made, changed, checked and ended, one workflow at a time; every history is folded."""

import datetime as dt

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tests.examples.test_templates import GROUPS
from tests.tasks_ui.conftest import faults_of
from workflows.definitions.parsing import parse_template
from workflows.engine.commands import DecideTask, SkipTask
from workflows.examples import installing, inventory, nodes
from workflows.examples.templates import OWNED, template
from workflows.models import HumanTask, LoggedEvent, Subscription, WorkflowInstance, WorkflowTemplate
from workflows.runtime import deadlines
from workflows.runtime.asking import Asked
from workflows.runtime.handling import handle
from workflows.runtime.loading import snapshots
from workflows.runtime.replay import check_history
from workflows.steps.runner import StepRunner
from workflows.subscriptions import check_subscription

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def site():
    snapshots.forget()
    installing.install_people(at=timezone.now())
    installing.install_templates(at=timezone.now())
    made = Network()
    yield made
    made.check()


class Network:
    """An operator at the pages, and the clock and the steps behind them."""

    def __init__(self):
        self.client = Client()
        self.client.force_login(User.objects.get(username="olivia"))
        self.number = 0

    def start(self, title, about=None, **fields):
        """Start it with its form, filled in as given; return the answer."""
        pk = WorkflowTemplate.objects.get(workflow_name=title).pk
        path = f"/start/{pk}/" + (f"?subscription={about}" if about else "")
        form = self.client.get(path)
        html = form.content.decode()
        assert (form.status_code, faults_of(html)) == (200, [])
        self.number += 1
        typed = {one.name: one.text for one in [*form.context["fields"], *form.context["hidden"]]}
        typed |= {f"context-{name}": value for name, value in fields.items()}
        typed |= {"business_ref_no": f"R-{self.number}", **({"about": about} if about else {})}
        answer = self.client.post(f"/start/{pk}/", typed)
        self.go_on()
        return answer

    def done(self, title, about=None, **fields):
        """Start it, and return the instance that has begun."""
        answer = self.start(title, about, **fields)
        assert answer.status_code == 302, answer.content.decode()
        return WorkflowInstance.objects.get(business_ref_no=f"R-{self.number}")

    def decide(self, instance, data=None, **how):
        """Do what a person has to do in it."""
        task = HumanTask.objects.open().get(instance=instance)
        command = DecideTask(
            stage_name=task.stage_name, task_name=task.task_name, attempt=1, by="olivia",
            groups=frozenset({"operator"}), data=data or {}, **how,
        )  # fmt: skip
        self.ask(instance, command)

    def ask(self, instance, command):
        """Ask something of an instance."""
        (answer,) = handle(Asked(command, target=instance.pk, actor="olivia"), at=timezone.now())
        assert answer.applied, answer
        self.go_on()
        instance.refresh_from_db()

    def node(self, name="BER-7", site="Berlin", customer="ACME"):
        """Make a node, as a newcomer does."""
        choices = {"role": "0", "site": str(list(nodes.CODES).index(site))}
        made = self.done("Create node", customer=customer, name=name, **choices)
        self.decide(made, {"serial_number": "SN-1", "rack": "R1"})
        return Subscription.objects.get(pk=made.context["subscription_id"])

    def go_on(self):
        """Run every step whose turn has come, and what falls due within the minute."""
        runner, before = StepRunner(now=timezone.now), -1
        while before != (before := LoggedEvent.objects.count()):
            runner.run_due()
            deadlines.fire_due(timezone.now() + dt.timedelta(minutes=1))

    def check(self):
        """Fold every history."""
        snapshots.forget()
        assert all(check_history(one) == [] for one in WorkflowInstance.objects.all())
        assert all(check_subscription(one) == [] for one in Subscription.objects.all())


@pytest.mark.parametrize("name", OWNED)
def test_an_example_is_a_good_template(name):
    parsed = parse_template(template(name), known_assignee=GROUPS.__contains__)

    assert list(parsed.warnings) == []
    assert all(task.title for task in parsed.definition.tasks)
    assert parsed.definition.target
    assert parsed.definition.products or parsed.definition.target == "SYSTEM"


def test_a_node_is_made_changed_and_ended(site):
    node = site.node()
    assert (node.status, node.in_sync, node.name) == ("active", True, "BER-7")
    assert node.values["hardware"] == {"serial_number": "SN-1", "rack": "R1"}
    assert node.values["address"] == nodes.address_of(str(node.pk))

    change = site.done("Modify node", str(node.pk), role="1")

    refused = site.start("Terminate node", str(node.pk))
    assert refused.status_code == 409
    assert f"held by Modify node {change.business_ref_no}" in refused.content.decode()
    assert str(change.pk) in refused.content.decode()
    site.decide(change, outcome="go")
    assert change.state == "COMPLETED"
    node.refresh_from_db()
    # The form began with what the node was: only the role is another.
    assert (node.values["role"], node.values["name"], node.values["site"]) == ("access", "BER-7", "Berlin")

    assert site.done("Terminate node", str(node.pk), why="Moved").state == "COMPLETED"
    node.refresh_from_db()
    assert (node.status, node.in_sync) == ("terminated", True)
    assert site.start("Modify node", str(node.pk)).status_code == 409


def test_whoever_saw_an_older_version_is_told_so(site):
    node = site.node()
    template_id = WorkflowTemplate.objects.get(workflow_name="Switch node off or on").pk
    old = {
        "business_ref_no": "LATE", "about": str(node.pk), "context-subscription_id": str(node.pk),
        "context-subscription_version": node.version,
    }  # fmt: skip
    site.done("Switch node off or on", str(node.pk))

    late = site.client.post(f"/start/{template_id}/", old)

    assert late.status_code == 412
    assert "Begin anew with what it says now" in late.content.decode()


def test_a_change_that_does_not_work_is_taken_back(site):
    node = site.node()
    change = site.done("Modify node", str(node.pk), site=str(list(nodes.CODES).index("Svalbard")))

    site.decide(change, outcome="go")

    assert change.state == "ROLLED_BACK"
    node.refresh_from_db()
    assert (node.values["site"], node.status, node.in_sync) == ("Berlin", "active", True)


def test_a_node_that_does_not_answer_is_given_up(site):
    made = site.done(
        "Create node", customer="ACME", name="LYR-1", role="0", site=str(list(nodes.CODES).index("Svalbard"))
    )
    site.decide(made, {"serial_number": "SN-1", "rack": "R1"})

    assert made.state == "ROLLED_BACK"
    node = Subscription.objects.get(pk=made.context["subscription_id"])
    assert (node.status, node.in_sync, "address" in node.values) == ("terminated", True, False)


def test_a_port_keeps_its_node(site):
    node = site.node()
    added = site.done("Add port", str(node.pk), number="3", speed="1")
    port = Subscription.objects.get(pk=added.context["port_id"])
    assert (port.status, port.in_sync, port.name) == ("active", True, "BER-7/3")
    # The form offered the node's own customer.
    assert port.customer == "ACME"

    refused = site.start("Terminate node", str(node.pk))
    assert (refused.status_code, "other subscription uses" in refused.content.decode()) == (409, True)

    assert site.done("Terminate port", str(port.pk)).state == "COMPLETED"
    assert site.done("Terminate node", str(node.pk)).state == "COMPLETED"


def test_a_validation_marks_what_is_wrong_and_keeps_it(site):
    good, wrong = site.node(), site.node("AMS-9", "Paris")
    assert site.done("Validate node", str(good.pk)).state == "COMPLETED"

    found = site.done("Validate node", str(wrong.pk))

    assert found.state == "FAILED"
    html = site.client.get(f"/instances/{found.pk}/").content.decode()
    assert "AMS-9 stands in Paris, where names begin with PAR-." in html
    assert f"/subscriptions/{wrong.pk}/" in html
    wrong.refresh_from_db()
    assert wrong.holder == found
    where = f"/subscriptions/{wrong.pk}/"
    assert site.client.post(f"{where}unlock/", {"reason": "is renamed"}).status_code == 302
    site.ask(found, SkipTask(stage_name="STEPS", task_name="compare_with_the_network", reason="is renamed"))
    change = site.done("Modify node", str(wrong.pk), name="PAR-9")
    site.decide(change, outcome="go")
    assert site.done("Validate node", str(wrong.pk)).state == "COMPLETED"


def test_beside_a_change_a_validation_holds_nothing(site):
    node = site.node()
    change = site.done("Modify node", str(node.pk))

    assert site.done("Validate node", str(node.pk)).state == "COMPLETED"

    node.refresh_from_db()
    assert node.holder == change
    site.decide(change, outcome="go")


def test_the_inventory_of_the_demo(site):
    inventory.fill()
    site.go_on()
    found = {(one.product.name, one.name): one for one in Subscription.objects.select_related("product", "holder")}

    assert {one.status for one in found.values()} == {"active", "provisioning", "disabled", "terminated"}
    assert found["Node", "PAR-1"].holder.business_ref_no == "CHANGE-PAR-1"
    assert found["Node", "AMS-9"].holder.state == "FAILED"
    assert not found["Node", "PAR-2"].in_sync
    assert found["Node", "LYR-1"].status == "terminated"
    assert found["Node", "AMS-1"].in_use_by.count() == 2

    events = LoggedEvent.objects.count()
    inventory.fill()
    assert LoggedEvent.objects.count() == events


def test_an_inventory_that_was_left_half_made_is_gone_on_with(site):
    rounds = iter([False] * 40)
    inventory.fill(stopping=lambda: next(rounds, True))
    assert not Subscription.objects.filter(values__contains="PAR-2").exists()

    inventory.fill()

    assert len({one.name for one in Subscription.objects.all()}) == Subscription.objects.count() == 11
