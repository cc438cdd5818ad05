"""A broker that is killed in the middle loses nothing, and is found again without anybody's help."""

import contextlib
import os
import signal
import time
import uuid

import pytest
from django.utils import timezone

from tests import engines
from tests.messaging.test_buses import Desk, consume
from tests.messaging.test_relay import TEMPLATE, start
from workflows.messaging.adapters.amqp import AmqpBus
from workflows.messaging.port import BusDown
from workflows.messaging.relay import relay_once
from workflows.models import OutboxMessage
from workflows.runtime import outbox
from workflows.runtime.publishing import publish_template

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def broker(tmp_path):
    try:
        server = engines.start_rabbitmq(base=tmp_path)
    except engines.EngineMissing as error:
        pytest.skip(f"ENGINE MISSING: {error}")
    servers = [server]
    yield servers
    for one in servers:
        engines.stop(one)


def kill(server):
    for pid in server.pids:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_everything_arrives_in_the_end(broker, tmp_path):
    publish_template(TEMPLATE, by="tests")
    url = broker[0].url
    port = int(url.rpartition(":")[2].partition("/")[0])
    sending, receiving, desk = AmqpBus(url), AmqpBus(url), Desk()
    references = [f"R-{uuid.uuid4().hex[:8]}" for _ in range(40)]
    start(*references[:20])
    assert relay_once(sending, timezone.now()) == 40
    assert consume(receiving, desk, "one_queue") > 0

    kill(broker[0])
    start(*references[20:])
    begin = time.monotonic()
    assert relay_once(sending, timezone.now()) == 40
    assert time.monotonic() - begin < 15
    assert set(OutboxMessage.objects.exclude(state="SENT").values_list("state", flat=True)) == {"FAILED"}
    broker.append(engines.start_rabbitmq(port=port, base=tmp_path))
    while OutboxMessage.objects.exclude(state="SENT").exists():
        relay_once(sending, outbox.next_due())
    while len({one.message_id for one in desk.taken}) < 80:
        # The consumer learns of the death only now, and opens anew.
        with contextlib.suppress(BusDown):
            consume(receiving, desk, "one_queue", "two_queue")

    sent = {str(message) for message in OutboxMessage.objects.values_list("message_id", flat=True)}
    assert {one.message_id for one in desk.taken} == sent
    sending.close()
    receiving.close()
