"""A queue with limits is fed at its own pace: never more in flight, never faster, and nothing is lost in its line."""

import datetime as dt
import json
import threading

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from tests.builders import NOON, human, retry, service, undo, workflow
from tests.runtime.door import check_clocks
from workflows.engine import commands as c
from workflows.engine.lifecycle import MessageState
from workflows.messaging.adapters.database import DatabaseBus
from workflows.messaging.adapters.memory import MemoryBroker, MemoryBus
from workflows.messaging.relay import Relay, relay_once
from workflows.models import ControlRecord, OutboxMessage, QueueLimit, WorkflowInstance
from workflows.runtime import fresh, leasing, limits, line, listeners, pausing

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

ONE = workflow(service("a"))
QUEUE = "a_queue"


@pytest.fixture(autouse=True)
def _forget():
    yield
    pausing.known.forget()
    pausing.known.limited = frozenset()


@pytest.fixture
def broker():
    return MemoryBroker()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    # Nobody else is there who would have to hear of it first.
    monkeypatch.setattr(limits, "_wait", lambda longer: pausing.known.now())


def limit(queue=QUEUE, *, at=NOON, **how):
    return limits.put(queue, **{"max_in_flight": None, "max_per_second": None, **how}, by="olivia", at=at)


def feed(broker, at=NOON):
    """One round of a relay: let out, then send."""
    out = line.let_out(at)
    relay_once(MemoryBus(broker), at)
    return out


def sent(broker, queue=QUEUE):
    return len(broker.queues[queue])


def in_state(state):
    return OutboxMessage.objects.filter(state=state).count()


def refs(count, begin=0):
    return [f"R-{number}" for number in range(begin, begin + count)]


def start_all(door, references):
    for reference in references:
        door.start(reference)


def complete(door, *references, task="a"):
    for reference in references:
        assert door.ask(c.CompleteTask("S", task), ref=reference).applied


def arrived(broker, queue=QUEUE):
    """The references of what has arrived, in order."""
    with broker.arrived:
        return [json.loads(one.body)["business_ref_no"] for one in broker.queues[queue]]


# --- in flight ----------------------------------------------------------------------------------------------------


def test_no_more_than_the_limit_are_in_flight_and_the_oldest_go_first(door, broker):
    door = door(ONE)
    limit(max_in_flight=2)
    start_all(door, refs(5))
    assert in_state("HELD") == 5

    feed(broker)
    assert arrived(broker) == ["R-0", "R-1"]
    feed(broker)
    assert sent(broker) == 2

    complete(door, "R-1")
    feed(broker)
    assert arrived(broker) == ["R-0", "R-1", "R-2"]

    complete(door, "R-0", "R-2")
    feed(broker)
    assert arrived(broker) == refs(5)
    complete(door, "R-3", "R-4")
    assert feed(broker).count == 0
    assert in_state("SENT") == 5


@pytest.mark.parametrize("how", ["fails", "is tried again", "times out", "is cancelled", "is skipped"])
def test_however_an_attempt_ends_its_place_is_free(door, broker, how):
    more = {"is tried again": retry(3, 60), "times out": {"timeout_seconds": 10}}.get(how, {})
    door = door(workflow(service("a", **more)))
    limit(max_in_flight=1)
    start_all(door, refs(2))
    feed(broker)
    assert arrived(broker) == ["R-0"]

    match how:
        case "fails" | "is tried again":
            door.ask(c.FailTask("S", "a", error={"code": "no"}), ref="R-0")
        case "times out":
            assert door.later(11) == 1
        case "is cancelled":
            door.ask(c.CancelWorkflow(reason="x"), ref="R-0")
        case "is skipped":
            door.ask(c.SkipTask("S", "a", reason="x"), ref="R-0")

    out = feed(broker, door.at)

    assert out.count == 1
    assert "R-1" in arrived(broker)


