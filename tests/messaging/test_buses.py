"""The promises of a message bus: the same tests for every adapter."""

import uuid

import pytest
from kombu import Connection

from workflows.messaging.adapters.amqp import AmqpBus
from workflows.messaging.adapters.database import DatabaseBus
from workflows.messaging.adapters.kombu_transport import KombuBus
from workflows.messaging.adapters.memory import MemoryBroker, MemoryBus
from workflows.messaging.port import BusDown, Outgoing


class Memory:
    def __init__(self):
        self.broker = MemoryBroker()

    def bus(self):
        return MemoryBus(self.broker)

    def broken_bus(self):
        self.broker.down = True
        return MemoryBus(self.broker)


class Amqp:
    def __init__(self, url):
        self.url = url

    def bus(self):
        return AmqpBus(self.url)

    def broken_bus(self):
        return AmqpBus("amqp://guest:guest@127.0.0.1:1//")


class Redis:
    def __init__(self, url):
        self.url = url

    def bus(self):
        return KombuBus(self.url)

    def broken_bus(self):
        return KombuBus("redis://127.0.0.1:1/0")


@pytest.fixture(params=["memory", "amqp", "redis"])
def server(request):
    if request.param == "memory":
        return Memory()
    if request.param == "redis":
        return Redis(request.getfixturevalue("redis_url"))
    return Amqp(request.getfixturevalue("rabbitmq_url"))


@pytest.fixture
def buses(server):
    opened = []

    def open_bus():
        opened.append(server.bus())
        return opened[-1]

    yield open_bus
    for bus in opened:
        bus.close()


@pytest.fixture
def queue(server):
    name = f"tests-{uuid.uuid4().hex}"
    yield name
    if not isinstance(server, Memory):
        with Connection(server.url) as connection:
            for one in (name, f"{name}-2"):
                connection.channel().queue_delete(one)


def message(queue, body=b"{}"):
    return Outgoing(str(uuid.uuid4()), queue, body)


class Desk:
    """Takes what is handed over; refuses the first so many times."""

    def __init__(self, refusals=0):
        self.taken = []
        self.refusals = refusals

    def __call__(self, messages):
        if self.refusals:
            self.refusals -= 1
            raise ZeroDivisionError
        self.taken += messages


def consume(bus, desk, *queues, timeout=5.0, most=100):
    return bus.consume(desk, queues=queues, max_messages=most, timeout=timeout)


def test_what_is_sent_arrives_as_it_was_in_order(buses, queue):
    sent = [message(queue, f'{{"n":{n},"name":"Zoë"}}'.encode()) for n in range(250)]

    assert buses().publish(sent) == [None] * 250
    desk, bus = Desk(), buses()
    while len(desk.taken) < 250:
        assert consume(bus, desk, queue)

    assert [one.body for one in desk.taken] == [one.body for one in sent]
    assert [one.message_id for one in desk.taken] == [one.message_id for one in sent]
    assert {one.queue for one in desk.taken} == {queue}


def test_a_batch_is_bounded(buses, queue):
    buses().publish([message(queue) for _ in range(10)])
    desk = Desk()

    assert consume(buses(), desk, queue, most=4) <= 4


def test_waiting_ends(buses, queue):
    assert consume(buses(), Desk(), queue, timeout=0.1) == 0


def test_several_queues_are_heard_at_once(buses, queue):
    bus, desk = buses(), Desk()
    consume(bus, desk, queue, f"{queue}-2", timeout=0.1)

    buses().publish([message(queue), message(f"{queue}-2")])
    while len(desk.taken) < 2:
        assert consume(bus, desk, queue, f"{queue}-2")

    assert {one.queue for one in desk.taken} == {queue, f"{queue}-2"}


def test_what_was_not_dealt_with_arrives_again(server, buses, queue):
    buses().publish([message(queue, b"1"), message(queue, b"2")])
    bus, desk = buses(), Desk(refusals=1)

    with pytest.raises(ZeroDivisionError):
        consume(bus, desk, queue)
    while len(desk.taken) < 2:
        assert consume(bus, desk, queue)

    bodies = [one.body for one in desk.taken]
    # Redis does not remember the order of what it has handed out.
    assert (sorted(bodies) if isinstance(server, Redis) else bodies) == [b"1", b"2"]
    assert all(one.redelivered for one in desk.taken)


