"""Whole workflows, each from its start to its end. After every step the log agrees with rows, outbox and inbox."""

import pytest

from tests.builders import (
    RESUME,
    ROLL_BACK,
    SUSPEND,
    claimed,
    completed,
    decided,
    failed,
    human,
    not_undone,
    operator_retries,
    operator_skips,
    pending,
    reassigned,
    replayed,
    retry,
    service,
    stage,
    stage_replayed,
    started,
    undo,
    undone,
    workflow,
)  # fmt: skip
from workflows.models import WorkflowInstance
from workflows.runtime.loading import snapshots
from workflows.runtime.replay import check_history

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


class Journey:
    """Walks one instance, and looks at its log after each step."""

    def __init__(self, site):
        self.site = site

    def goes(self, *commands, **how):
        for command in commands:
            answer = self.site.ask(command, **how)
            assert answer.applied, f"{command}: {answer.code} {answer.reason}"
            self.agrees()
        return self

    def is_refused(self, command, code):
        assert self.site.ask(command).code == code
        self.agrees()
        return self

    def waits(self, seconds):
        self.site.later(seconds)
        self.agrees()
        return self

    def agrees(self):
        snapshots.forget()
        for instance in WorkflowInstance.objects.all():
            assert check_history(instance) == []


PIZZA = workflow(
    stage("START"),
    stage("ORDER", service("confirm_order", business_status="ORDER CONFIRMED")),
    stage(
        "PREPARE",
        service("make_food"),
        service("assign_executive"),
        service("confirm_delivery", "make_food", "assign_executive", business_status="FOOD ON THE WAY"),
    ),
    stage("DELIVER", human("deliver_food", task_queue="deliver_food_queue", business_status="FOOD DELIVERED")),
)


def test_a_pizza_is_delivered(door):
    site = door(PIZZA)
    site.start(context={"customer": "Ada"})
    journey = Journey(site)

    journey.is_refused(completed("DELIVER/deliver_food"), "not_its_turn")
    journey.goes(completed("ORDER/confirm_order"))
    assert site.instance().business_status == "ORDER CONFIRMED"
    journey.goes(completed("PREPARE/assign_executive"), completed("PREPARE/make_food", output={"oven": 4}))
    journey.goes(started("PREPARE/confirm_delivery"), completed("PREPARE/confirm_delivery"))
    journey.goes(claimed("DELIVER/deliver_food"), decided("DELIVER/deliver_food", comment="at the door"))

    assert site.state() == "COMPLETED"
    assert site.instance().business_status == "FOOD DELIVERED"
    assert site.json()["context"] == {"customer": "Ada", "oven": 4}
    assert site.messages() == [
        "StartTask confirm_order#1", "StartTask make_food#1", "StartTask assign_executive#1",
        "StartTask confirm_delivery#1", "StartTask deliver_food#1",
    ]  # fmt: skip
    assert site.human("deliver_food").decided_by == "fred"


def test_a_kitchen_fails_recovers_and_fails_again(door):
    site = door(
        workflow(stage("S", service("cook", timeout_seconds=600, **retry(2, 60))), stage("T", service("bring")))
    )
    site.start()
    journey = Journey(site)

    journey.waits(600)
    assert site.states() == {"cook": "WAITING", "bring": "PENDING"}
    journey.waits(60).goes(failed("cook", "closed"))
    assert site.state() == "FAILED"
    journey.is_refused(completed("cook"), "attempt_closed")
    journey.goes(
        operator_retries("cook"), failed("cook"), pending("cook"), started("cook"), completed("cook", attempt=4)
    )
    journey.is_refused(completed("cook", attempt=3), "stale_attempt")
    journey.goes(completed("T/bring"))

    assert site.state() == "COMPLETED"
    assert [m for m in site.messages() if "cook" in m] == [f"StartTask cook#{n}" for n in (1, 2, 3, 4)]


OUTCOMES = [{"name": "approve"}, {"name": "reject", "effect": "fail"}]
BACK = [*OUTCOMES, {"name": "back", "effect": "return", "return_to": "apply"}]
FORM = {"type": "object", "properties": {"amount": {"type": "integer", "minimum": 1}}, "required": ["amount"]}
LOAN = workflow(
    stage("APPLY", human("apply", form=FORM), service("score", "apply")),
    stage(
        "DECIDE",
        human("check", outcomes=BACK, four_eyes=True),
        human("big_check", "check", to="mona", outcomes=OUTCOMES, when={">": [{"var": "amount"}, 1000]}),
    ),
    stage("PAY", service("pay", **undo("refund_queue")), service("tell", "pay", on_failure="continue")),
)


def test_a_loan_goes_back_and_forth_between_people(door):
    site = door(LOAN)
    site.start(by="ada")
    journey = Journey(site)

    journey.goes(claimed("APPLY/apply"), decided("APPLY/apply", data={"amount": 500}), completed("APPLY/score"))
    journey.is_refused(decided("DECIDE/check", "approve"), "four_eyes")
    journey.goes(decided("DECIDE/check", "back", by="fiona", comment="too little"))
    assert site.json()["stages"][0]["state"] == "ACTIVE"
    journey.goes(decided("APPLY/apply", data={"amount": 5000}), completed("APPLY/score"))
    journey.goes(reassigned("DECIDE/check", "fiona"), decided("DECIDE/check", "approve", by="fiona"))
    journey.goes(decided("DECIDE/big_check", "approve", by="mona"), completed("PAY/pay"), failed("PAY/tell"))

    assert site.state() == "COMPLETED"
    assert site.states()["tell"] == "FAILED"
    assert site.human("check").attempt == 2