@pytest.mark.parametrize("late", [False, True], ids=["in line at once", "put into the line by a relay"])
def test_a_time_out_runs_from_leaving_the_line(door, broker, monkeypatch, late):
    door = door(workflow(service("a", timeout_seconds=10)))
    limit(max_in_flight=1)
    with monkeypatch.context() as ignorant:
        if late:
            ignorant.setattr(line, "holds", lambda *_: False)
        start_all(door, refs(2))
    feed(broker)
    feed(broker)
    assert arrived(broker) == ["R-0"]

    assert door.later(8) == 0
    complete(door, "R-0")
    assert door.later(100) == 0
    begun = door.at
    assert feed(broker, begun).deadline == begun + dt.timedelta(seconds=10)
    assert door.later(9) == 0
    assert door.later(1) == 1
    assert door.state("R-1") == "FAILED"


def test_time_outs_run_when_the_line_is_no_more(door, broker):
    door = door(workflow(service("a", timeout_seconds=10)))
    limit(max_in_flight=1)
    start_all(door, refs(3))
    feed(broker)
    door.later(5)

    limits.remove(QUEUE, by="olivia", at=door.at)

    assert door.later(5) == 1
    assert door.later(5) == 2


def test_what_was_sent_before_the_limit_counts_and_what_was_not_stands_in_line(door, broker):
    door = door(ONE)
    start_all(door, refs(3))
    relay_once(MemoryBus(broker), NOON)
    start_all(door, refs(2, 3))
    limit(max_in_flight=4)

    feed(broker)
    assert sent(broker) == 3
    assert in_state("HELD") == 2
    feed(broker)
    assert arrived(broker) == refs(4)

    limit(max_in_flight=2)
    complete(door, "R-0", "R-1")
    feed(broker)
    assert sent(broker) == 4
    complete(door, "R-2")
    feed(broker)
    assert arrived(broker) == refs(5)


def test_a_changed_limit_and_none_at_all_take_effect_at_once(door, broker):
    door = door(ONE)
    limit(max_in_flight=1)
    start_all(door, refs(9))
    feed(broker)

    limit(max_in_flight=3)
    feed(broker)
    assert sent(broker) == 3

    assert limits.remove(QUEUE, by="olivia", at=NOON)
    feed(broker)
    assert arrived(broker) == refs(9)
    assert not OutboxMessage.objects.filter(place=True).exists()
    assert not limits.remove(QUEUE, by="olivia", at=NOON)


def test_what_is_cancelled_in_the_line_never_leaves_and_nor_does_its_cancel(door, broker):
    door = door(ONE)
    limit(max_in_flight=1)
    start_all(door, refs(3))
    feed(broker)
    for ref in ("R-0", "R-1"):
        door.ask(c.CancelWorkflow(reason="x"), ref=ref)

    feed(broker)

    events = {(row.instance.business_ref_no, row.event_name): row.state for row in OutboxMessage.objects.all()}
    assert events == {
        ("R-0", "StartTask"): "SENT",
        ("R-0", "CancelTask"): "SENT",
        ("R-1", "StartTask"): "WITHDRAWN",
        ("R-1", "CancelTask"): "WITHDRAWN",
        ("R-2", "StartTask"): "SENT",
    }
    assert feed(broker).count == 0


def test_undoing_stands_in_the_line_too_and_takes_a_place(door, broker):
    door = door(workflow(service("a", **undo(QUEUE)), human("look", "a")))
    limit(max_in_flight=1)
    start_all(door, refs(3))
    feed(broker)
    complete(door, "R-0")
    feed(broker)
    assert door.ask(c.RollBackWorkflow(reason="x"), ref="R-0").applied

    feed(broker)
    assert arrived(broker) == ["R-0", "R-1"]
    complete(door, "R-1")
    feed(broker)
    complete(door, "R-2")
    feed(broker)
    assert arrived(broker) == ["R-0", "R-1", "R-2", "R-0"]
    assert limits.standings()[QUEUE].in_flight == 1
    assert door.ask(c.CompleteTask("S", "a", compensation=True), ref="R-0").applied
    assert limits.standings()[QUEUE].in_flight == 0
    assert door.state("R-0") == "ROLLED_BACK"


