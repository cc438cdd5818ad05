"""What was written down is sent: at once, or later, but always, and never by two at a time."""

import datetime as dt
import json
import threading

import pytest
from django.db import connections
from django.utils import timezone

from workflows.engine.commands import StartWorkflow
from workflows.messaging.adapters.database import DatabaseBus
from workflows.messaging.adapters.memory import MemoryBroker, MemoryBus
from workflows.messaging.relay import BATCH, Relay, relay_once
from workflows.models import OutboxMessage
from workflows.runtime import listeners, outbox
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
