"""One workflow at a time changes a subscription: who takes it, who is refused, who puts it back in sync."""

import uuid

import pytest

from tests.builders import completed, not_undone, service, undo, workflow
from tests.subscriptions.conftest import AT
from tests.subscriptions.flows import broken
from workflows import failpoints
from workflows.engine.commands import (
    CancelWorkflow,
    CompleteTaskByHand,
    ReplayTask,
    RetryTask,
    RollBackWorkflow,
    SendSignal,
    SkipTask,
    SuspendWorkflow,
)
from workflows.messaging.port import Incoming
from workflows.messaging.receiving import receive
from workflows.models import (
    Product,
    QuarantinedMessage,
    Subscription,
    SubscriptionEvent,
    SubscriptionVersion,
    WorkflowInstance,
)
from workflows.runtime import quarantine
from workflows.runtime.asking import Outcome
from workflows.runtime.handling import handle
from workflows.runtime.publishing import publish_template
from workflows.subscriptions import startable, unlock

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def kinds(node):
    return list(SubscriptionEvent.objects.filter(subscription=node).order_by("pk").values_list("kind", flat=True))


def failed_modify(nodes, node):
    broken.add("tell")
    instance = nodes.run("Modify node", node.pk, name="Berlin")
    assert instance.state == "FAILED"
    assert nodes.node(node.pk).holder == instance
    return instance


def test_a_created_subscription_is_active_in_sync_and_has_all_its_versions(nodes):
    instance = nodes.run("Create node", name="Amsterdam")

    node = nodes.node(instance.context["subscription_id"])
    assert (node.status, node.in_sync, node.values) == ("active", True, {"name": "Amsterdam"})
    assert node.active_since is not None
    assert node.product.fixed_inputs == {"speed": "10G"}
    versions = SubscriptionVersion.objects.filter(subscription=node).order_by("version")
    assert [(one.version, one.status, one.task_name, one.instance_id) for one in versions] == [
        (1, "initial", "make_the_node", instance.pk),
        (2, "provisioning", "make_the_node", instance.pk),
        (3, "active", "switch_it_on", instance.pk),
    ]
    assert kinds(node) == ["CREATED", "RELEASED"]


def test_a_creation_that_fails_leaves_it_provisioning_and_held_and_goes_on_from_there(nodes):
    broken.add("activate")
    instance = nodes.run("Create node", name="Amsterdam")
    node = nodes.node(instance.context["subscription_id"])
    assert (instance.state, node.status, node.holder) == ("FAILED", "provisioning", instance)

    broken.clear()
    nodes.ask(instance, RetryTask("STEPS", "switch_it_on"))

    node = nodes.node(node.pk)
    assert (node.status, node.in_sync, node.version) == ("active", True, 3)


def test_a_start_takes_it_before_any_step_has_run(nodes):
    node = nodes.make()

    answer = nodes.start("Modify node", node.pk, name="Berlin")

    node = nodes.node(node.pk)
    assert node.holder_id == answer.instance.id
    assert node.values == {"name": "Amsterdam"}
    nodes.go_on()
    node = nodes.node(node.pk)
    assert (node.values, node.in_sync) == ({"name": "Berlin"}, True)
    assert kinds(node) == ["CREATED", "RELEASED", "TAKEN", "RELEASED"]


@pytest.mark.parametrize("title", ["Modify node", "Terminate node", "Attach", "Visit"])
def test_another_workflow_is_refused_with_who_holds_it(nodes, title):
    node = nodes.make()
    holder = failed_modify(nodes, node)
    before = WorkflowInstance.objects.count()

    answer = nodes.start(title, node.pk, name="Cologne")

    assert (answer.outcome, answer.code, answer.instance) == (Outcome.REFUSED, "subscription_held", None)
    assert answer.reason == f"The subscription is held by Modify node {holder.business_ref_no}."
    assert answer.details["subscription_id"] == str(node.pk)
    assert answer.details["holder"] == {
        "instance_id": str(holder.pk),
        "component_name": "NODES",
        "workflow_name": "Modify node",
        "business_ref_no": holder.business_ref_no,
    }
    assert WorkflowInstance.objects.count() == before


