"""Workflows that Python says: compiled to templates, run by the engine like any other, atomic step by step."""

import datetime as dt

import pytest
from django.contrib.auth.models import Group

from tests.builders import expected_of, plugin
from tests.steps import flows
from workflows.definitions.parsing import parse_template
from workflows.engine.commands import DecideTask, RetryTask, SendSignal, StartWorkflow
from workflows.models import LoggedEvent, TaskInstance, WorkflowInstance
from workflows.runtime import plugins
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.deadlines import fire_due
from workflows.runtime.handling import handle
from workflows.runtime.publishing import publish_template
from workflows.runtime.replay import check_history
from workflows.steps import activity, begin, conditional, focus, group, inputstep, step, workflow
from workflows.steps.runner import StepRunner

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _clean():
    flows.calls.clear()
    flows.broken.clear()
    Group.objects.create(name="backoffice")


def started(template, **context):
    publish_template(dict(template), by="tests", at=AT)
    reference = Reference(template["component_name"], "R-1", template["workflow_name"])
    (answer,) = handle(Asked(StartWorkflow("R-1", context=context), reference, actor="tests"), at=AT)
    assert answer.applied, answer
    return WorkflowInstance.objects.get()


def alone(step, **context):
    """An instance of a workflow with one step."""

    def one():
        return begin >> step

    one.__qualname__ = "one"
    return started(workflow("Alone", component="FLOWS")(one).template, **context)


def go_on(at=AT):
    runner = StepRunner(now=lambda: at)
    events = -1
    while events != (events := LoggedEvent.objects.count()):
        runner.run_due()
    instance = WorkflowInstance.objects.get()
    assert check_history(instance) == []
    return instance


def states():
    return dict(TaskInstance.objects.order_by("position").values_list("task_name", "state"))


def error(task):
    return TaskInstance.objects.get(task_name=task).error


def decide(data):
    command = DecideTask("STEPS", "check_the_address", by="bea", groups=("backoffice",), operator=True, data=data)
    (answer,) = handle(Asked(command, WorkflowInstance.objects.get().pk, actor="bea"), at=AT)
    assert answer.applied, answer


ADDRESS = {"city": "Delft"}


def test_a_chain_is_the_template_that_json_would_give():
    template = flows.order.template

    assert parse_template(template).definition.workflow_name == "Order"
    assert (flows.order.name, flows.order.target) == ("tests.steps.flows.order", "CREATE")
    (stage,) = template["stages"]
    assert [task["task_name"] for task in stage["tasks"]] == [
        "reserve_stock", "check_the_address", "call_the_customer", "send_a_gift", "charge", "ship"
    ]  # fmt: skip
    assert stage["tasks"][0] == {
        "task_name": "reserve_stock",
        "title": "Reserve stock",
        "task_type": "STEP",
        "step": "tests.steps.flows.reserve",
        "retry": {"max_attempts": 2},
        "timeout_seconds": 30,
        "compensate": {"step": "tests.steps.flows.release"},
    }
    assert stage["tasks"][1]["task_type"] == "HUMAN"
    assert stage["tasks"][2]["step"] == "tests.steps.flows.order.call_the_customer"
    assert [task.get("parent_task") for task in stage["tasks"][:3]] == [None, ["reserve_stock"], ["check_the_address"]]


def test_the_same_code_is_the_same_version_and_other_code_the_next():
    first = publish_template(dict(flows.order.template), by="tests")
    assert not publish_template(dict(flows.order.template), by="tests").created

    def order():
        return begin >> flows.reserve

    order.__qualname__ = "order"
    other = publish_template(dict(workflow("Order", component="FLOWS")(order).template), by="tests")
    assert (first.template.version, other.template.version) == (1, 2)


def test_it_runs_to_its_end_and_the_history_tells_what_each_step_changed():
    started(flows.order.template, amount=7, vip=True, address={"city": "?"})
    go_on()
    assert states()["check_the_address"] == "SCHEDULED"
    decide(ADDRESS)

    instance = go_on()

    assert instance.state == "COMPLETED"
    # The first of the two conditional steps has changed the answer for the second.
    assert flows.calls == ["reserve", "call", "charge", "ship"]
    assert states()["send_a_gift"] == "SKIPPED"
    assert instance.context == {
        "amount": 7,
        "address": {"city": "?"},
        "vip": False, "reserved": 7, **ADDRESS, "charged": "7 EUR", "shipped": True
    }  # fmt: skip
    changes = {event.task_name: event.data.get("output") for event in LoggedEvent.objects.filter(event="TaskCompleted")}
    assert changes["call_the_customer"] == {"vip": False}


def test_what_fails_is_tried_again_from_the_state_before_and_then_all_is_undone_newest_first():
    flows.broken.add("ship")
    started(flows.order.template, amount=7, vip=False, address={"city": "?"})
    go_on()
    decide(ADDRESS)

    instance = go_on()

    assert instance.state == "ROLLED_BACK"
    assert flows.calls == ["reserve", "charge", "ship", "refund", "release"]
    # What the failing step wrote is gone; what the others wrote stays.
    assert set(Group.objects.values_list("name", flat=True)) == {
        "backoffice", "reserve 1", "charge 2", "refund 4", "release 5"
    }  # fmt: skip


