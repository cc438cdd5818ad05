"""Validating all subscriptions: each that may be is validated once, in chunks, whatever comes in between."""

import pytest

from tests.subscriptions.conftest import AT
from tests.subscriptions.flows import broken
from workflows import flows
from workflows.engine import commands as c
from workflows.models import Subscription, WorkflowInstance
from workflows.runtime import pausing
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.handling import handle
from workflows.runtime.publishing import publish_template
from workflows.subscriptions import startable, validating

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(validating, "SIZE", 2)


@pytest.fixture
def everything(nodes):
    return All(nodes)


class All:
    """A run of the workflow, with the clock and the steps that it needs."""

    def __init__(self, nodes):
        self.nodes = nodes
        publish_template(dict(flows.validate_all.template), by="tests", at=AT)

    def start(self, ref="NIGHT-1", **context):
        reference = Reference(validating.COMPONENT, ref, validating.TITLE)
        (answer,) = handle(Asked(c.StartWorkflow(ref, context=context), reference, actor="olivia"), at=AT)
        assert answer.applied, answer
        self.nodes.go_on()
        return self.nodes.instance(answer)

    def clock(self, times=1):
        for _ in range(times):
            validating.go_on(AT)
            self.nodes.go_on()

    def children(self):
        return WorkflowInstance.objects.filter(workflow_name="Validate node")


def test_all_that_may_be_are_validated_once_and_summed_up(everything, nodes):
    good = [nodes.make(f"Good {n}") for n in range(4)]
    held = nodes.make("Held")
    holder = nodes.run("Visit", held.pk)
    ended = nodes.make("Ended")
    nodes.run("Terminate node", ended.pk)
    instance = everything.start()

    everything.clock(10)

    instance.refresh_from_db()
    assert instance.state == "COMPLETED"
    said = instance.context
    assert (said["seen"], said["started"], said["not_started"]) == (5, 4, 1)
    assert said["why_not"] == [
        {"subscription_id": str(held.pk), "why": f"The subscription is held by Visit {holder.business_ref_no}."}
    ]
    assert (said["completed"], said["not_completed"], said["look_at"]) == (4, 0, [])
    assert sorted(one.context["subscription_id"] for one in everything.children()) == sorted(
        str(one.pk) for one in good
    )
    assert {one.started_by for one in everything.children()} == {"olivia"}
    assert all(one.in_sync for one in Subscription.objects.exclude(pk=held.pk))


def test_what_differs_is_named(everything, nodes):
    wrong = nodes.make("Wrong")
    broken.add("compare")
    instance = everything.start(product="node")

    everything.clock(4)

    instance.refresh_from_db()
    (child,) = everything.children()
    assert (instance.context["completed"], instance.context["not_completed"]) == (0, 1)
    assert instance.context["look_at"] == [
        {"subscription_id": str(wrong.pk), "instance_id": str(child.pk), "state": "FAILED"}
    ]
    assert nodes.node(wrong.pk).holder == child


def test_a_product_that_nobody_has_is_done_at_once(everything, nodes):
    nodes.make()
    instance = everything.start(product="none")

    everything.clock(3)

    instance.refresh_from_db()
    assert (instance.state, instance.context["seen"], everything.children().count()) == ("COMPLETED", 0, 0)


def test_a_chunk_that_was_started_before_its_signal_was_lost_is_not_started_twice(everything, nodes, monkeypatch):
    for n in range(3):
        nodes.make(f"Node {n}")
    instance = everything.start()
    with monkeypatch.context() as broken_signal:
        broken_signal.setattr(validating, "_signal", lambda *_, **__: None)
        validating.go_on(AT)
    assert everything.children().count() == 2

    everything.clock(6)

    instance.refresh_from_db()
    assert (instance.state, instance.context["started"], everything.children().count()) == ("COMPLETED", 3, 3)


@pytest.mark.parametrize("stop", [c.SuspendWorkflow(reason="too loud"), c.CancelWorkflow(reason="too loud")])
def test_it_can_be_stopped_between_two_chunks(everything, nodes, stop):
    for n in range(4):
        nodes.make(f"Node {n}")
    instance = everything.start()
    everything.clock()
    assert everything.children().count() == 2

    nodes.ask(instance, stop)
    everything.clock(3)

    assert everything.children().count() == 2
    if isinstance(stop, c.SuspendWorkflow):
        nodes.ask(instance, c.ResumeWorkflow())
        everything.clock(6)
        instance.refresh_from_db()
        assert (instance.state, everything.children().count()) == ("COMPLETED", 4)


def test_a_paused_engine_starts_none(everything, nodes):
    nodes.make()
    everything.start()
    pausing.pause(by="olivia", reason="quiet")
    pausing.known.forget()
    try:
        validating.go_on(AT)
        assert everything.children().count() == 0
    finally:
        pausing.resume(by="olivia")
        pausing.known.forget()

    everything.clock(4)

    assert everything.children().count() == 1


def test_it_waits_for_results_and_comes_by_again(everything, nodes, monkeypatch):
    nodes.make()
    instance = everything.start()
    validating.go_on(AT)
    # The child has begun, and none of its steps has run.
    monkeypatch.setattr(validating, "_GOING_ON", ("RUNNING", "COMPLETED"))
    nodes.go_on()
    assert validating.go_on(AT) == AT + validating._LOOK_AGAIN
    instance.refresh_from_db()
    assert instance.state == "RUNNING"
    monkeypatch.undo()

    everything.clock()

    instance.refresh_from_db()
    assert instance.state == "COMPLETED"


def test_nothing_to_do_is_one_query(everything, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert validating.go_on(AT) is None


def test_it_is_about_no_single_subscription(everything, nodes):
    assert validating.TITLE not in {one.workflow_name for one in startable(nodes.make().pk)}
