"""Retrying all that failed: in batches, once each, one error stops no other."""

import uuid

import pytest

from tests.builders import NOON, completed, failed, service, workflow
from tests.together import together
from workflows.models import BulkRetry, ControlRecord, LoggedEvent, WorkflowInstance
from workflows.runtime import bulk_retry, pausing
from workflows.runtime.bulk_retry import BATCH, Busy
from workflows.runtime.clock import Clock

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _fresh():
    pausing.known.forget()
    yield
    pausing.resume(by="tests")


def ask(**more):
    return bulk_retry.ask(by="olivia", reason="The bank is back", filters=more.pop("filters", {}), **more)


def failing(door, count, template=None, **how):
    site = door(template or workflow(service("a"), service("b")), **how)
    for n in range(count):
        site.start(f"R{n:03}")
        site.ask(failed("a"), ref=f"R{n:03}")
    return site


def to_the_end():
    turns = 0
    while bulk_retry.go_on(NOON):
        turns += 1
    return turns


def retries():
    return LoggedEvent.objects.filter(event="TaskScheduled", attempt=2, actor="olivia").count()


def test_all_that_failed_is_retried_in_batches(door):
    site = failing(door, 2 * BATCH + 3)
    site.start("FINE")

    wish, more = ask(at=NOON)
    assert (wish.count, more, wish.finished_at) == (2 * BATCH + 3, False, None)
    assert to_the_end() == 2

    wish.refresh_from_db()
    assert (wish.position, wish.retried, wish.refused, wish.is_open) == (wish.count, wish.count, 0, None)
    assert wish.finished_at == NOON
    assert set(WorkflowInstance.objects.values_list("state", flat=True)) == {"RUNNING"}
    assert retries() == wish.count
    event = LoggedEvent.objects.filter(event="TaskScheduled", attempt=2).first()
    assert event.actor == "olivia"
    assert ControlRecord.objects.get().data["count"] == wish.count


def test_the_wish_keeps_to_its_filters(door):
    failing(door, 2)
    other = failing(door, 3, workflow(service("a"), workflow_name="Other"), component="OTHER")
    other.start("X-1")

    assert bulk_retry.failed(component_name="OTHER").count() == 3
    assert bulk_retry.failed(workflow_name="Other", q="r00").count() == 3
    assert bulk_retry.failed(q="r001").count() == 2
    wish, more = ask(filters={"component_name": "OTHER", "q": None}, limit=2)
    to_the_end()

    assert (wish.count, more, wish.filters) == (2, True, {"component_name": "OTHER"})
    assert WorkflowInstance.objects.filter(state="FAILED").count() == 3


def test_a_second_wish_is_refused_until_the_first_is_done(door):
    failing(door, 3)
    ask()
    with pytest.raises(Busy):
        ask()
    to_the_end()

    assert ask()[0].count == 0
    assert ask()[0].is_open is None


def test_of_five_wishes_at_once_one_is_taken(door):
    failing(door, 30)

    def wish():
        try:
            return ask()[0]
        except Busy:
            return None

    assert sum(one is not None for one in together(*[wish] * 5)) == 1


def test_three_workers_retry_each_once(door):
    failing(door, 3 * BATCH)
    wish, _ = ask()

    def work():
        for _ in range(200):
            bulk_retry.go_on(NOON)
            if not BulkRetry.objects.filter(is_open=True).exists():
                return

    together(work, work, work)

    wish.refresh_from_db()
    assert (wish.retried, wish.refused) == (3 * BATCH, 0)
    assert retries() == 3 * BATCH


def test_a_worker_that_dies_in_a_batch_costs_no_second_attempt(door, monkeypatch):
    site = failing(door, BATCH + 1)
    wish, _ = ask()

    def die(name):
        if name == "bulk_retried":
            raise SystemExit

    monkeypatch.setattr(bulk_retry.failpoints, "hit", die)
    with pytest.raises(SystemExit):
        bulk_retry.go_on(NOON)
    monkeypatch.undo()
    # One fails again meanwhile: it is not this wish's business any more.
    site.ask(failed("a"), ref="R000")
    assert bulk_retry.go_on(NOON) is False
    later = NOON + 2 * bulk_retry._HELD
    while bulk_retry.go_on(later):
        pass

    wish.refresh_from_db()
    assert wish.is_open is None
    assert retries() == BATCH + 1
    assert site.state("R000") == "FAILED"


def test_one_that_cannot_be_retried_stops_no_other(door, monkeypatch):
    site = failing(door, 5)
    broken = site.instance("R002").pk
    handle = bulk_retry.handle

    def breaks(*asked, at):
        if any(one.target == broken for one in asked):
            from workflows.runtime import handling

            monkeypatch.setattr(handling, "decide", bomb(handling.decide, broken))
        return handle(*asked, at=at)

    monkeypatch.setattr(bulk_retry, "handle", breaks)
    wish, _ = ask()
    to_the_end()

    wish.refresh_from_db()
    assert (wish.retried, wish.refused, wish.position) == (4, 1, 5)


def bomb(decide, broken):
    def judged(definition, now, *args, **how):
        if uuid.UUID(now.instance_id) == broken:
            raise ZeroDivisionError
        return decide(definition, now, *args, **how)

    return judged


def test_what_has_recovered_meanwhile_is_left_alone(door):
    site = failing(door, 2)
    ask()
    site.ask(completed("a"), ref="R000")
    from workflows.engine.commands import CompleteTaskByHand

    site.ask(CompleteTaskByHand("S", "a", reason="by hand"), ref="R000")
    before = site.history("R000")
    to_the_end()

    assert site.history("R000") == before
    assert site.state("R001") == "RUNNING"


def test_a_failed_task_that_holds_nobody_up_is_not_asked_for(door):
    site = failing(door, 1, workflow(service("a", on_failure="continue"), service("b")))
    site.ask(failed("b"), ref="R000")
    ask()
    to_the_end()

    assert site.states("R000") == {"a": "FAILED", "b": "SCHEDULED"}
    assert not [name for name in site.history("R000") if "Refused" in name or "Rejected" in name]


def test_while_the_engine_is_paused_the_wish_waits(door):
    failing(door, BATCH + 5)
    wish, _ = ask()
    bulk_retry.go_on(NOON)
    pausing.pause(by="olivia", reason="r")

    assert bulk_retry.go_on(NOON + bulk_retry._HELD * 2) is False
    wish.refresh_from_db()
    assert (wish.position, wish.retried) == (BATCH, BATCH)

    pausing.resume(by="olivia")
    later = NOON + bulk_retry._HELD * 5
    while bulk_retry.go_on(later):
        pass
    wish.refresh_from_db()
    assert wish.retried == BATCH + 5


def test_the_clock_carries_it_out(door):
    failing(door, BATCH + 1)
    wish, _ = ask()
    clock = Clock(now=lambda: NOON)
    clock._work()
    clock._work()

    wish.refresh_from_db()
    assert wish.retried == BATCH + 1
