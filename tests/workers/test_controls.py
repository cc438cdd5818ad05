"""Several processes: a pause holds them all, a resume wakes them all, and a schedule is fired by one of them."""

import time

import pytest

from tests.workers.places import Actor, Place, service, step, template, until
from tests.workers.test_sharing import completed, send, waiting
from tests.workers.test_waking import SOON

pytestmark = pytest.mark.timeout(180)

LINE = template("Line", step("one", "nap"), step("two", "nap", parent_task=["one"]))
GATE = template("Gate", step("one", "gate"), step("two", "quick", parent_task=["one"]))


def test_a_pause_holds_the_steps_of_all_workers_and_a_resume_lets_them_go_on(on_postgresql: Place):
    # On SQLite a pause waits for its turn among the writers: by then all may have run.
    place, actor = on_postgresql, on_postgresql.actor()
    actor("publish", template=LINE)
    for _ in range(2):
        place.worker("--only", "steps")
    actor("start", workflow="Line", refs=[f"R-{number}" for number in range(60)])
    until(lambda: len(place.ledger()) >= 10, what="the first steps")

    actor("pause")
    until(lambda: actor("standing") == {"state": "PAUSED", "steps": 0}, what="the pause")
    ran = len(place.ledger())
    # Longer than what a process knows of the pause is good for.
    time.sleep(1)
    assert len(place.ledger()) == ran
    assert ran < 120

    actor("resume")
    began = time.monotonic()
    until(lambda: len(place.ledger()) > ran, what="the next step")
    assert time.monotonic() - began < SOON
    until(lambda: actor("states") == {"COMPLETED": 60}, what="all steps")
    lines = [(line[1], line[2]) for line in place.ledger()]
    assert len(lines) == len(set(lines)) == 120
    assert actor("disagreements") == []


def test_while_a_step_runs_the_engine_is_pausing(on_postgresql: Place):
    place, actor = on_postgresql, on_postgresql.actor()
    actor("publish", template=GATE)
    place.worker("--only", "steps")
    actor("start", workflow="Gate", refs=["R"])
    until(place.ledger, what="the step")

    assert actor("pause") == {"state": "PAUSING", "steps": 1}
    place.open_gate()
    until(lambda: actor("standing") == {"state": "PAUSED", "steps": 0}, what="the end of the step")
    assert actor("state", ref="R") == "RUNNING"

    actor("resume")
    until(lambda: actor("state", ref="R") == "COMPLETED", what="the next step")
    assert actor("disagreements") == []


def test_messages_wait_in_the_broker_and_take_effect_afterwards(on_postgresql: Place, rabbitmq_url: str):
    place, actor = on_postgresql, on_postgresql.actor()
    place.environment["BROKER_URL"] = rabbitmq_url
    actor("publish", template=template("Two", service("one"), service("two", parent_task=["one"])))
    place.worker()
    refs = [f"R-{number}" for number in range(50)]
    actor("start", workflow="Two", refs=refs)
    until(lambda: actor("unsent") == 0, what="the first messages")

    actor("pause")
    send(place, rabbitmq_url, [completed(ref, "one") for ref in refs])
    until(lambda: waiting(rabbitmq_url, place.environment["INBOUND_QUEUE"]) == 50, what="the messages in the broker")
    assert actor("events", name="TaskCompleted") == {}

    actor("resume")
    began = time.monotonic()
    until(lambda: actor("events", name="TaskCompleted") == {"1": 50}, what="what was said meanwhile")
    assert time.monotonic() - began < SOON
    until(lambda: actor("unsent") == 0, what="the next messages")
    assert actor("disagreements") == []


def test_three_workers_start_what_a_schedule_says_once_for_each_moment(place: Place, actor: Actor):
    actor("publish", template=template("Often", service("one")))
    for _ in range(3):
        place.worker("--only", "clock")
    actor("schedule", name="often", workflow="Often", seconds=1)

    until(lambda: actor("states").get("RUNNING", 0) >= 5, what="five starts")

    (once,) = actor("events", name="WorkflowStarted")
    assert once == "1"
    assert actor("disagreements") == []
