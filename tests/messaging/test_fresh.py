"""What a process commits is sent by its own relay from memory; whatever goes wrong with that, it is sent all the same."""

import contextlib
import json
import time

import pytest
from django.utils import timezone

from tests.messaging.test_relay import TEMPLATE, cancel, start
from workflows.messaging.adapters.memory import MemoryBroker, MemoryBus
from workflows.messaging.port import BusDown
from workflows.messaging.relay import Relay, relay_once
from workflows.models import OutboxMessage
from workflows.runtime import fresh, listeners, outbox
from workflows.runtime.publishing import publish_template

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def broker():
    publish_template(TEMPLATE, by="tests")
    return MemoryBroker()


class PostBus(MemoryBus):
    """A bus that takes messages from whoever commits; `lost`: their fate is not known."""

    lost = False

    def __init__(self, broker):
        super().__init__(broker)
        self.posted = []

    def post(self, messages):
        self.posted += messages
        return True

    def confirm(self):
        posted, self.posted = self.posted, []
        if self.lost:
            raise BusDown("gone")
        return self.publish(posted)


@contextlib.contextmanager
def running(bus):
    """A relay that has had its first look, and hears of commits."""
    relay = Relay(open_bus=lambda: bus, now=timezone.now)
    unsubscribe = listeners.subscribe(relay.heard)
    relay.worker.start()
    until(lambda: fresh.messages.granted)
    try:
        yield relay
    finally:
        unsubscribe()
        relay.worker.stop()
        assert relay.worker.join(10)
        relay.close()
        assert not fresh.messages.granted


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def unsent():
    return OutboxMessage.objects.exclude(state="SENT").count()


def sent(broker):
    return sorted(one.message_id for queue in broker.queues.values() for one in queue)


def settled_once(broker):
    until(lambda: unsent() == 0)
    assert sent(broker) == sorted(str(key) for key in OutboxMessage.objects.values_list("message_id", flat=True))


@pytest.mark.parametrize("kind", [MemoryBus, PostBus])
def test_it_is_sent_without_being_looked_for(broker, monkeypatch, kind):
    with running(kind(broker)) as relay:
        until(lambda: not relay._look_wanted and relay._next_look > time.monotonic() + 1)
        monkeypatch.setattr(outbox, "hand_over", lambda *_, **__: pytest.fail("looked for"))

        start("R-1", "R-2")

        settled_once(broker)
    row = OutboxMessage.objects.first()
    assert (row.tries, row.error) == (0, "")
    assert row.created_at <= row.sent_at <= timezone.now()


def test_it_is_on_the_bus_before_anybody_is_woken(broker):
    bus = PostBus(broker)
    with running(bus) as relay:
        until(lambda: not relay._look_wanted)
        with relay._bus_in_use:
            pass
        heard = []
        unsubscribe = listeners.subscribe(lambda _: heard.append(len(bus.posted) + len(sent(broker))))
        start("R-1")
        unsubscribe()

        assert heard == [2]


def test_other_relays_leave_it_alone_until_its_head_start_is_over(broker):
    at = timezone.now()
    fresh.messages.open(broker, offer=lambda: None)
    try:
        start("R-1", at=at)
    finally:
        fresh.messages.close(broker)

    assert relay_once(MemoryBus(broker), at + fresh.HEAD_START / 2) == 0
    # Nobody has settled it: the process may have died after it was sent, or before.
    assert relay_once(MemoryBus(broker), at + fresh.HEAD_START) == 2
    settled_once(broker)


def test_without_a_relay_in_the_process_there_is_no_head_start(broker):
    at = timezone.now()
    start("R-1", at=at)
    assert relay_once(MemoryBus(broker), at) == 2


def test_what_is_told_later_of_a_task_is_sent_later(broker):
    with running(PostBus(broker)):
        for number in range(20):
            start(f"R-{number}")
            cancel(f"R-{number}")
        settled_once(broker)
    for queue in ("one_queue", "two_queue"):
        told = [json.loads(one.body) for one in broker.queues[queue]]
        for number in range(20):
            names = [one["event_name"] for one in told if one["business_ref_no"] == f"R-{number}"]
            assert names == ["StartTask", "CancelTask"]


@pytest.mark.parametrize("kind", [MemoryBus, PostBus])
def test_while_the_bus_is_down_it_goes_the_usual_way_and_comes_back(broker, kind):
    with running(kind(broker)) as relay:
        broker.down = True
        start("R-1")
        until(lambda: OutboxMessage.objects.filter(state="FAILED").count() == 2)
        until(lambda: not fresh.messages.granted)
        start("R-2")
        assert "does not answer" in OutboxMessage.objects.filter(state="FAILED").first().error

        broker.down = False
        relay.look()

        settled_once(broker)
        until(lambda: fresh.messages.granted)


def test_what_is_in_doubt_goes_out_again_with_the_same_id(broker):
    bus = PostBus(broker)
    with running(bus) as relay:
        until(lambda: not relay._look_wanted)
        bus.lost = True
        start("R-1")
        settled_once(broker)
    assert len(sent(broker)) == 2


def test_a_queue_that_refuses_is_tried_again_later(broker):
    broker.refuse = {"one_queue"}
    with running(MemoryBus(broker)):
        start("R-1")
        until(lambda: sorted(OutboxMessage.objects.values_list("state", flat=True)) == ["FAILED", "SENT"])
    failed = OutboxMessage.objects.get(state="FAILED")
    assert failed.tries == 1
    assert "takes nothing" in failed.error


def test_what_has_waited_for_too_long_is_left_to_others(broker, monkeypatch):
    monkeypatch.setattr(fresh, "YOUNG", -1.0)
    with running(MemoryBus(broker)):
        start("R-1")
        settled_once(broker)


def test_a_relay_that_ends_sends_and_settles_what_it_has(broker):
    with running(PostBus(broker)) as relay:
        until(lambda: not relay._look_wanted)
        start("R-1")
    settled_once(broker)
