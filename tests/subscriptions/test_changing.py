"""What steps may do to a subscription, and what is kept of it."""

import uuid
from dataclasses import dataclass

import pytest
from django.core.management import CommandError, call_command

from tests.subscriptions.conftest import AT
from workflows import subscriptions
from workflows.models import Product, Subscription, SubscriptionEvent, SubscriptionVersion, WorkflowInstance
from workflows.subscriptions import checking
from workflows.subscriptions.differences import Difference, differences

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@dataclass
class Task:
    """What a step is told, as far as changes read it."""

    instance_id: str
    stage_name: str = "STEPS"
    task_name: str = "hands_on"
    attempt: int = 1
    compensation: bool = False


@pytest.fixture
def held(nodes):
    """An active node that the task's instance holds."""
    node = nodes.make()
    instance = nodes.run("Visit", node.pk)
    return node, Task(str(instance.pk))


def test_keys_replace_those_that_are_there_and_others_are_taken_away(nodes, held):
    node, task = held

    subscriptions.change(task, node.pk, values={"ports": (1, 2), "site": {"city": "Bonn", "floor": 3}})
    changed = subscriptions.change(task, str(node.pk), values={"site": {"city": "Köln"}}, without=["ports"])

    assert changed.values == {"name": "Amsterdam", "site": {"city": "Köln"}}
    assert nodes.node(node.pk).values == changed.values
    before, after = SubscriptionVersion.objects.filter(subscription=node, version__gte=4).order_by("version")
    assert subscriptions.versions_apart(before, after) == [
        Difference("/ports", "removed", before=[1, 2]),
        Difference("/site/city", "changed", "Bonn", "Köln"),
        Difference("/site/floor", "removed", before=3),
    ]
    assert (after.instance_id, after.task_name) == (uuid.UUID(task.instance_id), "hands_on")


def test_what_changes_nothing_is_no_version(nodes, held):
    node, task = held

    subscriptions.change(task, node.pk, values={"name": "Amsterdam"}, status="active")

    assert nodes.node(node.pk).version == 3


def test_values_fit_the_schema_or_nothing_is_kept(nodes, held):
    node, task = held

    with pytest.raises(subscriptions.InvalidValues) as caught:
        subscriptions.change(task, node.pk, values={"name": "", "colour": "red"})
    assert {problem.pointer for problem in caught.value.problems} == {"/name", "/colour"}
    with pytest.raises(subscriptions.InvalidValues, match="/name"):
        subscriptions.change(task, node.pk, without=["name"])
    with pytest.raises(TypeError):
        subscriptions.change(task, node.pk, values={"site": object()})
    with pytest.raises(ValueError):
        subscriptions.change(task, node.pk, values={"site": {"at": float("nan")}})

    assert nodes.node(node.pk).version == 3


MOVES = {
    "initial": {"provisioning", "terminated"},
    "provisioning": {"active", "terminated"},
    "active": {"migrating", "disabled", "terminated"},
    "migrating": {"active", "disabled", "terminated"},
    "disabled": {"active", "terminated"},
    "terminated": set(),
}


@pytest.mark.parametrize("source", MOVES)
def test_the_table_of_moves(nodes, held, source):
    node, task = held
    for target in MOVES:
        Subscription.objects.filter(pk=node.pk).update(status=source)
        if target == source:
            assert subscriptions.change(task, node.pk, status=target).status == source
        elif target in MOVES[source]:
            assert subscriptions.change(task, node.pk, status=target).status == target
        else:
            with pytest.raises(subscriptions.IllegalMove, match=f"is {source}; it cannot become {target}"):
                subscriptions.change(task, node.pk, status=target)
    with pytest.raises(ValueError):
        subscriptions.change(task, node.pk, status="asleep")
    newest = SubscriptionVersion.objects.filter(subscription=node).latest("version")
    Subscription.objects.filter(pk=node.pk).update(status=newest.status)


def test_the_status_changes_only_through_its_machine(nodes):
    with pytest.raises(AttributeError):
        nodes.make().status = "terminated"


def test_nobody_but_the_holder_changes_it(nodes, held):
    node, task = held
    other = nodes.make("Other")
    for key in (other.pk, str(other.pk)):
        with pytest.raises(subscriptions.NotTheHolder, match="held by nobody"):
            subscriptions.change(task, key, values={"name": "mine"})
    with pytest.raises(subscriptions.NotTheHolder, match=f"held by the instance {task.instance_id}"):
        subscriptions.change(Task(str(uuid.uuid4())), node.pk, values={"name": "mine"})
    for key in ("nonsense", uuid.uuid4()):
        with pytest.raises(subscriptions.UnknownSubscription):
            subscriptions.change(task, key, values={"name": "mine"})


