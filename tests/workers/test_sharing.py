"""Several workers share the work; nobody waits for somebody else's mountain of it."""

import json
import signal
import time

import pytest
from amqp.exceptions import NotFound
from kombu import Connection

from tests.workers.places import Actor, Place, service, step, template, until

pytestmark = pytest.mark.timeout(180)


def completed(ref: str, task: str) -> dict[str, str]:
    names = {"event_name": "TaskCompleted", "business_ref_no": ref, "component_name": "WORKERS"}
    return names | {"stage_name": "S", "task_name": task, "task_type": "SERVICE"}


def send(place: Place, url: str, messages: list[dict[str, str]]) -> None:
    queue = place.environment["INBOUND_QUEUE"]
    # A worker makes it in its own time; what was sent before would be nowhere.
    until(lambda: waiting(url, queue) is not None, what=f"the queue {queue}")
    with Connection(url) as connection, connection.Producer() as producer:
        for message in messages:
            producer.publish(json.dumps(message), routing_key=queue, content_type="application/json")


def waiting(url: str, queue: str) -> int | None:
    """Return how many messages wait there, None where there is no such queue."""
    with Connection(url) as connection:
        try:
            count: int = connection.default_channel.queue_declare(queue, passive=True).message_count
        except NotFound:
            return None
    return count


def test_two_workers_share_the_steps_and_each_runs_once(on_postgresql: Place):
    place, actor = on_postgresql, on_postgresql.actor()
    actor("publish", template=template("Nap", step("nap", "nap")))
    actor("start", workflow="Nap", refs=[f"R-{number}" for number in range(120)])

    for _ in range(2):
        place.worker("--only", "steps", "--concurrency", "2")
    until(lambda: actor("states") == {"COMPLETED": 120}, what="all steps")

    ran = [line[1] for line in place.ledger()]
    assert len(ran) == len(set(ran)) == 120
    counts = [sum(line[3] == str(worker.process.pid) for line in place.ledger()) for worker in place.workers]
    assert min(counts) > 0, counts
    assert actor("disagreements") == []


def test_thousands_of_deadlines_go_off_once_each_and_hold_nobody_up(place: Place, actor: Actor):
    """Two clocks fire them; meanwhile others' events are handled as fast as nobody could who waited for the end."""
    count = 3_000 if place.kind == "postgresql" else 1_000
    actor("publish", template=template("Timed", service("slow", timeout_seconds=0.001)))
    actor("publish", template=template("Other", service("one"), service("two", parent_task=["one"])))
    actor("start", workflow="Other", refs=[f"O-{number}" for number in range(60)])
    actor("start", workflow="Timed", refs=[f"T-{number}" for number in range(count)])
    assert actor("deadlines") == count

    for _ in range(2):
        place.worker("--only", "clock")
    left = []
    slowest = 0.0
    for number in range(60):
        (seconds,) = actor("timed", refs=[f"O-{number}"], task="one")
        slowest = max(slowest, seconds)
        left.append(actor("deadlines"))
        if not left[-1]:
            break
    began = time.monotonic()
    until(lambda: actor("deadlines") == 0, what="the last deadline", seconds=150)

    assert sum(one > 0 for one in left) >= 5, "the others' events were handled only once all had gone off"
    assert slowest < max(1.0, (time.monotonic() - began) / 2), "an event waited for the clock"
    assert actor("events", name="TaskFailed") == {"1": count}
    assert actor("states") == {"FAILED": count, "RUNNING": 60}


def test_asked_to_end_amid_messages_it_acknowledges_what_it_has_done_and_leaves_the_rest(
    on_postgresql: Place, rabbitmq_url: str
):
    place, actor = on_postgresql, on_postgresql.actor()
    place.environment["BROKER_URL"] = rabbitmq_url
    count = 1_500
    refs = [f"R-{number}" for number in range(count)]
    actor("publish", template=template("One", service("one")))
    actor("start", workflow="One", refs=refs)
    first = place.worker("--only", "inbound")  # it makes the queue
    send(place, rabbitmq_url, [completed(ref, "one") for ref in refs])
    until(lambda: actor("states").get("COMPLETED"), what="the first event")

    first.process.send_signal(signal.SIGTERM)

    assert first.process.wait(20) == 0
    done = actor("states").get("COMPLETED", 0)
    with Connection(rabbitmq_url) as connection:
        channel, queue = connection.default_channel, place.environment["INBOUND_QUEUE"]
        # The broker puts back what nobody acknowledged when it notices that the connection is gone.
        seen: list[int] = []

        def all_of_the_rest() -> bool:
            seen.append(channel.queue_declare(queue, passive=True).message_count)
            return seen[-1] == count - done

        try:
            until(all_of_the_rest, what=f"{count - done} messages that are not done")
        except AssertionError as error:
            raise AssertionError(f"{error}; there were {sorted(set(seen))}") from None
    place.worker("--only", "inbound")
    place.worker("--only", "inbound", "--concurrency", "2")
    until(lambda: actor("states") == {"COMPLETED": count}, what="the rest")
    assert actor("events", name="TaskCompleted") == {"1": count}
    assert actor("events", name="InputRefused") == {}


def test_thousands_of_messages_for_one_instance_hold_nobody_else_up(on_postgresql: Place, rabbitmq_url: str):
    place, actor = on_postgresql, on_postgresql.actor()
    place.environment["BROKER_URL"] = rabbitmq_url
    tasks = [f"t{number}" for number in range(200)]
    actor("publish", template=template("Hot", *(service(task) for task in tasks), service("last", parent_task=tasks)))
    actor("publish", template=template("Other", service("one")))
    actor("start", workflow="Hot", refs=["HOT"])
    others = [f"O-{number}" for number in range(40)]
    actor("start", workflow="Other", refs=others)
    for _ in range(2):
        place.worker("--only", "inbound")
    # Each result ten times, and the other instances' events at the end of all that.
    send(place, rabbitmq_url, [completed("HOT", task) for task in tasks * 10])
    send(place, rabbitmq_url, [completed(ref, "one") for ref in others[20:]])

    slowest = max(took for ref in others[:20] for took in actor("timed", refs=[ref], task="one", pause=0.02))
    until(lambda: actor("states") == {"COMPLETED": 40, "RUNNING": 1}, what="the others' end")

    assert slowest < 2.0, "an event of another instance waited for the hot one"
    assert actor("events", name="TaskCompleted") == {"1": 40, "200": 1}
    assert actor("disagreements") == []
