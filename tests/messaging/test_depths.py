"""How many messages wait, and who listens: asked of real servers, without changing anything there."""

import uuid

import amqp
import pytest
from kombu import Connection

from workflows.messaging import depths
from workflows.messaging.connecting import close_amqp, open_amqp
from workflows.messaging.depths import Depth, read_queues
from workflows.messaging.port import BusDown


@pytest.fixture(autouse=True)
def _let_go():
    yield
    depths.close()


@pytest.fixture
def name():
    return f"tests-{uuid.uuid4().hex}"


def test_a_queue_tells_its_messages_and_its_consumers(rabbitmq_url, name):
    connection, taken = open_amqp(rabbitmq_url), []
    channel = connection.channel()
    channel.queue_declare(name, durable=True, auto_delete=False)
    for _ in range(3):
        channel.basic_publish_confirm(amqp.Message(b"x"), exchange="", routing_key=name)

    assert read_queues(rabbitmq_url, [name, f"{name}-not"]) == {name: Depth(3, 0), f"{name}-not": None}
    channel.basic_qos(0, 1, False)
    channel.basic_consume(name, callback=taken.append)
    while not taken:
        connection.drain_events(timeout=5)
    assert read_queues(rabbitmq_url, [name], timeout=5) == {name: Depth(2, 1)}

    channel.queue_delete(name)
    close_amqp(connection)


def test_a_connection_that_has_died_meanwhile_is_opened_anew(rabbitmq_url, name):
    assert read_queues(rabbitmq_url, [name]) == {name: None}
    depths._connections[rabbitmq_url].transport.sock.close()

    assert read_queues(rabbitmq_url, [name]) == {name: None}


def test_a_queue_of_redis_has_messages_and_nobody_knows_who_listens(redis_url, name):
    with Connection(redis_url) as connection:
        queue = connection.SimpleQueue(name)
        queue.put({"a": 1})

        assert read_queues(redis_url, [name, f"{name}-not"]) == {name: Depth(1, None), f"{name}-not": None}

        queue.clear()
        queue.close()


@pytest.mark.parametrize("url", ["amqp://guest:guest@127.0.0.1:1//", "redis://127.0.0.1:1/0"])
def test_a_broker_that_does_not_answer_is_an_exception(url):
    with pytest.raises(BusDown):
        read_queues(url, ["any"])
