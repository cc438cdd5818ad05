"""A queue with limits, fed by several relay processes over a real broker; one of them is killed in the middle."""

import json
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kombu import Connection

from tests.workers.places import Actor, Place, template, until

pytestmark = pytest.mark.timeout(240)
COUNT = 200
MOST = 5


@pytest.fixture
def queue() -> str:
    return f"tests_limits_{uuid.uuid4().hex[:8]}"


@pytest.fixture
def site(on_postgresql: Place, rabbitmq_url: str, queue: str) -> Place:
    on_postgresql.environment["BROKER_URL"] = rabbitmq_url
    return on_postgresql


@contextmanager
def taking(url: str, queue: str) -> Iterator[Any]:
    """Give what takes all that has arrived by now: references, each as often as it came."""
    with Connection(url) as connection:
        channel = connection.default_channel
        channel.queue_declare(queue, durable=True, auto_delete=False)

        def take() -> list[str]:
            taken = []
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                taken.append(json.loads(message.body)["business_ref_no"])
            return taken

        yield take
        channel.queue_delete(queue)


def publish(actor: Actor, queue: str) -> None:
    task = {"task_name": "work", "task_type": "SERVICE", "task_queue": queue}
    actor("publish", template=template("Limited", task))


def test_never_more_in_flight_than_the_limit_whoever_dies(site: Place, rabbitmq_url: str, queue: str):
    actor = site.actor()
    publish(actor, queue)
    actor("limit", queue=queue, max_in_flight=MOST)
    actor("start", workflow="Limited", refs=[f"R-{number}" for number in range(COUNT)])
    site.worker("--only", "relay")
    site.worker("--only", "relay")
    in_hand: list[str] = []
    done: set[str] = set()
    most = 0

    with taking(rabbitmq_url, queue) as take:

        def look() -> list[str]:
            nonlocal most
            # What a dead relay had sent and not written down comes again: nothing new.
            in_hand.extend(ref for ref in dict.fromkeys(take()) if ref not in done and ref not in in_hand)
            most = max(most, len(in_hand))
            assert most <= MOST
            return in_hand

        while len(done) < COUNT:
            until(look, what="work", seconds=60)
            if len(done) in (60, 120):
                (relay,) = site.workers[:1]
                relay.stop(signal.SIGKILL)
                site.workers.remove(relay)
                site.worker("--only", "relay")
            ref = in_hand.pop(0)
            done.add(ref)
            assert actor("complete", ref=ref, task="work") == "applied"

    assert most == MOST
    assert actor("states") == {"COMPLETED": COUNT}
    until(lambda: actor("unsent") == 0, what="the last word of a relay")
    assert actor("disagreements") == []


def test_relays_together_keep_to_the_rate(site: Place, rabbitmq_url: str, queue: str):
    actor, rate, count = site.actor(), 40, 80
    publish(actor, queue)
    actor("limit", queue=queue, max_per_second=rate)
    actor("start", workflow="Limited", refs=[f"R-{number}" for number in range(count)])
    site.worker("--only", "relay")
    site.worker("--only", "relay")

    with taking(rabbitmq_url, queue) as take:
        arrived: list[str] = []
        until(lambda: arrived.extend(take()) or len(set(arrived)) == count, what="all of them")

    moments = actor("let_out_at")
    assert len(moments) == count
    # By the clock of the database, which both processes count on from.
    for number, moment in enumerate(moments):
        assert moment - moments[0] >= number / rate - 0.02, number