def test_two_starts_of_one_batch(nodes):
    node = nodes.make()
    other = nodes.make("Basel")
    named = {"subscription_id": str(node.pk), "name": "Berlin"}

    one, two, three = handle(
        nodes.asked("Modify node", **named),
        nodes.asked("Modify node", **named),
        nodes.asked("Modify node", **{**named, "subscription_id": str(other.pk)}),
        at=AT,
    )

    assert (one.applied, two.code, three.applied) == (True, "subscription_held", True)
    assert two.details["holder"]["instance_id"] == str(one.instance.id)


def test_the_same_start_twice_is_no_conflict(nodes):
    node = nodes.make()
    asked = nodes.asked("Modify node", subscription_id=str(node.pk), name="Berlin")

    first, again = handle(asked, at=AT) + handle(asked, at=AT)

    assert (first.created, again.outcome) == (True, Outcome.DUPLICATE)


@pytest.mark.parametrize("how", ["complete", "cancel", "roll back"])
def test_the_end_puts_it_back_in_sync(nodes, how):
    node = nodes.make()
    holder = failed_modify(nodes, node)

    broken.clear()
    command = {
        "complete": CompleteTaskByHand("STEPS", "tell_the_network", reason="by telephone"),
        "cancel": CancelWorkflow(reason="not needed"),
        "roll back": RollBackWorkflow(reason="not needed"),
    }[how]
    assert nodes.ask(holder, command).applied

    node = nodes.node(node.pk)
    assert node.in_sync
    # A rollback undoes what its steps did; a cancellation lets effects stand.
    assert node.values == {"name": "Amsterdam" if how == "roll back" else "Berlin"}
    assert nodes.start("Modify node", node.pk, name="Cologne").applied


def test_a_suspended_one_holds_on(nodes):
    node = nodes.make()
    holder = nodes.run("Visit", node.pk)
    nodes.ask(holder, SuspendWorkflow())

    assert nodes.start("Modify node", node.pk, name="B").code == "subscription_held"
    assert unlock(node.pk, by="olivia", reason="let go").code == "subscription_held"


def test_a_template_in_json_holds_it_until_it_is_undone(nodes):
    template = workflow(service("a", **undo()), service("b", "a"), target="MODIFY")
    publish_template({**template, "component_name": "NODES", "workflow_name": "By services"}, by="tests", at=AT)
    node = nodes.make()
    holder = nodes.instance(nodes.start("By services", node.pk))

    nodes.ask(holder, completed("a"))
    nodes.ask(holder, RollBackWorkflow(reason="not needed"))
    assert nodes.node(node.pk).holder == holder
    nodes.ask(holder, not_undone("a"))
    holder.refresh_from_db()
    assert (holder.state, nodes.node(node.pk).holder) == ("ROLLBACK_FAILED", holder)
    assert unlock(node.pk, by="olivia", reason="impatience").code == "subscription_held"
    nodes.ask(holder, SkipTask("S", "a", compensation=True, reason="no effect"))

    holder.refresh_from_db()
    assert (holder.state, nodes.node(node.pk).in_sync) == ("ROLLED_BACK", True)


def test_a_creation_that_is_rolled_back_ends_its_subscription(nodes):
    broken.add("activate")
    instance = nodes.run("Create node", name="Amsterdam")

    nodes.ask(instance, RollBackWorkflow(reason="not needed"))

    node = nodes.node(instance.context["subscription_id"])
    assert (node.status, node.in_sync) == ("terminated", True)


def test_a_half_made_one_can_be_terminated_after_its_creation_was_cancelled(nodes):
    broken.add("activate")
    instance = nodes.run("Create node", name="Amsterdam")
    nodes.ask(instance, CancelWorkflow(reason="not needed"))
    node = nodes.node(instance.context["subscription_id"])
    assert (node.status, node.in_sync) == ("provisioning", True)

    assert nodes.run("Terminate node", node.pk).state == "COMPLETED"

    node = nodes.node(node.pk)
    assert node.status == "terminated"
    assert node.terminated_at is not None
    assert nodes.start("Modify node", node.pk, name="B").code == "subscription_status"


