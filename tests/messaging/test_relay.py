"""What was written down is sent: at once, or later, but always, and never by two at a time."""

import datetime as dt
import json
import threading
from collections import deque

import pytest
from django.db import connection, connections
from django.utils import timezone

from workflows.engine.commands import CancelWorkflow, StartWorkflow
from workflows.messaging.adapters.database import DatabaseBus
from workflows.messaging.adapters.memory import MemoryBroker, MemoryBus
from workflows.messaging.relay import BATCH, PROBE, Relay, relay_once
from workflows.models import OutboxMessage
from workflows.runtime import fresh, listeners, outbox
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.handling import handle
from workflows.runtime.publishing import publish_template

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
TEMPLATE = {
    "workflow_name": "Two at once",
    "component_name": "RELAY",
    "stages": [
        {
            "stage_name": "WORK",
            "stage_order": 1,
            "tasks": [
                {"task_name": "one", "task_type": "SERVICE", "task_queue": "one_queue", "colour": "red"},
                {"task_name": "two", "task_type": "SERVICE", "task_queue": "two_queue"},
            ],
        }
    ],
}


@pytest.fixture
def broker():
    publish_template(TEMPLATE, by="tests")
    return MemoryBroker()


def start(*references, at=None):
    handle(*(Asked(StartWorkflow(ref), Reference("RELAY", ref), actor="tests") for ref in references), at=at)


def states():
    return sorted(OutboxMessage.objects.values_list("task_name", "state"))


def test_a_message_goes_out_as_it_was_written_down(broker):
    start("R-1")

    assert relay_once(MemoryBus(broker), timezone.now()) == 2

    (sent,) = broker.queues["one_queue"]
    row = OutboxMessage.objects.get(task_name="one")
    assert json.loads(sent.body) == row.payload
    assert sent.message_id == str(row.message_id) == row.payload["message_id"]
    assert row.payload["colour"] == "red"
    assert row.state == "SENT"
    assert row.sent_at
    assert relay_once(MemoryBus(broker), timezone.now()) == 0


def test_what_the_database_bus_has_already_is_only_written_down(broker):
    start("R-1")

    assert relay_once(DatabaseBus(), timezone.now()) == 2

    assert states() == [("one", "SENT"), ("two", "SENT")]
    assert relay_once(DatabaseBus(), timezone.now()) == 0


def test_while_the_bus_is_down_everything_is_kept_and_tried_less_and_less_often(broker):
    at = timezone.now()
    start("R-1", at=at)
    broker.down = True
    pauses = []
    for _ in range(8):
        due = outbox.next_due()
        pauses.append((due - at).total_seconds())
        at = due
        assert relay_once(MemoryBus(broker), at) == 2
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60]
    assert states() == [("one", "FAILED"), ("two", "FAILED")]
    assert "switched off" in OutboxMessage.objects.first().error

    broker.down = False
    relay_once(MemoryBus(broker), outbox.next_due())

    assert states() == [("one", "SENT"), ("two", "SENT")]
    assert OutboxMessage.objects.first().error == ""


def test_one_queue_that_refuses_does_not_hold_up_the_other(broker):
    start("R-1")
    broker.refuse = {"one_queue"}

    relay_once(MemoryBus(broker), timezone.now())

    assert states() == [("one", "FAILED"), ("two", "SENT")]


def test_a_relay_that_died_with_messages_in_hand_loses_none(broker):
    at = timezone.now()
    start("R-1", at=at)
    assert len(outbox.claim(at, most=10)) == 2

    assert relay_once(MemoryBus(broker), at) == 0
    assert relay_once(MemoryBus(broker), at + outbox.CLAIM) == 2


def test_many_relays_send_each_message_once(broker):
    start(*(f"R-{number}" for number in range(BATCH)))

    def work():
        try:
            while relay_once(MemoryBus(broker), timezone.now()):
                pass
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    sent = [one.message_id for queue in broker.queues.values() for one in queue]
    assert len(sent) == len(set(sent)) == 2 * BATCH
    assert OutboxMessage.objects.exclude(state="SENT").count() == 0


def test_a_commit_wakes_the_relay(broker):
    relay = Relay(open_bus=lambda: MemoryBus(broker), now=timezone.now)
    unsubscribe = listeners.subscribe(relay.heard)
    relay.worker.start()
    try:
        start("R-1")

        with broker.arrived:
            assert broker.arrived.wait_for(lambda: len(broker.queues["two_queue"]) == 1, timeout=3)
    finally:
        unsubscribe()
        relay.worker.stop()
        assert relay.worker.join(10)
        relay.close()


