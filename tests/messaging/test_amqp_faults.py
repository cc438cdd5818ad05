"""RabbitMQ through a line that breaks: nothing is lost, nothing is taken for sent that is not, nobody waits for ever."""

import contextlib
import threading
import time
import uuid
from urllib.parse import urlsplit

import amqp
import pytest
from amqp.exceptions import AMQPError

from tests.messaging.test_buses import Desk, consume, message
from tests.proxy import Proxy
from workflows.messaging import condition, connecting
from workflows.messaging.adapters import amqp_receiving, amqp_sending
from workflows.messaging.adapters.amqp import AmqpBus
from workflows.messaging.connecting import close_amqp, open_amqp
from workflows.messaging.port import BusDown, Outgoing


@pytest.fixture
def line(rabbitmq_url):
    parts = urlsplit(rabbitmq_url)
    with Proxy((parts.hostname, parts.port or 5672)) as proxy:
        proxy.url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl()
        yield proxy


@pytest.fixture
def bus(line):
    made = AmqpBus(line.url, inbound=f"tests-{uuid.uuid4().hex}")
    yield made
    made._sending.drop()
    made._receiving.drop()


@pytest.fixture
def admin(rabbitmq_url):
    connection = open_amqp(rabbitmq_url)
    yield connection
    close_amqp(connection)


@pytest.fixture
def queue(admin):
    name = f"tests-{uuid.uuid4().hex}"
    admin.channel().queue_declare(name, durable=True, auto_delete=False)
    yield name
    admin.channel().queue_delete(name)


def depth(admin, queue):
    channel = admin.channel()
    count = channel.queue_declare(queue, passive=True).message_count
    channel.close()
    return count


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_down(ask):
    try:
        ask()
    except BusDown:
        return True
    return False


def test_a_broker_that_takes_and_says_nothing_is_given_up_within_ten_seconds(line, bus, queue, admin, monkeypatch):
    assert amqp_sending.CONFIRM_SECONDS + 1 < 10
    monkeypatch.setattr(amqp_sending, "CONFIRM_SECONDS", 2)
    assert bus.publish([message(queue)]) == [None]
    line.hold("down")
    begun = time.monotonic()

    with pytest.raises(BusDown):
        bus.publish([message(queue)])

    assert time.monotonic() - begun < 2 + 1
    assert condition.read().state == condition.DOWN
    line.heal()
    assert bus.publish([message(queue)]) == [None]
    assert condition.read().state == condition.WORKS
    # The one that was not confirmed has arrived all the same: it may be sent again, it is never lost.
    until(lambda: depth(admin, queue) == 3)


def test_a_broker_that_lets_in_and_says_nothing_is_given_up_too(line, bus, queue, monkeypatch):
    assert connecting.CONNECT_SECONDS + 1 < 10
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 1)
    line.hold()
    begun = time.monotonic()

    with pytest.raises(BusDown):
        bus.publish([message(queue)])
    with pytest.raises(BusDown):
        consume(bus, Desk(), queue)

    assert time.monotonic() - begun < 2 + 2
    monkeypatch.undo()
    line.heal()
    assert bus.publish([message(queue)]) == [None]