@pytest.mark.parametrize("point", ["before_write", "log_written", "before_commit"])
def test_a_start_that_breaks_off_holds_nothing(nodes, point):
    node = nodes.make()
    failpoints.arm(f"{point}=raise", allowed=True)
    try:
        with pytest.raises(failpoints.Injected):
            nodes.start("Modify node", node.pk, name="Berlin")
    finally:
        failpoints.arm(None, allowed=True)

    assert nodes.node(node.pk).in_sync
    assert kinds(node) == ["CREATED", "RELEASED"]
    assert nodes.run("Modify node", node.pk, name="Berlin").state == "COMPLETED"


def test_an_end_that_breaks_off_holds_on(nodes):
    node = nodes.make()
    holder = failed_modify(nodes, node)
    failpoints.arm("before_commit=raise", allowed=True)
    try:
        with pytest.raises(failpoints.Injected):
            nodes.ask(holder, CancelWorkflow(reason="enough"))
    finally:
        failpoints.arm(None, allowed=True)

    assert nodes.node(node.pk).holder == holder
    assert nodes.ask(holder, CancelWorkflow(reason="enough")).applied
    assert nodes.node(node.pk).in_sync


# --- Those that may run beside -----------------------------------------------------------------------------------


def test_a_validation_beside_a_failed_modification_lets_nobody_in(nodes):
    node = nodes.make()
    holder = failed_modify(nodes, node)

    assert nodes.run("Validate node", node.pk).state == "COMPLETED"

    assert nodes.node(node.pk).holder == holder
    assert nodes.start("Modify node", node.pk, name="Cologne").code == "subscription_held"
    broken.clear()
    nodes.ask(holder, RetryTask("STEPS", "tell_the_network"))
    assert nodes.node(node.pk).in_sync
    assert nodes.run("Modify node", node.pk, name="Cologne").state == "COMPLETED"


def test_a_validation_that_finds_a_difference_keeps_it_out_of_sync_until_unlocked(nodes):
    node = nodes.make()
    broken.add("compare")
    found = nodes.run("Validate node", node.pk)
    assert (found.state, nodes.node(node.pk).holder) == ("FAILED", found)
    assert nodes.start("Modify node", node.pk, name="B").code == "subscription_held"

    assert unlock(node.pk, by="olivia", reason="repaired by hand").outcome is Outcome.APPLIED

    node = nodes.node(node.pk)
    assert node.in_sync
    told = SubscriptionEvent.objects.filter(subscription=node).latest("pk")
    assert (told.kind, told.actor, told.reason) == ("UNLOCKED", "olivia", "repaired by hand")
    assert told.instance_id == found.pk
    # Its end, later, lets go of nothing that another one holds by now.
    holder = failed_modify(nodes, node)
    broken.discard("compare")
    nodes.ask(found, RetryTask("STEPS", "compare_with_the_network"))
    assert nodes.node(node.pk).holder == holder


def test_a_validation_that_finds_nothing_puts_it_back(nodes):
    node = nodes.make()

    assert nodes.run("Validate node", node.pk).state == "COMPLETED"

    assert nodes.node(node.pk).in_sync
    assert kinds(node)[-2:] == ["TAKEN", "RELEASED"]


def test_one_that_runs_out_of_sync_runs_beside_and_may_not_change_it(nodes):
    node = nodes.make()
    failed_modify(nodes, node)

    assert nodes.run("Modify note", node.pk).state == "COMPLETED"
    meddler = nodes.run("Meddle", node.pk)

    assert meddler.state == "FAILED"
    error = meddler.tasks.get().error
    assert error["code"] == "NotTheHolder"
    assert nodes.node(node.pk).values == {"name": "Berlin"}


# --- Relations ---------------------------------------------------------------------------------------------------