def test_what_was_dealt_with_does_not_arrive_again(buses, queue):
    buses().publish([message(queue)])
    bus = buses()
    assert consume(bus, Desk(), queue) == 1
    bus.close()

    assert consume(buses(), Desk(), queue, timeout=0.3) == 0


def test_a_closed_bus_opens_again(buses, queue):
    bus = buses()
    bus.publish([message(queue)])
    bus.close()

    assert bus.publish([message(queue)]) == [None]


def test_bytes_that_are_no_text_arrive_unchanged(buses, queue):
    buses().publish([message(queue, b"\xff\x00\xfe")])
    desk = Desk()
    consume(buses(), desk, queue)

    assert desk.taken[0].body == b"\xff\x00\xfe"


def test_a_bus_that_does_not_answer_says_so(server):
    bus = server.broken_bus()

    with pytest.raises(BusDown):
        bus.publish([message("any")])
    with pytest.raises(BusDown):
        consume(bus, Desk(), "any", timeout=0.1)
    bus.close()


def test_the_database_has_every_message_already():
    bus = DatabaseBus()

    assert bus.publish([message("a"), message("b")]) == [None, None]
    assert consume(bus, Desk(), "a", timeout=0) == 0


def test_a_queue_that_is_full_refuses_and_the_others_do_not(rabbitmq_url):
    full, free = (f"tests-{uuid.uuid4().hex}" for _ in range(2))
    with Connection(rabbitmq_url) as connection:
        channel = connection.channel()
        channel.queue_declare(full, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        bus = AmqpBus(rabbitmq_url)

        results = bus.publish([message(full), message(full), message(free), message(full)])

        assert results[0] is None
        assert results[2] is None
        assert results[1] is not None
        assert results[3] is not None
        # The channel goes on, and its numbers still match.
        assert bus.publish([message(free)]) == [None]
        bus.close()
        channel.queue_delete(full)
        channel.queue_delete(free)


def test_a_queue_that_others_have_declared_stays_as_it_is(rabbitmq_url):
    name = f"tests-{uuid.uuid4().hex}"
    with Connection(rabbitmq_url) as connection:
        channel = connection.channel()
        channel.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        bus = AmqpBus(rabbitmq_url)

        assert bus.publish([message(name)]) == [None]
        assert consume(bus, Desk(), name) == 1

        bus.close()
        channel.queue_delete(name)


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 rojo=1,congo=2"


@pytest.mark.parametrize("trace", ["", TRACE.partition(" ")[0], TRACE])
def test_a_trace_context_goes_with_a_message(buses, queue, trace):
    desk = Desk()
    sent = Outgoing(str(uuid.uuid4()), queue, b'{"n":1}', trace)

    assert buses().publish([sent]) == [None]
    consume(buses(), desk, queue)

    (taken,) = desk.taken
    assert (taken.body, taken.message_id, taken.fault) == (sent.body, sent.message_id, None)
    assert str(taken.trace or "") == trace


@pytest.mark.parametrize("server", ["amqp", "redis"], indirect=True)
def test_a_trace_context_that_cannot_be_read_is_left_out(server, buses, queue):
    bus, desk = buses(), Desk()
    consume(bus, desk, queue, timeout=0.1)
    with Connection(server.url) as connection:
        producer = connection.Producer()
        for headers in ({"traceparent": "00-?"}, {"traceparent": {"a": 1}}, {"traceparent": 7, "tracestate": [1]}):
            producer.publish(
                b"{}", routing_key=queue, content_type="application/json", content_encoding="utf-8", headers=headers
            )
    while len(desk.taken) < 3:
        assert consume(bus, desk, queue), "nothing comes"

    assert [(one.trace, one.fault) for one in desk.taken] == [(None, None)] * 3