def test_a_step_is_retried_for_ever_by_hand():
    flows.broken.add("gift")
    instance = alone(flows.gift)
    for attempt in range(1, 6):
        assert go_on().state == "FAILED"
        assert error("send_a_gift") == {"code": "LookupError", "message": "gift is broken", "details": None}
        (answer,) = handle(
            Asked(RetryTask("STEPS", "send_a_gift", attempt=attempt, reason="again"), instance.pk, actor="olga"), at=AT
        )
        assert answer.applied, answer
    flows.broken.clear()

    assert go_on().state == "COMPLETED"
    assert Group.objects.filter(name__startswith="gift").count() == 1


def test_a_retrystep_is_tried_again_by_itself():
    flows.broken.add("again")
    started(flows.patient.template)
    at = AT
    for _ in range(5):
        go_on(at)
        assert states() == {"try_again": "WAITING"}
        at += dt.timedelta(seconds=60)
        assert fire_due(at) == 1
    flows.broken.clear()

    assert go_on(at).state == "COMPLETED"


def test_focused_steps_see_and_change_one_key():
    instance = started(flows.focused.template, other=1, box={"count": 5})
    instance = go_on()
    assert instance.context == {"other": 1, "box": {"count": 7, "seen": ["count", "seen"]}}


def test_focus_on_what_is_no_object_fails():
    started(flows.focused.template, box=3)
    assert go_on().state == "FAILED"
    assert error("look_inside")["code"] == "not_an_object"


def test_a_group_is_one_task_and_undone_as_one():
    started(flows.grouped.template, amount=3)

    assert go_on().state == "ROLLED_BACK"

    assert states() == {"both_at_once": "COMPENSATED", "nothing_today": "SKIPPED", "give_up": "FAILED"}
    assert flows.calls == ["reserve", "charge", "nothing", "give up", "refund", "release"]
    assert not Group.objects.filter(name__startswith="nothing").exists()


def test_a_group_that_fails_in_its_middle_has_written_nothing():
    flows.broken.add("charge")
    started(flows.grouped.template, amount=3)

    assert go_on().state == "ROLLED_BACK"
    assert not Group.objects.filter(name__startswith="reserve").exists()


def test_a_step_that_waits_goes_on_with_its_signal():
    instance = alone(flows.ask)
    go_on()
    assert states() == {"ask_a_fellow": "WAITING"}

    handle(Asked(SendSignal("answer", payload={"yes": True}), instance.pk, actor="tests"), at=AT)

    assert go_on().context == {"said": {"yes": True}}


@pytest.mark.parametrize("one", [flows.commits, flows.commits_by_hand, flows.durable, flows.rolls_back])
def test_a_step_cannot_end_the_transaction_that_it_runs_in(one):
    alone(one)

    assert go_on().state == "FAILED"

    (task,) = states()
    assert error(task)["code"] == "transaction_ended"
    assert "may not commit" in error(task)["message"]
    assert set(Group.objects.values_list("name", flat=True)) == {"backoffice"}


def test_a_part_of_a_step_may_fail_alone():
    alone(flows.part)
    assert go_on().context == {"part": True}
    assert set(Group.objects.values_list("name", flat=True)) == {"backoffice", "kept 1"}


@pytest.mark.parametrize(("one", "code", "says"), [
    (flows.answers_a_set, "not_json", "/a/b/1: a set cannot be kept"),
    (flows.answers_much, "output_too_large", "300,"),
    (flows.wants, "MissingKey", "The state has no 'nowhere'."),
])  # fmt: skip
def test_what_cannot_be_kept_fails_the_step_and_says_why(one, code, says):
    alone(one)
    assert go_on().state == "FAILED"
    (task,) = states()
    assert error(task)["code"] == code
    assert says in error(task)["message"]


def test_a_step_is_a_function_for_its_own_tests():
    assert flows.inside({"count": 1}) == {"seen": ["count"], "count": 2}


def test_an_activity_in_a_chain_is_a_stage_of_its_own_and_what_follows_is_another():
    def processed():
        return begin >> flows.reserve >> activity("intake") >> activity("intake", stage="again") >> flows.ship

    processed.__qualname__ = "processed"
    template = workflow("Processed", component="FLOWS")(processed).template
    assert [(one["stage_name"], one.get("activity"), len(one.get("tasks", ()))) for one in template["stages"]] == [
        ("STEPS", None, 1), ("intake", "intake", 0), ("again", "intake", 0), ("STEPS_2", None, 1)
    ]  # fmt: skip

    bill = plugin({"task_name": "bill", "task_type": "STEP", "step": flows.charge.name})
    undo = plugins.ask_with(lambda _, phase, __: expected_of({"parallel": [bill]}, phase))
    try:
        started(template, amount=7, address={})
        instance = go_on()
    finally:
        undo()

    assert instance.state == "COMPLETED"
    assert flows.calls == ["reserve", "charge", "charge", "ship"]


def test_mistakes_are_told_when_the_module_is_loaded():
    with pytest.raises(TypeError, match="is no step"):
        begin >> len
    with pytest.raises(TypeError, match="done by people"):
        conditional(bool)(inputstep("Ask", assigned_to="x"))
    with pytest.raises(TypeError, match="is an activity"):
        conditional(bool)(begin >> activity("intake"))
    with pytest.raises(TypeError, match="cannot stand in a group"):
        group("G", begin >> activity("intake"), name="g")
    with pytest.raises(TypeError, match="cannot stand in a group"):
        group("G", begin >> inputstep("Ask", assigned_to="x"), name="g")
    with pytest.raises(ValueError, match="two steps named"):
        step(name="tests.steps.flows.ship")(lambda state: None)
    with pytest.raises(ValueError, match="not a function of a module"):
        step("Local")(lambda state: None)
    assert len(focus("a")(flows.gift, flows.ship).elements) == 2