def test_a_late_confirm_is_not_taken_for_that_of_another_message(line, bus, admin, queue, monkeypatch):
    monkeypatch.setattr(amqp_sending, "CONFIRM_SECONDS", 0.5)
    full = f"{queue}-full"
    admin.channel().queue_declare(full, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    assert bus.publish([message(full)]) == [None]
    line.hold("down")
    with pytest.raises(BusDown):
        bus.publish([message(queue)])
    # The confirm comes while the next message is waited for.
    later = threading.Timer(0.3, line.heal)
    later.start()

    (refused,) = bus.publish([message(full)])

    later.join()

    assert "refused" in refused
    assert depth(admin, full) == 1
    admin.channel().queue_delete(full)


def test_a_line_that_is_cut_costs_one_batch_its_answer_and_no_message(line, bus, queue, admin):
    assert bus.publish([message(queue)]) == [None]
    line.reset_after(10, "down")
    sent = [message(queue) for _ in range(50)]

    with pytest.raises(BusDown):
        bus.publish(sent)
    line.heal()
    assert bus.publish(sent) == [None] * 50

    arrived, desk = set(), Desk()
    while len(arrived) < 51:
        assert consume(bus, desk, queue)
        arrived = {one.message_id for one in desk.taken}


def test_a_consumer_whose_line_is_cut_takes_again(line, bus, queue):
    bus.publish([message(queue)])
    desk = Desk()
    assert consume(bus, desk, queue) == 1
    line.cut()

    assert is_down(lambda: consume(bus, desk, queue, timeout=5))
    assert condition.read().state == condition.DOWN
    assert not is_down(lambda: consume(bus, desk, queue, timeout=0.1))
    assert condition.read().state == condition.WORKS
    until(lambda: not is_down(lambda: bus.publish([message(queue)])))

    until(lambda: not consume_calmly(bus, desk, queue) and len(desk.taken) >= 2)


def consume_calmly(bus, desk, queue):
    with contextlib.suppress(BusDown):
        consume(bus, desk, queue, timeout=0.2)


def test_a_batch_that_was_dealt_with_when_the_line_broke_arrives_again(line, bus, queue):
    bus.publish([message(queue), message(queue)])
    taken = []

    def handle(messages):
        taken.append([one.message_id for one in messages])
        if len(taken) == 1:
            line.cut()

    def came_again():
        with contextlib.suppress(BusDown):
            bus.consume(handle, queues=[queue], max_messages=100, timeout=0.5)
        return len(taken) > 1 and set(taken[0]) <= {one for batch in taken[1:] for one in batch}

    # The other one may come first.
    until(came_again)
    assert len({one for batch in taken for one in batch}) == 2


def test_a_consumer_finds_a_silent_line_out_by_the_heartbeats(line, bus, queue, monkeypatch):
    monkeypatch.setattr(amqp_receiving, "HEARTBEAT_SECONDS", 1)
    consume(bus, Desk(), queue, timeout=0.1)
    line.hold()

    until(lambda: is_down(lambda: consume(bus, Desk(), queue, timeout=0.5)))

    line.heal()
    bus.publish([message(queue)])
    desk = Desk()
    until(lambda: consume_calmly(bus, desk, queue) or desk.taken)


def test_an_idle_sender_finds_a_dead_line_out_and_opens_another(line, bus, queue):
    bus.publish([message(queue)])
    line.cut()

    until(lambda: is_down(bus.tend))
    assert bus.publish([message(queue)]) == [None]


def test_a_queue_that_is_deleted_under_its_consumer_is_declared_again(bus, queue, admin):
    desk = Desk()
    consume(bus, desk, queue, timeout=0.1)
    admin.channel().queue_delete(queue)

    until(lambda: is_down(lambda: consume(bus, desk, queue, timeout=0.2)))
    assert consume(bus, desk, queue, timeout=0.1) == 0
    assert bus.publish([message(queue)]) == [None]
    assert consume(bus, desk, queue) == 1


def test_a_queue_that_is_deleted_under_its_sender_is_declared_again(bus, queue, admin):
    assert bus.publish([message(queue)]) == [None]
    admin.channel().queue_delete(queue)

    assert bus.publish([message(queue), message(queue)]) == [None, None]

    assert depth(admin, queue) == 2


def test_what_has_nowhere_to_go_says_so_and_the_others_go(bus, queue, admin):
    reserved, long = "amq.not-for-us", "x" * 300
    results = bus.publish([message(reserved), message(queue), message(long), message(queue)])

    assert results[1] is None
    assert results[3] is None
    assert reserved in results[0]
    assert "255" in results[2]
    assert depth(admin, queue) == 2


def test_a_large_batch_that_comes_back_whole_does_not_lock_the_two_sides(bus, queue):
    body = b"x" * 300_000
    results = bus.publish([Outgoing(str(uuid.uuid4()), "amq.not-for-us", body) for _ in range(60)])

    assert None not in results
    assert bus.publish([Outgoing("1", queue, body)]) == [None]
    desk = Desk()
    consume(bus, desk, queue)
    assert desk.taken[0].body == body


@pytest.mark.parametrize("queue_kind", ["quorum", "classic"])
def test_queues_are_declared_to_keep_everything(rabbitmq_url, admin, queue_kind):
    inbound = f"tests-{uuid.uuid4().hex}"
    bus = AmqpBus(rabbitmq_url, inbound=inbound, queue_kind=queue_kind)
    assert bus.publish([message(f"{inbound}-service")]) == [None]
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{inbound}.dead"}
    if queue_kind == "quorum":
        letters |= {"x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once"}
        letters |= {"x-overflow": "reject-publish"}
    limit = {"x-delivery-limit": 50} if queue_kind == "quorum" else {}

    # Declared again with the same arguments, and refused with any other. A service's queue is as services declare it.
    channel = admin.channel()
    channel.queue_declare(f"{inbound}-service", durable=True, auto_delete=False)
    channel.queue_declare(inbound, durable=True, auto_delete=False, arguments=letters | limit)
    channel.queue_declare(f"{inbound}.dead", passive=True)
    with pytest.raises(AMQPError):
        channel.queue_declare(inbound, durable=True, auto_delete=False)

    bus.close()
    channel = admin.channel()
    for name in (inbound, f"{inbound}-service", f"{inbound}.dead"):
        channel.queue_delete(name)


def test_a_queue_that_exists_otherwise_stays_and_is_told_once(rabbitmq_url, admin, queue, caplog):
    channel = admin.channel()
    channel.basic_publish_confirm(amqp.Message(b"{}"), exchange="", routing_key=queue)
    for _ in range(2):
        bus = AmqpBus(rabbitmq_url, inbound=queue)
        desk = Desk()
        consume(bus, desk, queue, timeout=1)
        bus.close()

    assert [record.getMessage() for record in caplog.records if "stays as it is" in record.getMessage()] != []
    assert sum("stays as it is" in record.getMessage() for record in caplog.records) == 1
    channel.queue_delete(f"{queue}.dead")


def test_a_queue_that_confirms_nothing_holds_up_no_other(bus, admin, queue, monkeypatch):
    monkeypatch.setattr(amqp_sending, "CONFIRM_SECONDS", 0.5)
    mute, others = message(queue=queue), [message(queue=queue) for _ in range(3)]
    sending = bus._sending
    confirmed = sending._closed

    def all_but_one(tag, multiple):
        # As if the broker had said nothing of it, which is what a replicated queue without a leader does.
        held = {one: number for one, number in sending._open.items() if sending._ids[number] == mute.message_id}
        numbers = confirmed(tag, multiple)
        sending._open.update(held)
        return [number for number in numbers if number not in held.values()]

    monkeypatch.setattr(sending, "_closed", all_but_one)

    results = bus.publish([others[0], mute, *others[1:]])

    assert [result is None for result in results] == [True, False, True, True]
    assert sending._connection is None, "a late confirm must not meet a later tag"
    monkeypatch.setattr(sending, "_closed", confirmed)
    assert bus.publish([mute]) == [None]


def test_what_is_posted_is_there_before_anybody_waits_for_it(bus, queue, admin):
    assert not bus.post([message(queue)])  # there is no connection yet, and opening one takes time
    assert bus.publish([message(queue)]) == [None]

    assert bus.post([message(queue), message(queue)])

    until(lambda: depth(admin, queue) == 3)
    assert not bus.post([message(queue)])  # something is under way
    assert bus.confirm() == [None, None]
    assert bus.post([message(queue)])
    assert bus.confirm() == [None]


def test_only_what_holds_up_nobody_is_posted(bus, queue, admin):
    assert bus.publish([message(queue)]) == [None]
    assert not bus.post([Outgoing("1", queue, b"x" * amqp_sending.POST_BYTES)])
    assert bus.publish([message(queue)]) == [None]
    assert depth(admin, queue) == 2


def test_what_is_posted_to_a_queue_that_is_none_makes_it(bus, queue, admin):
    assert bus.publish([message(queue)]) == [None]
    name = f"{queue}-new"

    assert bus.post([message(name), message(queue)])
    assert bus.confirm() == [None, None]

    assert depth(admin, name) == 1
    assert depth(admin, queue) == 2
    admin.channel().queue_delete(name)


def test_what_was_posted_on_a_connection_that_broke_is_in_doubt(line, bus, queue, admin):
    assert bus.publish([message(queue)]) == [None]
    line.hold("down")
    assert bus.post([message(queue)])
    line.cut()

    with pytest.raises(BusDown):
        bus.confirm()

    line.heal()
    until(lambda: not is_down(lambda: bus.publish([message(queue)])))
    assert depth(admin, queue) >= 2