def test_held_parents_and_children_of_any_degree_keep_others_out(nodes):
    top, middle, bottom, aside = (nodes.make(name) for name in ("Top", "Middle", "Bottom", "Aside"))
    nodes.run("Attach", top.pk, other=str(middle.pk))
    nodes.run("Attach", middle.pk, other=str(bottom.pk))
    nodes.run("Attach", aside.pk, other=str(bottom.pk))
    holder = failed_modify(nodes, bottom)

    for node in (top, middle, aside):
        answer = nodes.start("Modify node", node.pk, name="B")
        assert (answer.code, answer.details["subscription_id"]) == ("subscription_held", str(bottom.pk))
        assert answer.details["holder"]["instance_id"] == str(holder.pk)
    nodes.ask(holder, CancelWorkflow(reason="enough"))
    broken.clear()

    # Two that use the same one are not in each other's way.
    held = nodes.run("Visit", top.pk)
    assert nodes.start("Modify node", bottom.pk, name="B").code == "subscription_held"
    assert nodes.run("Modify node", aside.pk, name="B").state == "COMPLETED"
    nodes.ask(held, SendSignal("engineer", payload={"by": "Ed"}))
    assert nodes.node(top.pk).in_sync


def test_what_is_used_is_not_terminated(nodes):
    port, node = nodes.make("Port"), nodes.make("Node")
    nodes.run("Attach", port.pk, other=str(node.pk))

    answer = nodes.start("Terminate node", node.pk)

    assert (answer.code, answer.details) == ("subscription_in_use", {"used_by": [str(port.pk)]})
    nodes.run("Terminate node", port.pk)
    assert nodes.run("Terminate node", node.pk).state == "COMPLETED"


def test_a_relation_is_made_by_a_holder_and_never_in_a_circle(nodes):
    one, two = nodes.make("One"), nodes.make("Two")
    nodes.run("Attach", one.pk, other=str(two.pk))

    assert nodes.run("Attach", two.pk, other=str(one.pk)).state == "FAILED"
    nodes.ask(WorkflowInstance.objects.latest("pk"), CancelWorkflow(reason="a circle"))
    assert nodes.run("Detach", one.pk, other=str(two.pk)).state == "COMPLETED"
    assert nodes.run("Attach", two.pk, other=str(one.pk)).state == "COMPLETED"
    assert kinds(one).count("RELATED") == kinds(one).count("UNRELATED") == 1


def test_a_relation_to_one_that_somebody_else_holds_is_refused(nodes):
    one, two = nodes.make("One"), nodes.make("Two")
    nodes.run("Visit", two.pk)

    instance = nodes.run("Attach", one.pk, other=str(two.pk))

    assert instance.state == "FAILED"
    assert not one.depends_on.exists()


def test_nobody_is_related_to_a_family_of_which_somebody_else_holds_one(nodes):
    one, two, three = nodes.make("One"), nodes.make("Two"), nodes.make("Three")
    nodes.run("Attach", two.pk, other=str(three.pk))
    visit = nodes.run("Visit", three.pk)

    instance = nodes.run("Attach", one.pk, other=str(two.pk))

    assert instance.state == "FAILED"
    assert not one.depends_on.exists()
    nodes.ask(visit, CancelWorkflow(reason="over"))
    nodes.ask(instance, RetryTask("STEPS", "reach_the_port"))
    assert one.depends_on.get().child_id == two.pk


# --- Unlocking, replays, refusals --------------------------------------------------------------------------------


def test_unlocking_is_refused_while_its_holder_has_not_ended_and_idle_afterwards(nodes):
    node = nodes.make()
    holder = failed_modify(nodes, node)

    answer = unlock(node.pk, by="olivia", reason="impatience")

    assert answer.code == "subscription_held"
    assert answer.details["holder"]["business_ref_no"] == holder.business_ref_no
    nodes.ask(holder, CancelWorkflow(reason="enough"))
    assert unlock(node.pk, by="olivia", reason="impatience").outcome is Outcome.DUPLICATE
    assert nodes.node(node.pk).values == {"name": "Berlin"}
    assert "UNLOCKED" not in kinds(node)
    assert unlock(uuid.uuid4(), by="olivia", reason="why").code == "unknown_subscription"


