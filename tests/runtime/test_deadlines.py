"""Clocks: time-outs, retries, the limit of an instance; each goes off once, at its moment, whoever looks."""

import datetime as dt
import logging

import pytest

from tests.builders import (
    CANCEL,
    RESUME,
    ROLL_BACK,
    SUSPEND,
    completed,
    failed,
    not_undone,
    pending,
    retry,
    service,
    undo,
    undone,
    workflow,
)  # fmt: skip
from tests.runtime.door import everything
from workflows.models import Deadline, LoggedEvent
from workflows.runtime import deadlines, handling

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

TIMED = workflow(service("a", timeout_seconds=60, **retry(2, 10)), service("b", "a"), timeout_seconds=1000)


def armed(site):
    rows = Deadline.objects.order_by("due_at", "kind").values_list("kind", "attempt", "due_at")
    return [(kind, attempt, (due - site.at).total_seconds()) for kind, attempt, due in rows]


def test_a_start_arms_the_clocks_of_its_tasks_and_its_own(door):
    site = door(TIMED)
    site.start()

    assert armed(site) == [("TASK_TIMEOUT", 1, 60), ("INSTANCE_TIMEOUT", 0, 1000)]
    assert deadlines.next_due() == site.at + dt.timedelta(seconds=60)


def test_nothing_goes_off_before_its_moment(door):
    site = door(TIMED)
    site.start()
    before = everything()

    assert deadlines.fire_due(site.at + dt.timedelta(seconds=59, microseconds=999_999)) == 0
    assert everything() == before


def test_a_time_out_goes_off_once_and_arms_the_retry(door):
    site = door(TIMED)
    site.start()
    assert site.later(60) == 1
    assert armed(site) == [("RETRY", 1, 10), ("INSTANCE_TIMEOUT", 0, 940)]
    assert site.later(0) == 0
    assert site.later(10) == 1
    assert armed(site) == [("TASK_TIMEOUT", 2, 60), ("INSTANCE_TIMEOUT", 0, 930)]
    assert site.later(60) == 1
    assert site.state() == "FAILED"
    assert site.history().count("TaskFailed") == 2


def test_clocks_have_the_clock_as_their_actor(door):
    site = door(TIMED)
    site.start()
    site.later(60)

    assert set(LoggedEvent.objects.filter(event="TaskFailed").values_list("actor", flat=True)) == {"clock"}


@pytest.mark.parametrize("how", [completed("a"), CANCEL, ROLL_BACK])
def test_a_clock_is_put_away_with_its_attempt(door, how):
    site = door(TIMED)
    site.start()
    site.ask(how)

    assert [kind for kind, *_ in armed(site) if kind != "INSTANCE_TIMEOUT"] == []


def test_the_limit_of_an_instance_goes_off(door):
    site = door(TIMED)
    site.start()
    site.ask(completed("a"))
    assert site.later(1000) == 1

    assert site.state() == "FAILED"
    assert site.history()[-1] == "WorkflowTimedOut"
    assert armed(site) == []
    site.ask(RESUME)
    assert site.state() == "RUNNING"
    site.ask(completed("b"))
    assert site.state() == "COMPLETED"


def test_everything_that_fell_due_at_once_goes_off_in_order(door):
    site = door(TIMED)
    for n in range(7):
        site.start(f"R{n}")

    assert deadlines.fire_due(site.at + dt.timedelta(seconds=2000), most=3) == 3
    site.later(2000)
    for n in range(7):
        assert site.state(f"R{n}") == "FAILED"


def test_what_fell_due_while_suspended_waits_for_the_resume(door):
    site = door(TIMED)
    site.start()
    site.ask(SUSPEND)
    site.later(60)
    assert site.states()["a"] == "SCHEDULED"

    site.ask(RESUME)

    assert site.states()["a"] == "WAITING"
    assert armed(site) == [("RETRY", 1, 10), ("INSTANCE_TIMEOUT", 0, 940)]


@pytest.mark.parametrize("behind", [0.01, 30, 3600])
def test_a_resume_by_a_process_whose_clock_is_behind_loses_no_deadline(door, behind):
    site = door(TIMED)
    site.start()
    site.ask(SUSPEND)
    site.later(60)
    site.at -= dt.timedelta(seconds=behind)
    site.ask(RESUME)

    assert site.states()["a"] == "SCHEDULED"
    assert armed(site) == [("TASK_TIMEOUT", 1, behind), ("INSTANCE_TIMEOUT", 0, 940 + behind)]
    assert site.later(behind) == 1
    assert site.states()["a"] == "WAITING"


