"""What is particular to brokers that kombu reaches by a URL."""

import json
import os
import subprocess
import sys
import time
import uuid

import pytest
from kombu import Connection, Producer

from tests.messaging.test_buses import Desk, consume, message
from tests.tree import ROOT
from workflows import wiring
from workflows.messaging.adapters import kombu_transport
from workflows.messaging.adapters.amqp import AmqpBus
from workflows.messaging.adapters.database import DatabaseBus
from workflows.messaging.adapters.kombu_transport import KombuBus
from workflows.messaging.port import BusDown


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (None, DatabaseBus),
        ("amqp://a@b/c", AmqpBus),
        ("amqps://a@b/c", AmqpBus),
        ("amqp://a@b/c;amqp://a@d/c", AmqpBus),
        ("redis://b/1", KombuBus),
        ("rediss://b/1", KombuBus),
        ("sentinel://b:26379/1", KombuBus),
        ("sqs://key:secret@", KombuBus),
    ],
)
def test_the_address_picks_the_bus(settings, url, kind):
    settings.BROKER_URL = url

    assert type(wiring.open_bus()) is kind


def test_a_broker_whose_library_is_not_installed_names_it():
    with pytest.raises(BusDown, match="boto"):
        KombuBus("sqs://key:secret@").publish([message("any")])
    with pytest.raises(BusDown, match="boto"):
        consume(KombuBus("sqs://key:secret@"), Desk(), "any")


@pytest.fixture
def queue(redis_url):
    name = f"tests-{uuid.uuid4().hex}"
    yield name
    with Connection(redis_url) as connection:
        connection.channel().queue_delete(name)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"content_type": "application/json", "content_encoding": "utf-8"}, None),
        ({"serializer": "json"}, None),
        ({"serializer": "json", "compression": "gzip"}, "compression"),
        ({"serializer": "pickle"}, "content_type"),
        ({"serializer": "yaml"}, "content_type"),
    ],
)
def test_a_service_sends_with_kombu_and_nothing_is_decoded_but_by_us(redis_url, queue, how, code):
    value = {"a": {"__type__": "uuid", "__value__": "no"}}
    with Connection(redis_url) as connection:
        producer = Producer(connection.channel())
        producer.publish(json.dumps(value) if "serializer" not in how else value, routing_key=queue, **how)
    bus, desk = KombuBus(redis_url), Desk()

    assert consume(bus, desk, queue) == 1

    (taken,) = desk.taken
    assert (taken.fault and taken.fault[0]) == code
    if code is None:
        assert json.loads(taken.body) == value
    bus.close()


def test_what_is_too_large_is_not_read(redis_url, queue):
    bus, desk = KombuBus(redis_url, most_bytes=100_000), Desk()
    bus.publish([message(queue, b"x" * 200_000)])

    assert consume(bus, desk, queue) == 1

    (taken,) = desk.taken
    assert (taken.fault[0], taken.size, len(taken.body)) == ("too_large", 200_000, 65_536)
    bus.close()


def test_what_a_killed_process_had_in_hand_comes_back(redis_url, queue, monkeypatch):
    monkeypatch.setattr(kombu_transport, "VISIBLE_AGAIN_SECONDS", 1)
    other, desk = KombuBus(redis_url), Desk()
    other.publish([message(queue, b"1")])
    # In a process of its own: nothing of what one does on its way out is done.
    killed = subprocess.run(
        [sys.executable, "-c", DIES, redis_url, queue],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert killed.returncode == 9

    end = time.monotonic() + 30
    while not desk.taken:
        assert time.monotonic() < end
        consume(other, desk, queue, timeout=1)

    (taken,) = desk.taken
    assert (taken.body, taken.redelivered) == (b"1", True)
    other.close()


DIES = """
import os, sys
from workflows.messaging.adapters.kombu_transport import KombuBus
_, url, queue = sys.argv
KombuBus(url).consume(lambda messages: os._exit(9), queues=[queue], max_messages=10, timeout=20)
"""
