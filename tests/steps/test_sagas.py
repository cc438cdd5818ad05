"""Sagas: linear up, linear down, and steps that wait for somebody in both directions."""

import datetime as dt

import pytest
from django.contrib.auth.models import Group

from tests.steps import flows
from tests.steps.test_flows import AT, go_on, started, states
from workflows.definitions.parsing import parse_template
from workflows.engine.commands import RollBackWorkflow, SendSignal
from workflows.models import TaskInstance, WorkflowInstance
from workflows.runtime.asking import Asked
from workflows.runtime.deadlines import fire_due
from workflows.runtime.handling import handle
from workflows.runtime.loading import snapshots
from workflows.runtime.replay import check_history
from workflows.steps import Retry, Skipped, StepTask, Waiting, begin, conditional, focus, group, step, workflow

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _clean():
    flows.calls.clear()
    flows.broken.clear()
    Group.objects.create(name="backoffice")


def tell(command, at=AT):
    (answer,) = handle(Asked(command, WorkflowInstance.objects.get().pk, actor="olga"), at=at)
    return answer


def test_up_and_down_with_a_hotel_that_answers_later():
    started(flows.trip.template, address={})
    go_on()
    assert states()["book_the_hotel"] == "WAITING"
    flows.broken.add("ship")
    assert tell(SendSignal("hotel_booked", payload={"name": "Ritz"})).applied

    go_on()
    assert flows.calls == ["book flight", "book hotel", "ship", "cancel hotel"]
    assert states()["book_the_hotel"] == "COMPENSATING"
    # The runner does not ask again and again while it waits.
    assert TaskInstance.objects.get(task_name="book_the_hotel").queue == ""
    assert tell(SendSignal("hotel_cancelled", payload={"fee": 30})).applied

    assert go_on().state == "ROLLED_BACK"
    assert flows.calls[3:] == ["cancel hotel", "hotel cancelled", "cancel flight"]


def test_a_step_that_waits_in_vain_may_have_had_its_effect_and_is_undone_first():
    started(flows.trip.template, address={})
    go_on()
    late = AT + dt.timedelta(seconds=60)
    assert fire_due(late) == 1

    go_on(late)

    assert flows.calls == ["book flight", "book hotel", "cancel hotel"]
    snapshots.forget()
    tell(SendSignal("hotel_cancelled", payload={"fee": 0}))
    assert go_on(late).state == "ROLLED_BACK"
    assert flows.calls[3:] == ["hotel cancelled", "cancel flight"]


def test_a_rollback_from_outside_undoes_what_waits_and_its_answer_is_nobodys():
    started(flows.trip.template, address={})
    go_on()

    assert tell(RollBackWorkflow(reason="the customer is ill")).applied
    assert not tell(RollBackWorkflow(reason="again")).created
    go_on()
    tell(SendSignal("hotel_booked", payload={"name": "Ritz"}))
    go_on()

    assert flows.calls == ["book flight", "book hotel", "cancel hotel"]
    tell(SendSignal("hotel_cancelled", payload={"fee": 30}))
    assert go_on().state == "ROLLED_BACK"
    assert flows.calls[3:] == ["hotel cancelled", "cancel flight"]


# --- What undoes a step sees what the step saw --------------------------------------------------------------------


@step("Take out of the box", timeout=90, retry=Retry(max_attempts=3))
def take_out(task: StepTask, amount: int):
    flows.note(f"take {amount}, {task.output['put']} of {sorted(task.context)}")


@step("Put into the box", compensate=take_out)
def put_in(amount: int) -> dict:
    return {"put": amount + 1}


@workflow("Boxed", component="FLOWS", on_failure="rollback")
def boxed():
    return begin >> conditional(lambda state: state["box"]["amount"] == 3)(focus("box")(put_in)) >> flows.give_up


def test_what_undoes_a_focused_step_is_focused_and_not_asked_whether_the_condition_holds():
    started(boxed.template, box={"amount": 3}, other=1)

    assert go_on().state == "ROLLED_BACK"

    assert flows.calls == ["give up", "take 3, 4 of ['amount', 'put']"]


def test_an_undoing_brings_its_own_policies():
    assert parse_template(boxed.template).definition.tasks[0].compensate.timeout_seconds == 90
    assert boxed.template["stages"][0]["tasks"][0]["compensate"] == {
        "step": f"{__name__}.boxed.put_into_the_box_undo", "retry": {"max_attempts": 3}, "timeout_seconds": 90
    }  # fmt: skip


@step("Write nothing in the end", compensate=flows.cancel_flight)
def nothing_in_the_end():
    flows.note("nothing in the end")
    return Skipped("It was there already.")


PARTS = group(
    "Parts",
    begin >> conditional(lambda state: state["vip"])(flows.charge) >> nothing_in_the_end >> flows.reserve,
    name=f"{__name__}.parts",
)


@workflow("Parted", component="FLOWS", on_failure="rollback")
def parted():
    return begin >> PARTS >> flows.ship


@pytest.mark.parametrize(("vip", "undone"), [(True, ["release", "refund"]), (False, ["release"])])
def test_of_a_group_what_had_nothing_to_do_is_not_undone_and_has_written_nothing(vip, undone):
    flows.broken.add("ship")
    started(parted.template, amount=3, vip=vip, address={})

    instance = go_on()

    assert instance.state == "ROLLED_BACK"
    assert flows.calls[-len(undone) :] == undone
    assert flows.calls[-len(undone) - 1] == "ship"
    idle = [] if vip else ["1 Charge"]
    assert instance.context["parts_skipped"] == [*idle, "2 Write nothing in the end"]
    assert not Group.objects.filter(name__startswith="nothing").exists()


@step("Wait for a word")
def word(task: StepTask):
    flows.note(f"woken {task.woken}")
    return {"over": True} if task.woken else Waiting("word")


@step("Do nothing yet", compensate=word)
def idle():
    flows.note("idle")


@workflow("Word", component="FLOWS", on_failure="rollback")
def wordless():
    return begin >> idle >> word >> flows.give_up


def test_a_signal_that_says_nothing_wakes_a_step_that_remembers_nothing_up_and_down():
    started(wordless.template)
    go_on(at(1))
    assert tell(SendSignal("word")).applied
    go_on(at(2))
    assert flows.calls == ["idle", "woken False", "woken True", "give up", "woken False"]
    # As time goes by, the row says what the history says.
    assert tell(SendSignal("word"), at(3)).applied
    assert check_history(WorkflowInstance.objects.get()) == []

    assert go_on(at(4)).state == "ROLLED_BACK"

    assert flows.calls[-1] == "woken True"


def at(seconds):
    return AT + dt.timedelta(seconds=seconds)