def test_a_loan_that_is_rejected_waits_for_somebody(door):
    site = door(LOAN)
    site.start()
    journey = Journey(site)

    journey.goes(decided("APPLY/apply", data={"amount": 1}), completed("APPLY/score"))
    journey.goes(decided("DECIDE/check", "reject", by="fiona", comment="no"))
    assert (site.state(), site.states()["big_check"]) == ("FAILED", "PENDING")
    journey.goes(operator_skips("DECIDE/check"))

    assert site.states() == {
        "apply": "COMPLETED", "score": "COMPLETED", "check": "SKIPPED", "big_check": "SKIPPED", "pay": "SCHEDULED",
        "tell": "PENDING",
    }  # fmt: skip
    assert site.json()["stages"][1]["state"] == "SKIPPED"


TRIP = workflow(
    stage("BOOK", service("flight", **undo("cancel_flight")), service("hotel", **undo("cancel_hotel", **retry(2, 30)))),
    stage("INSURE", human("insure", compensate={"assigned_to": "managers"}), service("pay", on_failure="rollback")),
)


def test_a_trip_is_undone_in_reverse(door):
    site = door(TRIP)
    site.start()
    journey = Journey(site)

    journey.goes(completed("BOOK/hotel", output={"room": 7}), completed("BOOK/flight"), decided("INSURE/insure"))
    journey.goes(failed("INSURE/pay", "no_money"))
    assert site.states() == {"flight": "COMPLETED", "hotel": "COMPLETED", "insure": "COMPENSATING", "pay": "FAILED"}
    journey.goes(claimed("INSURE/insure", by="mona", groups=frozenset({"managers"}), compensation=True))
    journey.goes(decided("INSURE/insure", by="mona", groups=frozenset({"managers"}), compensation=True))
    journey.goes(undone("BOOK/flight"), not_undone("BOOK/hotel")).waits(30)
    journey.goes(not_undone("BOOK/hotel", attempt=2))
    assert site.state() == "ROLLBACK_FAILED"
    journey.goes(pending("BOOK/hotel"), undone("BOOK/hotel", attempt=3))

    assert site.state() == "ROLLED_BACK"
    assert [m for m in site.messages() if m.startswith("Comp")] == [
        "CompensateTask flight#1", "CompensateTask hotel#1", "CompensateTask hotel#2", "CompensateTask hotel#3",
    ]  # fmt: skip


def test_an_operator_suspends_replays_and_rolls_back(door):
    site = door(TRIP)
    site.start()
    journey = Journey(site)

    journey.goes(completed("BOOK/flight"), SUSPEND, completed("BOOK/hotel")).is_refused(
        replayed("BOOK/flight"), "instance_suspended"
    )
    journey.goes(RESUME, decided("INSURE/insure"), stage_replayed("BOOK"), completed("BOOK/flight", output={"seat": 1}))
    journey.goes(ROLL_BACK, completed("BOOK/hotel", attempt=2))
    journey.goes(undone("BOOK/flight"))
    assert site.states()["hotel"] == "COMPENSATING"
    journey.goes(undone("BOOK/hotel"))
    journey.goes(decided("INSURE/insure", by="mona", groups=frozenset({"managers"}), compensation=True))

    assert site.state() == "ROLLED_BACK"
    journey.is_refused(completed("INSURE/pay"), "instance_closed")


def test_a_completed_workflow_is_opened_again_and_ends_again(door):
    site = door(PIZZA)
    site.start()
    everything = ["ORDER/confirm_order", "PREPARE/make_food", "PREPARE/assign_executive", "PREPARE/confirm_delivery"]
    journey = Journey(site).goes(*map(completed, everything), decided("DELIVER/deliver_food"))

    journey.goes(replayed("PREPARE/make_food"))
    assert site.json()["finished_at"] is None
    journey.goes(completed("PREPARE/make_food"), completed("PREPARE/confirm_delivery"))
    journey.goes(decided("DELIVER/deliver_food", by="fiona"))

    assert site.state() == "COMPLETED"
    assert site.human("deliver_food").attempt == 2


def test_a_message_of_every_kind_over_the_wire(door):
    site = door(PIZZA)
    order = {"stage_name": "ORDER", "task_name": "confirm_order", "task_type": "SERVICE"}

    assert site.say({"event_name": "StartWorkflow", "context": {"n": 1}, "event_id": "1"}).created
    assert site.say({"event_name": "TaskStarted", **order}).applied
    assert site.say({"event_name": "TaskFailed", **order, "error": {"code": "c"}}).applied
    assert site.state() == "FAILED"
    assert site.say({"event_name": "TaskPending", **order}).applied
    assert site.say({"event_name": "Signal", "name": "paid", "payload": 7}).applied
    assert site.say({"event_name": "TaskCompleted", **order, "attempt": 1}).code == "stale_attempt"
    assert site.say({"event_name": "TaskCompleted", **order, "attempt": 2, "task_type": "HUMAN"}).applied

    assert site.states()["make_food"] == "SCHEDULED"