def test_people_are_told_and_work_is_withdrawn_without_standing_in_line(door, broker):
    door = door(workflow(human("ask", task_queue=QUEUE), service("a")))
    limit(max_in_flight=1)
    start_all(door, refs(2))

    feed(broker)

    assert sorted(arrived(broker)) == ["R-0", "R-0", "R-1"]
    assert limits.standings()[QUEUE].in_flight == 1


def test_a_message_that_could_not_be_sent_keeps_its_place(door, broker):
    door = door(ONE)
    limit(max_in_flight=2)
    start_all(door, refs(3))
    broker.refuse = {QUEUE}
    feed(broker)
    assert (in_state("FAILED"), in_state("HELD")) == (2, 1)

    broker.refuse = set()
    feed(broker, NOON + dt.timedelta(seconds=2))

    assert arrived(broker) == ["R-0", "R-1"]
    assert in_state("HELD") == 1


def test_a_line_longer_than_a_look_is_emptied_of_what_is_over(door, broker, monkeypatch):
    monkeypatch.setattr(line, "MOST", 3)
    door = door(ONE)
    limit(max_in_flight=1)
    start_all(door, refs(10))
    feed(broker)
    for ref in refs(8):
        door.ask(c.CancelWorkflow(reason="x"), ref=ref)

    at, looks = NOON, 0
    while (again := feed(broker).again_at) is not None and again <= at:
        looks += 1
        assert looks < 10

    assert arrived(broker)[:1] + arrived(broker)[-1:] == ["R-0", "R-8"]


# --- the rate -----------------------------------------------------------------------------------------------------


def test_n_messages_take_n_minus_one_intervals_at_least(door, broker):
    door = door(ONE)
    limit(max_per_second=20)
    start_all(door, refs(40))

    at, left_at = NOON, []
    while len(left_at) < 40:
        out = feed(broker, at)
        left_at += [at] * out.count
        # Relays are woken when it is time, or a little late, or much later.
        at = max(out.again_at or at, at) + dt.timedelta(milliseconds=(7, 0, 90)[len(left_at) % 3])
        assert at - NOON < dt.timedelta(seconds=5)

    for count, moment in enumerate(left_at):
        assert (moment - left_at[0]).total_seconds() >= count / 20 - 0.000_01, count
    assert (left_at[-1] - left_at[0]).total_seconds() < 39 / 20 + 0.2
    assert sent(broker) == 40


def test_who_was_away_for_long_does_not_make_up_for_it(door, broker):
    door = door(ONE)
    limit(max_per_second=10)
    start_all(door, refs(30))
    feed(broker)

    late = NOON + dt.timedelta(seconds=60)
    assert feed(broker, late).count == 1
    assert feed(broker, late).count == 0


def test_less_than_one_a_second(door, broker):
    door = door(ONE)
    limit(max_per_second=0.1)
    start_all(door, refs(3))

    assert feed(broker).again_at == NOON + dt.timedelta(seconds=10)
    assert feed(broker, NOON + dt.timedelta(seconds=9.9)).count == 0
    assert feed(broker, NOON + dt.timedelta(seconds=10)).count == 1


def test_both_limits_hold(door, broker):
    door = door(ONE)
    limit(max_per_second=10, max_in_flight=2)
    start_all(door, refs(4))

    for tenth in range(5):
        feed(broker, NOON + dt.timedelta(seconds=tenth / 10))
    assert sent(broker) == 2
    complete(door, "R-0", "R-1")
    at = NOON + dt.timedelta(seconds=0.5)
    assert (feed(broker, at).count, feed(broker, at).count) == (1, 0)


def test_a_queue_that_takes_nothing_does_not_let_its_whole_line_out(door, broker):
    door = door(ONE)
    limit(max_per_second=1000)
    start_all(door, refs(40))
    broker.refuse = {QUEUE}

    for step in range(40):
        feed(broker, NOON + dt.timedelta(milliseconds=step))

    assert 0 < in_state("FAILED") <= 2 * line.MOST_UNSENT
    assert in_state("HELD") >= 20


# --- many at once -------------------------------------------------------------------------------------------------