def test_putting_back_gives_what_was_before_the_instance(nodes, held):
    node, task = held
    subscriptions.change(task, node.pk, values={"name": "B"})
    subscriptions.change(task, node.pk, values={"name": "C"}, status="migrating")

    put = subscriptions.put_back(task, node.pk, status="active")

    assert (put.values, put.status, put.version) == ({"name": "Amsterdam"}, "active", 6)


def test_making_one_needs_a_product_and_a_workflow_with_a_target(nodes, held):
    from tests.builders import service, workflow
    from workflows.runtime.publishing import publish_template

    _, task = held
    with pytest.raises(subscriptions.UnknownProduct):
        subscriptions.create(task, product="nothing", customer="ACME")
    publish_template(workflow(service("a"), component_name="NODES", workflow_name="Plain"), by="tests", at=AT)
    plain = nodes.instance(nodes.start("Plain"))
    with pytest.raises(subscriptions.NotTheHolder, match="no target"):
        subscriptions.create(Task(str(plain.pk)), product="node", customer="ACME")
    made = subscriptions.create(task, product="node", customer="ACME", note="a spare one")
    # `initial` may be incomplete; from provisioning on it may not.
    with pytest.raises(subscriptions.InvalidValues):
        subscriptions.change(task, made.pk, status="provisioning")
    assert nodes.node(made.pk).status == "initial"


def test_a_note_is_kept_whoever_holds_it(nodes, held):
    node, _ = held

    assert subscriptions.note(node.pk, text="Call before ten", by="olivia", at=AT).applied
    subscriptions.note(node.pk, text="Call before ten", by="olivia", at=AT)

    assert nodes.node(node.pk).note == "Call before ten"
    told = SubscriptionEvent.objects.get(subscription=node, kind="NOTED")
    assert (told.actor, told.data) == ("olivia", {"before": "", "after": "Call before ten"})
    assert subscriptions.note(uuid.uuid4(), text="", by="olivia").code == "unknown_subscription"


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1.5}, [Difference("/a", "changed", 1, 1.5)]),
        ({"a": 1}, {"a": True}, [Difference("/a", "changed", 1, True)]),
        ({"a": None}, {}, [Difference("/a", "removed", before=None)]),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, [Difference("/a/1", "changed", 2, 3), Difference("/a/2", "added", after=4)]),
        ({"a/b": {"~": 1}}, {"a/b": {"~": 2}}, [Difference("/a~1b/~0", "changed", 1, 2)]),
        ({"a": {"b": 1}}, {"a": [1]}, [Difference("/a", "changed", {"b": 1}, [1])]),
    ],
)
def test_differences(before, after, found):
    assert list(differences(before, after)) == found


def test_checking_finds_what_was_done_behind_the_door(nodes):
    node = nodes.make()
    version = SubscriptionVersion.objects.get(subscription=node, version=3)
    taken = nodes.instance(nodes.start("Visit"))

    Subscription.objects.filter(pk=node.pk).update(values={"name": "Nobody did it"}, holder=taken, held_since=AT)

    assert checking.check_subscription(nodes.node(node.pk)) == [
        "the row says active and other values than version 3",
        f"the row says that {taken.pk} holds it, the history None",
    ]
    with pytest.raises(CommandError, match="1 subscriptions disagree"):
        call_command("check_history")
    Subscription.objects.filter(pk=node.pk).update(values=version.values, holder=None, held_since=None)
    call_command("check_history")


def test_products_are_defined_once_and_changed_later(nodes, tmp_path):
    same = subscriptions.define_product("port", values_schema={"type": "object"}, at=AT)
    assert subscriptions.define_product("port", values_schema={"type": "object"}).updated_at == same.updated_at
    file = tmp_path / "port.json"
    file.write_text('{"name": "port", "values_schema": {"type": "object"}, "tag": "NET"}')
    call_command("define_product", str(file))
    assert Product.objects.get(name="port").tag == "NET"
    with pytest.raises(subscriptions.InvalidProduct) as caught:
        subscriptions.define_product(" ", values_schema={"pattern": "a*"}, fixed_inputs=[1])
    assert {problem.pointer for problem in caught.value.problems} == {
        "/name",
        "/values_schema/pattern",
        "/fixed_inputs",
    }
    file.write_text('{"name": "port", "colour": 1}')
    with pytest.raises(CommandError, match="/colour") as told:
        call_command("define_product", str(file))
    assert "/values_schema" in str(told.value)


def test_a_failed_step_leaves_no_version(nodes):
    from tests.subscriptions.flows import broken

    node = nodes.make()
    broken.add("rename")
    assert nodes.run("Modify node", node.pk, name="Berlin").state == "FAILED"

    node = nodes.node(node.pk)
    assert (node.version, node.values) == (3, {"name": "Amsterdam"})
    assert WorkflowInstance.objects.get(pk=node.holder_id).workflow_name == "Modify node"
