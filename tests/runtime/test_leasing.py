"""Leases: what is handed out, to whom, for how long, and what a lost lease is worth."""

import datetime as dt

import pytest

from tests.builders import (
    CANCEL,
    ROLL_BACK,
    claimed,
    completed,
    failed,
    human,
    not_undone,
    pending,
    replayed,
    retry,
    service,
    started,
    step,
    undo,
    undone,
    workflow,
)  # fmt: skip
from tests.runtime.door import everything
from workflows.engine import commands as c
from workflows.models import Lease
from workflows.runtime import leasing
from workflows.runtime.asking import Outcome

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

ONE = workflow(service("a", task_queue="q", oven=240), service("z", "a"))


def names(tasks):
    return [(task["event_name"], task["task_name"], task["attempt"]) for task in tasks]


def test_a_lease_hands_out_the_message_and_starts_the_task(door):
    site = door(ONE)
    site.start(context={"n": 7})

    (task,) = site.lease("q")

    assert (task["event_name"], task["attempt"], task["context"], task["oven"]) == ("StartTask", 1, {"n": 7}, 240)
    assert dt.datetime.fromisoformat(task["lease_until"]) == site.at + dt.timedelta(seconds=60)
    assert site.states()["a"] == "STARTED"
    assert site.history()[-1] == "TaskStarted"


def test_what_is_leased_is_not_handed_out_again_before_its_end(door):
    site = door(ONE)
    site.start()
    site.lease("q", seconds=60)

    site.later(59)
    assert site.lease("q", worker="w2") == []
    site.later(1)
    assert names(site.lease("q", worker="w2")) == [("StartTask", "a", 1)]
    assert site.history().count("TaskStarted") == 1


def test_an_end_changes_no_state(door):
    site = door(ONE)
    site.start()
    site.lease("q", seconds=1)
    before = everything()
    site.later(100)

    assert everything() == before


def test_the_oldest_come_first_and_no_more_than_asked_for(door):
    site = door(ONE)
    for n in range(5):
        site.at += dt.timedelta(seconds=1)
        site.start(f"R{n}")

    assert [task["business_ref_no"] for task in site.lease("q", most=2)] == ["R0", "R1"]
    assert [task["business_ref_no"] for task in site.lease("q", most=9)] == ["R2", "R3", "R4"]


def test_another_queue_offers_nothing(door):
    site = door(ONE)
    site.start()

    assert site.lease("other") == []
    assert site.lease("z_queue") == []


def test_people_and_steps_are_not_leased(door):
    site = door(workflow(human("h", task_queue="q"), step("s")))
    site.start()

    assert site.lease("q", most=9) == []
    assert site.lease("@steps", most=9) == []


def test_what_somebody_took_without_a_lease_stays_theirs(door):
    site = door(ONE)
    site.start()
    site.ask(started("a"))

    assert site.lease("q") == []


def test_an_undoing_that_somebody_took_without_a_lease_stays_theirs(door):
    site = door(workflow(service("a", task_queue="q", **undo(queue="q")), service("z", "a")))
    for ref in ("ONE", "TWO"):
        site.start(ref)
        site.batch(*(site.asked(how, ref=ref) for how in (completed("a"), ROLL_BACK)))
    site.ask(started("a", compensation=True), ref="ONE")

    (task,) = site.lease("q", most=5, seconds=10)

    assert (task["event_name"], task["business_ref_no"]) == ("CompensateTask", "TWO")
    assert site.lease("q", most=5, worker="w2") == []
    site.later(11)  # a lease that has ended is another matter: nobody holds it
    assert [task["business_ref_no"] for task in site.lease("q", most=5, worker="w2")] == ["TWO"]


def test_a_task_that_was_begun_is_offered_for_undoing_all_the_same(door):
    """The attempts of a task and those of its undoing are numbered apart."""
    site = door(workflow(service("a", **undo(queue="q")), service("z", "a")))
    site.start()
    site.batch(started("a"), completed("a"), ROLL_BACK)

    assert names(site.lease("q")) == [("CompensateTask", "a", 1)]


