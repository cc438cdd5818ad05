"""The relay alone: an outbox full of messages, and the time until the broker has confirmed and the rows say so."""

import argparse
import datetime as dt
import json
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

import amqp
from django.utils import timezone
from kombu import Connection

from tests.benchmarks.as_site import settings
from tests.benchmarks.pizza import through_the_door
from workflows import wiring
from workflows.messaging.relay import relay_once
from workflows.models import OutboxMessage

QUEUE = "benchmark-relay"
BODY = 190
AT_ONCE = 100


def product(*, messages: int) -> dict[str, Any]:
    """Relay so many messages of a usual size in one process."""
    through_the_door([(1, None)])
    first = OutboxMessage.objects.get()
    OutboxMessage.objects.update(queue=QUEUE)
    at = timezone.now() - dt.timedelta(seconds=1)
    padding = "x" * (BODY - 60)
    OutboxMessage.objects.bulk_create(
        (
            OutboxMessage(
                message_id=uuid.uuid4(), instance_id=first.instance_id, event_name="StartTask", queue=QUEUE,
                position=first.position, stage_name=first.stage_name, task_name=first.task_name, attempt=number,
                payload={"number": number, "padding": padding}, next_try_at=at, created_at=at,
            )
            for number in range(2, messages + 1)
        ),
        batch_size=2_000,
    )  # fmt: skip
    bus = wiring.open_bus()
    begun = time.monotonic()
    while relay_once(bus, timezone.now()):
        pass
    seconds = time.monotonic() - begun
    bus.close()
    unsent = OutboxMessage.objects.exclude(state="SENT").count()
    arrived = _arrived()
    if unsent or arrived != messages:
        raise AssertionError(f"{unsent} rows are not sent; {arrived} of {messages} messages are in the queue")
    return {"instances": messages, "seconds": seconds}


def bare(*, messages: int) -> dict[str, Any]:
    """Publish as many messages with py-amqp and nothing else, a hundred at a time, and wait for their confirms."""
    connection: Any = Connection(settings.BROKER_URL).connection
    channel = connection.channel()
    channel.confirm_select()
    channel.queue_declare(QUEUE, durable=True, auto_delete=False)
    confirmed = [0]
    channel.events["basic_ack"].add(
        lambda tag, multiple: confirmed.__setitem__(0, tag if multiple else confirmed[0] + 1)
    )
    body = json.dumps({"padding": "x" * (BODY - 20)})
    begun = time.monotonic()
    for first in range(0, messages, AT_ONCE):
        count = min(AT_ONCE, messages - first)
        for _ in range(count):
            message = amqp.Message(body, content_type="application/json", delivery_mode=2)
            channel.basic_publish(message, exchange="", routing_key=QUEUE, mandatory=True)
        while confirmed[0] < first + count:
            connection.drain_events(timeout=10)
    seconds = time.monotonic() - begun
    connection.close()
    _arrived()
    return {"instances": messages, "seconds": seconds}


def _arrived() -> int:
    connection: Any = Connection(settings.BROKER_URL).connection
    count = connection.channel().queue_delete(QUEUE)
    connection.close()
    return int(count or 0)


def main(arguments: Sequence[str]) -> None:
    """Run one figure in this process and print it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("figure", choices=["product", "bare"])
    parser.add_argument("--messages", type=int, default=20_000)
    chosen = parser.parse_args(arguments)
    print(json.dumps({"product": product, "bare": bare}[chosen.figure](messages=chosen.messages)))


if __name__ == "__main__":
    main(sys.argv[1:])
