"""A broker that is killed, or that takes nothing for want of memory, loses nothing, and is found again by itself."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from django.utils import timezone

from tests import engines
from tests.messaging.test_buses import Desk, consume
from tests.messaging.test_relay import TEMPLATE, start
from workflows.messaging import condition
from workflows.messaging.adapters.amqp import AmqpBus
from workflows.messaging.port import BusDown
from workflows.messaging.relay import relay_once
from workflows.models import OutboxMessage
from workflows.runtime import outbox
from workflows.runtime.publishing import publish_template

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    base = tmp_path_factory.mktemp("broker")
    try:
        server = engines.start_rabbitmq(base=base)
    except engines.EngineMissing as error:
        pytest.skip(f"ENGINE MISSING: {error}")
    servers = [server]
    yield servers
    for one in servers:
        engines.stop(one)


def control(server, *command):
    """Have its own control program say something to the broker."""
    (base,) = server.folders
    port = server.url.rpartition(":")[2].partition("/")[0]
    program = next(
        path
        for path in ("/usr/lib/rabbitmq/bin/rabbitmqctl", shutil.which("rabbitmqctl"))
        if path and Path(path).exists()
    )
    said = subprocess.run(
        [program, "--quiet", "-n", f"orchestrator-{port}@localhost", *command],
        env=os.environ | {"HOME": base}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr


def test_an_alarm_of_the_broker_leaves_the_rows_where_they_are(broker):
    publish_template(TEMPLATE, by="tests")
    url = broker[-1].url
    sending, receiving, desk = AmqpBus(url), AmqpBus(url), Desk()
    start("R-1")
    assert relay_once(sending, timezone.now()) == 2
    while len(desk.taken) < 1:
        consume(receiving, desk, "one_queue")

    control(broker[-1], "set_vm_memory_high_watermark", "0.00001")
    try:
        references = [f"R-{number}" for number in range(2, 12)]
        end = time.monotonic() + 30
        while condition.read().state != condition.BLOCKED:
            assert time.monotonic() < end
            if references:
                start(references.pop())
            begin = time.monotonic()
            relay_once(sending, timezone.now())
            assert time.monotonic() - begin < 10
        kept = sending._sending._connection
        start("R-100")
        begin = time.monotonic()
        relay_once(sending, timezone.now())

        # Nothing is sent, nobody waits, and the one connection is kept.
        assert time.monotonic() - begin < 2
        assert sending._sending._connection is kept
        blocked = OutboxMessage.objects.filter(instance__business_ref_no="R-100")
        assert set(blocked.values_list("state", flat=True)) == {"FAILED"}
        assert "alarm" in blocked.first().error
        # Whoever only takes is not held up.
        assert consume(receiving, desk, "two_queue") > 0
    finally:
        control(broker[-1], "set_vm_memory_high_watermark", "0.6")

    end = time.monotonic() + 60
    while condition.read().state != condition.WORKS:
        assert time.monotonic() < end
        sending.tend()
    while OutboxMessage.objects.exclude(state="SENT").exists():
        assert time.monotonic() < end
        relay_once(sending, outbox.next_due())
    sent = {str(message) for message in OutboxMessage.objects.values_list("message_id", flat=True)}
    while not sent <= {one.message_id for one in desk.taken}:
        assert time.monotonic() < end
        consume(receiving, desk, "one_queue", "two_queue", timeout=0.5)
    sending.close()
    receiving.close()


def kill(server):
    for pid in server.pids:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_everything_arrives_in_the_end(broker):
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
    broker.append(engines.start_rabbitmq(port=port, base=Path(broker[0].folders[0])))
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