def test_nothing_is_handed_out_while_suspended(door):
    site = door(ONE)
    site.start()
    site.ask(c.SuspendWorkflow())
    assert site.lease("q") == []
    site.ask(c.ResumeWorkflow())
    assert len(site.lease("q")) == 1


@pytest.mark.parametrize("how", [completed("a"), failed("a"), CANCEL, ROLL_BACK])
def test_what_is_over_is_not_handed_out(door, how):
    site = door(ONE)
    site.start()
    site.ask(how)

    assert site.lease("q") == []


@pytest.mark.parametrize("again", [[pending("a")], [failed("a"), pending("a")], [completed("a"), replayed("a")]])
def test_a_new_attempt_is_handed_out_at_once_though_the_old_lease_runs(door, again):
    site = door(ONE)
    site.start()
    site.lease("q", seconds=3600)
    for command in again:
        assert site.ask(command).applied

    assert names(site.lease("q", worker="w2")) == [("StartTask", "a", 2)]


def test_a_retry_by_policy_is_handed_out_at_once(door):
    site = door(workflow(service("a", task_queue="q", **retry(2))))
    site.start()
    (task,) = site.lease("q")
    site.ask(failed("a"), lease_id=task["lease_id"])

    assert names(site.lease("q")) == [("StartTask", "a", 2)]


# --- results under a lease ----------------------------------------------------------------------------------------


def test_a_result_under_a_live_lease_is_applied(door):
    site = door(ONE)
    site.start()
    (task,) = site.lease("q")

    assert site.ask(completed("a"), lease_id=task["lease_id"]).applied


@pytest.mark.parametrize("command", [completed("a"), failed("a")])
def test_a_result_under_a_lease_that_ended_is_refused_and_recorded(door, command):
    site = door(ONE)
    site.start()
    (task,) = site.lease("q", seconds=1)
    site.later(1)

    assert site.ask(command, lease_id=task["lease_id"]).code == "lease_lost"
    assert site.history()[-1] == "InputRefused"
    assert site.states()["a"] == "STARTED"


@pytest.mark.parametrize("lease", ["no uuid", "7ec07ed9-6f3a-4306-b571-2cbaf613bc1a"])
def test_a_result_under_a_lease_that_never_was_is_refused(door, lease):
    site = door(ONE)
    site.start()

    assert site.ask(completed("a"), lease_id=lease).code == "lease_lost"


def test_a_result_without_a_lease_counts_all_the_same(door):
    site = door(ONE)
    site.start()
    site.lease("q", seconds=1)
    site.later(5)

    assert site.ask(completed("a", attempt=1)).applied


def test_a_repeated_result_is_a_duplicate_though_the_lease_ended(door):
    site = door(ONE)
    site.start()
    (task,) = site.lease("q", seconds=10)
    site.ask(completed("a"), lease_id=task["lease_id"])
    site.later(100)

    assert site.ask(completed("a"), lease_id=task["lease_id"]).outcome is Outcome.DUPLICATE


def test_a_lease_is_of_its_attempt_and_not_of_the_next(door):
    site = door(ONE)
    site.start()
    (task,) = site.lease("q", seconds=3600)
    site.ask(pending("a"))

    assert site.ask(completed("a"), lease_id=task["lease_id"]).code == "lease_lost"
    assert site.ask(completed("a", attempt=1), lease_id=task["lease_id"]).code == "stale_attempt"
    with pytest.raises(leasing.LeaseLost):
        leasing.extend("q", task["lease_id"], lease_seconds=60, at=site.at)


def test_a_lease_of_another_task_is_worth_nothing(door):
    site = door(workflow(service("a", task_queue="q"), service("b", task_queue="q")))
    site.start()
    one, _ = site.lease("q", most=2)

    assert site.ask(completed("b"), lease_id=one["lease_id"]).code == "lease_lost"


