"""Sagas: linear up, linear down, and steps that wait for somebody in both directions."""

import datetime as dt

import pytest
from django.contrib.auth.models import Group

from tests.steps import flows
from tests.steps.test_flows import AT, go_on, started, states
from workflows.engine.commands import RollBackWorkflow, SendSignal
from workflows.models import TaskInstance, WorkflowInstance
from workflows.runtime.asking import Asked
from workflows.runtime.deadlines import fire_due
from workflows.runtime.handling import handle
from workflows.runtime.loading import snapshots

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _clean():
    flows.calls.clear()
    flows.broken.clear()
    Group.objects.create(name="backoffice")


def tell(command):
    (answer,) = handle(Asked(command, WorkflowInstance.objects.get().pk, actor="olga"), at=AT)
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