def test_relays_at_once_let_out_no_more_than_there_is_room_for(door, broker):
    door = door(ONE)
    limit(max_in_flight=5)
    start_all(door, refs(60))
    most, ended = [], threading.Event()

    def work():
        try:
            while not ended.is_set():
                feed(broker)
        finally:
            connections.close_all()

    relays = [threading.Thread(target=work) for _ in range(3)]
    for one in relays:
        one.start()
    try:
        done = 0
        while done < 60:
            ready = arrived(broker)[done:]
            most.append(len(ready))
            for ref in ready[:2]:
                complete(door, ref)
                done += 1
    finally:
        ended.set()
        for one in relays:
            one.join()

    assert 2 <= max(most) <= 5
    assert sorted(arrived(broker)) == sorted(refs(60))
    assert not line.let_out(NOON).count


def test_the_end_of_work_wakes_the_relay_and_the_next_goes_out(door, broker):
    door = door(ONE)
    relay = Relay(open_bus=lambda: MemoryBus(broker), now=lambda: NOON)
    unsubscribe = listeners.subscribe(relay.heard)
    relay.worker.start()
    try:
        limit(max_in_flight=1)
        start_all(door, refs(20))
        for number in range(20):
            with broker.arrived:
                # Twenty safety nets would take far longer.
                assert broker.arrived.wait_for(lambda: sent(broker) > number, timeout=4), number  # noqa: B023
            assert sent(broker) == number + 1
            complete(door, f"R-{number}")
    finally:
        unsubscribe()
        relay.worker.stop()
        assert relay.worker.join(10)
        relay.close()


def test_what_is_in_memory_when_a_queue_gets_limits_goes_into_the_line(door, broker):
    door = door(ONE)
    relay = Relay(open_bus=lambda: MemoryBus(broker), now=lambda: NOON)
    fresh.messages.open(relay, offer=lambda: None)
    try:
        start_all(door, refs(3))
        limit(max_in_flight=1)
        relay._work()
        relay._work()
    finally:
        fresh.messages.close(relay)

    assert sent(broker) == 1
    assert in_state("HELD") == 2


def test_who_does_not_know_of_a_limit_yet_sends_nothing_past_it(door, broker, monkeypatch):
    door = door(ONE)
    limit(max_in_flight=1)
    with monkeypatch.context() as ignorant:
        ignorant.setattr(line, "holds", lambda *_: False)
        start_all(door, refs(3))
    assert in_state("PENDING") == 3

    feed(broker)
    feed(broker)

    assert (sent(broker), in_state("HELD")) == (1, 2)


def test_who_does_not_know_yet_that_a_limit_is_gone_leaves_nothing_behind(door, broker, monkeypatch):
    door = door(ONE)
    limit(max_in_flight=1)
    with monkeypatch.context() as ignorant:
        limits.remove(QUEUE, by="olivia", at=NOON)
        ignorant.setattr(line, "holds", lambda *_: True)
        start_all(door, refs(3))
    assert in_state("HELD") == 3

    assert line.free_strays(NOON) == 3
    relay_once(MemoryBus(broker), NOON)

    assert arrived(broker) == refs(3)


# --- leases -------------------------------------------------------------------------------------------------------


def hand_out(door):
    line.let_out(door.at)
    relay_once(DatabaseBus(), door.at)


def test_leases_hand_out_only_what_has_left_the_line(door):
    door = door(ONE)
    limit(max_in_flight=2)
    start_all(door, refs(4))
    assert door.lease(QUEUE, most=10) == []

    hand_out(door)
    first = door.lease(QUEUE, most=10)
    assert [one["business_ref_no"] for one in first] == ["R-0", "R-1"]
    hand_out(door)
    assert door.lease(QUEUE, most=10) == []

    complete(door, "R-0")
    hand_out(door)
    assert [one["business_ref_no"] for one in door.lease(QUEUE, most=10)] == ["R-2"]
    # A lease that ends gives the work to somebody else, and its place stays taken.
    door.at += dt.timedelta(seconds=61)
    hand_out(door)
    assert len(door.lease(QUEUE, most=10)) == 2