def test_a_pause_grows_no_longer_than_a_minute():
    assert outbox.back_off(1_000_000) == dt.timedelta(seconds=60)


def cancel(*references):
    handle(*(Asked(CancelWorkflow(reason="x"), Reference("RELAY", ref), actor="tests") for ref in references))


def sent_to(broker, queue):
    return [json.loads(one.body)["event_name"] for one in broker.queues[queue]]


def test_what_withdraws_a_task_waits_for_what_has_offered_it(broker):
    at = timezone.now()
    start("R-1", at=at)
    broker.refuse = {"one_queue"}
    relay_once(MemoryBus(broker), at)
    cancel("R-1")
    broker.refuse = set()

    relay_once(MemoryBus(broker), timezone.now())

    assert sent_to(broker, "one_queue") == []
    assert sent_to(broker, "two_queue") == ["StartTask", "CancelTask"]
    while (due := outbox.next_due()) is not None:
        relay_once(MemoryBus(broker), due)
    assert sent_to(broker, "one_queue") == ["StartTask", "CancelTask"]


def test_one_relay_does_not_overtake_another(broker):
    """While one relay has a task's first message in hand, the second finds the next message of that task."""
    start("R-1")
    in_hand, may_go_on = threading.Event(), threading.Event()

    class Slow(MemoryBus):
        def publish(self, messages):
            in_hand.set()
            assert may_go_on.wait(20)
            return super().publish(messages)

    def work():
        try:
            relay_once(Slow(broker), timezone.now())
        finally:
            connections.close_all()

    first = threading.Thread(target=work)
    first.start()
    assert in_hand.wait(20)
    cancel("R-1")

    relay_once(MemoryBus(broker), timezone.now())
    assert broker.queues["one_queue"] == broker.queues["two_queue"] == deque()
    may_go_on.set()
    first.join()
    while (due := outbox.next_due()) is not None:
        relay_once(MemoryBus(broker), due)

    assert sent_to(broker, "one_queue") == sent_to(broker, "two_queue") == ["StartTask", "CancelTask"]


def test_relays_at_once_keep_the_order_of_every_task(broker):
    references = [f"R-{number}" for number in range(60)]
    start(*references[:30])
    ended = threading.Event()

    def work():
        try:
            while not ended.is_set() or outbox.next_due() is not None:
                relay_once(MemoryBus(broker), timezone.now(), most=7)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(0, 30, 5):
        cancel(*references[number : number + 5])
        start(*references[30 + number : 35 + number])
    ended.set()
    for thread in threads:
        thread.join()

    for queue in ("one_queue", "two_queue"):
        told = [json.loads(one.body) for one in broker.queues[queue]]
        for reference in references[:30]:
            names = [one["event_name"] for one in told if one["business_ref_no"] == reference]
            assert names == ["StartTask", "CancelTask"]
    assert OutboxMessage.objects.exclude(state="SENT").count() == 0


def test_a_relay_feels_with_a_few_whether_the_bus_is_back_and_then_sends_all_at_once(broker):
    clock = [timezone.now()]
    start(*(f"R-{number}" for number in range(PROBE)), at=clock[0])
    relay = Relay(open_bus=lambda: MemoryBus(broker), now=lambda: clock[0])
    relay.worker.doze = lambda seconds: None
    broker.down = True
    relay._work()
    for _ in range(3):
        clock[0] += dt.timedelta(seconds=8)
        relay._work()
    tries = list(OutboxMessage.objects.order_by("tries").values_list("tries", flat=True))
    assert sum(tries) == 2 * PROBE + 3 * PROBE
    clock[0] += dt.timedelta(seconds=8)

    broker.down = False
    for _ in range(3):
        relay._work()
    fresh.messages.close(relay)

    # Some of them would have had a longer pause.
    assert OutboxMessage.objects.exclude(state="SENT").count() == 0


def test_a_relay_that_dies_with_rows_in_hand_leaves_them_to_others(broker):
    start("R-1")

    class Dying(MemoryBus):
        def publish(self, messages):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        relay_once(Dying(broker), timezone.now())

    # On SQLite its claim has to pass first.
    wait = dt.timedelta(0) if connection.vendor == "postgresql" else outbox.CLAIM
    assert relay_once(MemoryBus(broker), timezone.now() + wait) == 2
