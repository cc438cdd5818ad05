"""The queues' page in front of real brokers: one that answers, one that is gone, one that says nothing."""

import contextlib
import socket
import time
import uuid

import amqp
import pytest

from tests.builders import service, workflow
from workflows import wiring
from workflows.messaging import depths
from workflows.messaging.connecting import close_amqp, open_amqp
from workflows.runtime import broker


@pytest.fixture(autouse=True)
def _as_wired(settings):
    settings.INBOUND_QUEUE = f"tests-{uuid.uuid4().hex}"
    broker.ask_with(wiring._depths, own=wiring._own_queues)
    yield
    broker.ask_with(None)
    depths.close()


@pytest.fixture
def queue(begin):
    name = f"tests-{uuid.uuid4().hex}"
    begin(workflow(service("pay", task_queue=name)))
    return name


def test_it_shows_what_the_broker_has(browser_of, queue, settings, rabbitmq_url, sound):
    settings.BROKER_URL = rabbitmq_url
    connection = open_amqp(rabbitmq_url)
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, auto_delete=False)
    for _ in range(3):
        channel.basic_publish_confirm(amqp.Message(b"x"), exchange="", routing_key=queue)
    client = browser_of("olivia")

    # A busy machine may need a second look: the answer comes in the background.
    end = time.monotonic() + 30
    while not (answer := client.get("/queues/")).context["look"].broker.answers:
        assert time.monotonic() < end, answer.context["look"].broker
        time.sleep(0.05)

    found = {one.name: (one.depth, one.from_broker, one.consumers) for one, _ in answer.context["rows"]}
    assert found == {
        queue: (3, True, 0),
        settings.INBOUND_QUEUE: (None, False, None),
        f"{settings.INBOUND_QUEUE}.dead": (None, False, None),
    }
    assert "does not answer" not in sound(answer)
    channel.queue_delete(queue)
    close_amqp(connection)


def test_a_broker_that_is_gone_is_said(browser_of, queue, settings, sound):
    settings.BROKER_URL = "amqp://guest:secret@127.0.0.1:1//"

    answer = browser_of("olivia").get("/queues/")

    html = sound(answer)
    assert "The broker does not answer." in html
    assert "secret" not in html
    assert [(one.depth, one.from_broker) for one, _ in answer.context["rows"] if one.name == queue] == [(1, False)]


def test_a_broker_that_says_nothing_keeps_nobody_waiting(browser_of, queue, settings, sound):
    client = browser_of("olivia")
    sound(client.get("/queues/"))  # what is slow only once
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        settings.BROKER_URL = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}//"
        waited = []
        for _ in range(2):
            begun = time.perf_counter()
            broker.look([queue])
            waited.append(time.perf_counter() - begun)

        assert broker.PATIENCE < 1
        assert waited[0] < broker.PATIENCE + 3  # of which the machine may be busy for some time
        assert waited[1] < waited[0]
        assert "The broker does not answer." in sound(client.get("/queues/"))