def test_who_waits_for_a_lease_hears_that_something_was_let_out(door):
    door = door(ONE)
    limit(max_in_flight=1)
    start_all(door, refs(1))
    relay = Relay(open_bus=DatabaseBus, now=lambda: NOON)
    unsubscribe = listeners.subscribe(leasing.bell.ring)
    rung = leasing.bell.count(QUEUE)
    try:
        relay._work()
    finally:
        unsubscribe()

    assert leasing.bell.count(QUEUE) > rung
    assert len(door.lease(QUEUE)) == 1


# --- setting, seeing, paying --------------------------------------------------------------------------------------


def test_who_has_set_it_to_what_is_kept(door):
    limit(max_in_flight=2)
    limit(max_in_flight=2)
    limits.put(QUEUE, max_in_flight=None, max_per_second=0.5, by="mona", reason="The printer is slow", at=NOON)
    limits.remove(QUEUE, by="olivia", at=NOON)

    kept = [
        (row.action, row.actor, row.subject, row.reason, row.data["from"], row.data["to"])
        for row in ControlRecord.objects.order_by("id")
    ]
    two, half = {"max_in_flight": 2, "max_per_second": None}, {"max_in_flight": None, "max_per_second": 0.5}
    assert kept == [
        ("QUEUE_LIMITED", "olivia", QUEUE, "", None, two),
        ("QUEUE_LIMITED", "mona", QUEUE, "The printer is slow", two, half),
        ("QUEUE_UNLIMITED", "olivia", QUEUE, "", half, None),
    ]


@pytest.mark.parametrize(
    ("queue", "how", "field"),
    [
        (QUEUE, {}, "max_in_flight"),
        (QUEUE, {"max_in_flight": 0}, "max_in_flight"),
        (QUEUE, {"max_in_flight": 10**6}, "max_in_flight"),
        (QUEUE, {"max_per_second": 0}, "max_per_second"),
        (QUEUE, {"max_per_second": float("nan")}, "max_per_second"),
        ("@steps", {"max_in_flight": 1}, ""),
    ],
)
def test_limits_that_make_no_sense_change_nothing(queue, how, field):
    with pytest.raises(limits.BadLimit) as bad:
        limit(queue, **how)

    assert bad.value.field == field
    assert not QueueLimit.objects.exists()
    assert not ControlRecord.objects.exists()


def test_the_line_is_seen(door, broker):
    door = door(ONE)
    limit(max_in_flight=2)
    start_all(door, refs(2))
    door.at += dt.timedelta(minutes=5)
    start_all(door, refs(3, 2))
    feed(broker, door.at)

    seen = limits.standings()[QUEUE]

    assert (seen.in_flight, seen.line, seen.oldest_at) == (2, 3, door.at)
    assert (seen.max_in_flight, seen.max_per_second, seen.changed_by) == (2, None, "olivia")
    assert not seen.line_is_least


def test_a_queue_without_limits_pays_nothing_for_those_of_others(door, broker):
    door = door(workflow(service("a"), service("b")))

    def statements(count):
        start_all(door, refs(5, count))
        OutboxMessage.objects.filter(queue=QUEUE).update(state=MessageState.SENT)
        with CaptureQueriesContext(connection) as seen:
            relay_once(MemoryBus(broker), NOON)
            door.ask(c.CompleteTask("S", "b"), ref=f"R-{count}")
        return len(seen)

    before = statements(0)
    limit(max_in_flight=1)

    assert statements(10) == before


def test_every_message_has_gone_its_way_in_the_end(door, broker):
    door = door(workflow(service("a", **retry(3))))
    limit(max_in_flight=3, max_per_second=1000)
    start_all(door, refs(12))
    at, failed = NOON, set()
    while WorkflowInstance.objects.exclude(state="COMPLETED").exists():
        at += dt.timedelta(seconds=1)
        feed(broker, at)
        door.at = at
        for ref in set(arrived(broker)):
            if ref not in failed:
                failed.add(ref)
                door.ask(c.FailTask("S", "a", error={"code": "no"}), ref=ref)
            elif arrived(broker).count(ref) == 2 and door.state(ref) != "COMPLETED":
                complete(door, ref)
        assert at - NOON < dt.timedelta(minutes=5)

    assert in_state("SENT") == 24
    for instance in WorkflowInstance.objects.all():
        check_clocks(instance)