# --- extending ----------------------------------------------------------------------------------------------------


def test_an_extension_counts_from_now(door):
    site = door(ONE)
    site.start()
    (task,) = site.lease("q", seconds=10)
    site.later(9)

    leasing.extend("q", task["lease_id"], lease_seconds=20, at=site.at)

    site.later(19)
    assert site.lease("q") == []
    assert site.ask(completed("a"), lease_id=task["lease_id"]).applied


@pytest.mark.parametrize("how", ["late", "taken", "answered", "cancelled", "wrong queue", "no uuid"])
def test_what_was_lost_is_not_extended(door, how):
    site = door(ONE)
    site.start()
    (task,) = site.lease("q", seconds=10)
    queue, lease = "q", task["lease_id"]
    match how:
        case "late":
            site.later(10)
        case "taken":
            site.later(10)
            site.lease("q", worker="w2")
        case "answered":
            site.ask(completed("a"))
        case "cancelled":
            site.ask(CANCEL)
        case "wrong queue":
            queue = "z_queue"
        case _:
            lease = "no uuid"
    history = site.history()

    with pytest.raises(leasing.LeaseLost):
        leasing.extend(queue, lease, lease_seconds=60, at=site.at)

    assert site.history() == history


# --- compensations ------------------------------------------------------------------------------------------------

UNDONE = workflow(service("a", task_queue="q", **undo("q")), service("z"))


def test_a_compensation_is_leased_like_a_task(door):
    site = door(UNDONE)
    site.start()
    site.lease("q")
    site.ask(completed("a", output={"charge": 1}))
    site.ask(ROLL_BACK)

    (task,) = site.lease("q")

    assert (task["event_name"], task["compensation"], task["output"]) == ("CompensateTask", True, {"charge": 1})
    assert site.states()["a"] == "COMPENSATING"
    assert site.lease("q") == []
    assert site.ask(undone("a"), lease_id=task["lease_id"]).applied
    assert site.state() == "ROLLED_BACK"


def test_a_new_attempt_to_undo_is_handed_out_at_once_though_the_old_lease_runs(door):
    site = door(UNDONE)
    site.start()
    site.batch(completed("a"), ROLL_BACK)
    (old,) = site.lease("q", seconds=3600)
    site.ask(pending("a", compensation=True))

    (new,) = site.lease("q")

    assert names([old, new]) == [("CompensateTask", "a", 1), ("CompensateTask", "a", 2)]
    assert site.ask(undone("a"), lease_id=old["lease_id"]).code == "lease_lost"
    with pytest.raises(leasing.LeaseLost):
        leasing.extend("q", old["lease_id"], lease_seconds=60, at=site.at)
    assert site.ask(undone("a"), lease_id=new["lease_id"]).applied


def test_a_failed_compensation_is_not_handed_out(door):
    site = door(UNDONE)
    site.start()
    site.batch(completed("a"), ROLL_BACK, not_undone("a"))

    assert site.lease("q") == []


def test_a_compensation_that_waits_for_its_retry_is_not_handed_out(door):
    site = door(workflow(service("a", **undo("q", **retry(2, 60))), service("z")))
    site.start()
    site.batch(completed("a"), ROLL_BACK)
    site.lease("q")
    site.ask(not_undone("a"))
    assert site.lease("q") == []

    site.later(60)
    assert names(site.lease("q")) == [("CompensateTask", "a", 2)]


def test_a_task_of_a_person_may_be_undone_under_a_lease(door):
    site = door(workflow(human("h", **undo("q")), service("z")))
    site.start()
    site.ask(claimed("h"))
    site.ask(completed("h"))
    site.ask(ROLL_BACK)

    assert names(site.lease("q")) == [("CompensateTask", "h", 1)]


def test_one_lease_stands_for_an_attempt(door):
    site = door(ONE)
    site.start()
    for _ in range(3):
        site.lease("q", seconds=1)
        site.later(1)

    assert Lease.objects.count() == 1