def test_a_replay_gets_hold_of_it_first(nodes):
    node = nodes.make()
    done = nodes.run("Modify node", node.pk, name="Berlin")
    holder = failed_modify(nodes, node)

    replay = ReplayTask("STEPS", "tell_the_network", reason="again")
    answer = nodes.ask(done, replay)
    assert (answer.code, answer.details["holder"]["instance_id"]) == ("subscription_held", str(holder.pk))
    done.refresh_from_db()
    assert done.state == "COMPLETED"

    nodes.ask(holder, CancelWorkflow(reason="enough"))
    assert nodes.ask(done, replay).applied
    assert nodes.node(node.pk).holder == done
    broken.clear()
    nodes.ask(done, RetryTask("STEPS", "tell_the_network"))
    assert nodes.node(node.pk).in_sync


def test_a_start_about_nothing(nodes):
    node = nodes.make()

    assert nodes.start("Modify node", "no id", name="B").code == "invalid_body"
    assert nodes.start("Modify node", uuid.uuid4(), name="B").code == "unknown_subscription"
    stale = nodes.start("Modify node", node.pk, name="B", subscription_version=2)
    assert (stale.code, stale.reason) == (
        "precondition_failed",
        "The subscription is at version 3; the start was made for version 2.",
    )
    assert nodes.start("Modify node", node.pk, name="B", subscription_version=3).applied


def test_a_workflow_without_a_target_takes_nothing(nodes):
    node = nodes.make()
    publish_template(workflow(service("a"), component_name="NODES", workflow_name="Plain"), by="tests", at=AT)

    assert nodes.start("Plain", node.pk).applied
    assert nodes.start("Plain", "no id").applied

    assert nodes.node(node.pk).in_sync


def test_a_refused_start_from_the_bus_waits_in_quarantine_and_can_be_handed_in_again(nodes):
    node = nodes.make()
    holder = failed_modify(nodes, node)
    said = (
        '{"event_name": "StartWorkflow", "component_name": "NODES", "workflow_name": "Modify node",'
        f' "business_ref_no": "BUS-1", "context": {{"subscription_id": "{node.pk}", "name": "Cologne"}}}}'
    )

    receive([Incoming(said.encode())], at=AT)

    held = QuarantinedMessage.objects.get()
    assert held.code == "subscription_held"
    assert quarantine.resubmit(held, by="olivia", at=AT).code == "subscription_held"
    held.refresh_from_db()
    assert held.state == "OPEN"
    nodes.ask(holder, CancelWorkflow(reason="enough"))
    assert quarantine.resubmit(held, by="olivia", at=AT).applied


def test_which_workflows_may_start_and_why_not_the_others(nodes):
    node = nodes.make()
    assert {one.workflow_name: one.refusal and one.refusal.code for one in startable(node.pk)} == {
        "Create node": "subscription_status",
        **dict.fromkeys(
            ("Modify node", "Attach", "Detach", "Meddle", "Modify note", "Terminate node", "Validate node", "Visit")
        ),
    }

    failed_modify(nodes, node)

    found = {one.workflow_name: one for one in startable(node.pk)}
    assert {name for name, one in found.items() if one.may_start} == {"Validate node", "Modify note", "Meddle"}
    assert all(one.beside for one in found.values() if one.may_start)
    assert found["Terminate node"].refusal.code == "subscription_held"
    # What it says is what a start is told.
    for name, one in found.items():
        answer = nodes.start(name, node.pk, name="B", other=str(node.pk))
        assert answer.applied is one.may_start, name
        if not one.may_start:
            assert (answer.code, answer.reason) == (one.refusal.code, one.refusal.reason)
    with pytest.raises(LookupError):
        startable(uuid.uuid4())


def test_workflows_for_other_products_are_neither_listed_nor_started(nodes):
    node = nodes.make()
    other = Product.objects.create(name="port", values_schema={}, fixed_inputs={}, created_at=AT, updated_at=AT)
    Subscription.objects.filter(pk=node.pk).update(product=other)

    assert "Modify node" not in {one.workflow_name for one in startable(node.pk)}
    answer = nodes.start("Modify node", node.pk, name="B")
    assert (answer.code, answer.reason) == ("wrong_product", "Modify node is for node, not for port.")
