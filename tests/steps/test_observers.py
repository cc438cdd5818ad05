"""Guards may turn a workflow round, listeners cannot; both are named in what comes of it."""

import pytest
from django.contrib.auth.models import Group

from tests.steps import flows
from tests.steps.test_flows import error, go_on, started, states
from workflows.models import LoggedEvent
from workflows.steps import guard, listener

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _clean():
    flows.calls.clear()
    flows.broken.clear()
    flows.seen.clear()
    Group.objects.create(name="backoffice")


def run(**says):
    started(
        flows.watched.template,
        amount=3,
        guard={key.replace("_", " ", 1).replace("_down", " down"): value for key, value in says.items()},
    )
    return go_on()


def rollback():
    return LoggedEvent.objects.get(event="RollbackStarted").data


def test_they_are_called_before_and_after_each_step_in_their_order():
    assert run().state == "COMPLETED"
    assert flows.seen == [
        "budget before book_the_flight", "ear book_the_flight Done", "budget after book_the_flight",
        "budget before charge", "ear charge Done", "budget after charge",
    ]  # fmt: skip


@pytest.mark.parametrize("says", ["turn", "nonsense", "raise"])
def test_a_guard_turns_the_workflow_before_a_step(says):
    assert run(before_charge=says).state == "ROLLED_BACK"

    assert flows.calls == ["book flight", "cancel flight"]
    assert rollback()["guard"] == "tests.budget"
    reasons = {"turn": "over the budget", "nonsense": "answered 42", "raise": "LookupError: no budget"}
    assert reasons[says] in rollback()["reason"]


def test_a_guard_turns_the_workflow_after_a_step_whose_success_then_does_not_count():
    assert run(after_charge="turn").state == "ROLLED_BACK"

    assert flows.calls == ["book flight", "charge", "cancel flight"]
    assert states() == {"book_the_flight": "COMPENSATED", "charge": "CANCELLED"}
    assert not Group.objects.filter(name__startswith="charge").exists()


def test_a_guard_may_change_the_state():
    instance = run(before_charge={"amount": 5}, after_charge={"checked": True})
    assert instance.context["charged"] == "5 EUR"
    assert (instance.context["amount"], instance.context["checked"]) == (5, True)


def test_on_the_way_down_there_is_nothing_to_turn(caplog):
    assert run(before_charge="turn", before_book_the_flight_down="turn").state == "ROLLED_BACK"
    assert "budget before book_the_flight down" in flows.seen
    assert "it is being undone already" in caplog.text


def test_what_a_listener_raises_changes_nothing_and_is_told_with_its_name(caplog):
    assert run().state == "COMPLETED"
    assert "listener tests.ear failed" in caplog.text


def test_those_of_the_site_come_first(settings):
    settings.STEP_OBSERVERS = ["log", "tests.budget", "changes"]
    assert run().state == "COMPLETED"
    assert flows.seen[:2] == ["budget before book_the_flight", "budget after book_the_flight"]


def test_a_name_that_no_code_has_registered_fails_the_step(settings):
    settings.STEP_OBSERVERS = ["nobody"]
    assert run().state == "FAILED"
    assert error("book_the_flight")["code"] == "unknown_observer"


def test_two_of_one_name_are_a_mistake():
    with pytest.raises(ValueError, match="two observers"):
        guard("log")(lambda seen: None)
    with pytest.raises(ValueError, match="two observers"):
        listener("tests.budget")(lambda seen: None)


@listener("tests.clumsy")
def clumsy(look):
    Group.objects.create(name=f"clumsy {len(flows.seen)}")
    flows.seen.append("clumsy")
    look.task.context.clear()
    if look.outcome is not None:
        look.outcome.output["charged"] = "nothing"
    Group.objects.create(name="backoffice")


@listener("tests.leaving")
def leaving(look):
    raise SystemExit


def test_a_listener_breaks_nothing_whatever_it_does(settings):
    settings.STEP_OBSERVERS = ["tests.clumsy", "tests.leaving"]
    flows.broken.add("ship")
    started(flows.charge_and_ship.template, amount=3, address={})

    assert go_on().state == "ROLLED_BACK"

    assert flows.calls == ["charge", "ship", "refund"]
    assert LoggedEvent.objects.get(event="TaskCompleted").data["output"] == {"charged": "3 EUR"}
    assert error("ship")["code"] == "LookupError"
    assert flows.seen.count("clumsy") == 6, "before and after each, also after one that raises"
    assert not Group.objects.filter(name__startswith="clumsy").exists()


@guard("tests.unlucky")
def unlucky(look):
    if look.down or not look.before:
        Group.objects.create(name="backoffice")


def test_a_guard_that_meets_an_error_of_the_database_is_blamed_for_it_and_undoing_goes_on(settings):
    settings.STEP_OBSERVERS = ["tests.unlucky"]
    started(flows.watched.template, amount=3, guard={})

    assert go_on().state == "ROLLED_BACK"

    assert rollback()["guard"] == "tests.unlucky"
    assert "IntegrityError" in rollback()["reason"]


@listener("tests.diary")
def diary(look):
    Group.objects.create(name=f"diary {len(flows.seen)}")
    flows.seen.append("diary")


def test_what_an_observer_writes_is_kept_with_the_step(settings):
    settings.STEP_OBSERVERS = ["tests.diary"]
    started(flows.focused.template, box={})

    assert go_on().state == "COMPLETED"

    assert Group.objects.filter(name__startswith="diary").count() == 4