def test_what_is_put_away_late_takes_no_clock_of_a_resume_with_it(door, monkeypatch):
    """Judged while suspended; resumed by somebody whose clock is behind before the row is put away."""
    site = door(TIMED)
    site.start()
    site.ask(SUSPEND)
    real = deadlines.handle

    def then_a_resume(*asked, at):
        answers = real(*asked, at=at)
        site.at += dt.timedelta(seconds=59)
        site.ask(RESUME)
        return answers

    monkeypatch.setattr(deadlines, "handle", then_a_resume)
    deadlines.fire_due(site.at + dt.timedelta(seconds=60))
    monkeypatch.undo()

    assert armed(site)[0] == ("TASK_TIMEOUT", 1, 1)
    site.later(1)
    assert site.states()["a"] == "WAITING"


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_that_jumps_and_comes_back_fires_nothing_twice(door, jump):
    site = door(workflow(service("a", timeout_seconds=60)))
    site.start()
    here = site.at
    fired = [deadlines.fire_due(here + dt.timedelta(seconds=moved)) for moved in (30, 30 + jump, 31, 60, 61)]

    assert sum(fired) == 1
    assert site.history().count("TaskFailed") == 1


def test_a_clock_that_was_not_due_when_it_was_resumed_still_goes_off(door):
    site = door(TIMED)
    site.start()
    site.ask(SUSPEND)
    site.later(30)
    site.ask(RESUME)
    site.later(30)

    assert site.states()["a"] == "WAITING"


def test_two_clocks_that_look_at_the_same_time_do_it_once(door, monkeypatch):
    """The second has read what was due before the first has carried it out."""
    site = door(TIMED)
    site.start()
    real = deadlines.handle

    def first_another(*asked, at):
        monkeypatch.setattr(deadlines, "handle", real)
        assert deadlines.fire_due(at) == 1
        return real(*asked, at=at)

    monkeypatch.setattr(deadlines, "handle", first_another)
    deadlines.fire_due(site.at + dt.timedelta(seconds=60))

    assert site.history().count("TaskFailed") == 1
    assert site.history().count("RetryScheduled") == 1


def test_a_result_in_the_same_moment_wins_or_loses_but_never_both(door):
    site = door(TIMED)
    site.start()
    site.at += dt.timedelta(seconds=60)
    assert site.ask(completed("a")).applied

    site.later(0)

    assert site.history().count("TaskFailed") == 0


def test_a_clock_that_cannot_be_carried_out_is_kept_and_holds_nobody_up(door, monkeypatch, caplog):
    site = door(workflow(service("a", timeout_seconds=60)))
    for ref in ("GOOD", "POISON", "FINE"):
        site.start(ref)
    poison = str(site.instance("POISON").pk)
    real = handling.decide

    def decide(definition, snapshot, command, **more):
        if snapshot.instance_id == poison:
            raise RuntimeError("a bug")
        return real(definition, snapshot, command, **more)

    with caplog.at_level(logging.CRITICAL), monkeypatch.context() as patch:
        patch.setattr(handling, "decide", decide)
        site.later(60)
        assert [site.state(ref) for ref in ("GOOD", "POISON", "FINE")] == ["FAILED", "RUNNING", "FAILED"]
        site.later(3600)  # alone now, and still a poison: it stops nobody
        assert Deadline.objects.count() == 1

    site.later(3600)
    assert site.state("POISON") == "FAILED"


def test_clocks_of_compensations_go_off(door):
    site = door(workflow(service("a", **undo(timeout_seconds=30, **retry(2, 10))), service("z")))
    site.start()
    site.batch(completed("a"), ROLL_BACK)
    assert armed(site) == [("TASK_TIMEOUT", 1, 30)]
    site.later(30)
    assert armed(site) == [("RETRY", 1, 10)]
    site.later(10)
    assert armed(site) == [("TASK_TIMEOUT", 2, 30)]
    site.ask(not_undone("a"))
    assert (site.state(), armed(site)) == ("ROLLBACK_FAILED", [])
    site.ask(pending("a"))
    site.ask(undone("a"))
    assert (site.state(), armed(site)) == ("ROLLED_BACK", [])


def test_a_nudge_arms_the_clock_of_the_new_attempt(door):
    site = door(TIMED)
    site.start()
    site.later(30)
    site.ask(pending("a"))

    assert armed(site)[0] == ("TASK_TIMEOUT", 2, 60)


def test_half_seconds_count(door):
    site = door(workflow(service("a", timeout_seconds=0.5)))
    site.start()
    assert site.later(0.499) == 0
    assert site.later(0.001) == 1


def test_a_commit_tells_the_earliest_clock_it_armed(door):
    from workflows.runtime import listeners

    site = door(TIMED)
    heard = []
    end = listeners.subscribe(heard.append)
    try:
        site.start()
        site.ask(failed("a"))
    finally:
        end()

    assert [one.deadline for one in heard] == [
        site.at + dt.timedelta(seconds=60),
        site.at + dt.timedelta(seconds=10),
    ]
