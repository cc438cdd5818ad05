"""How a worker process ends: orderly when asked, at once when asked again, and never half."""

import json
import os
import signal
import urllib.error
import urllib.request

import pytest

from tests.workers.places import Actor, Place, step, template, until

pytestmark = pytest.mark.timeout(120)

GATE = template("Gate", step("wait", "gate"))


def began(place: Place, count: int = 1) -> bool:
    return sum(line[0] == "began" for line in place.ledger()) >= count


def ready(url: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_asked_to_end_it_finishes_what_it_has_in_hand_and_takes_nothing_new(place: Place, actor: Actor):
    actor("publish", template=GATE)
    worker = place.worker("--only", "steps")
    actor("start", workflow="Gate", refs=["ONE", "TWO"])
    until(lambda: began(place), what="the step")

    worker.process.send_signal(signal.SIGTERM)
    until(lambda: ready(worker.url) == (503, {"status": "ending"}), what="the end of its readiness")
    assert worker.process.poll() is None
    place.open_gate()

    assert worker.process.wait(20) == 0
    assert actor("states") == {"COMPLETED": 1, "RUNNING": 1}
    assert len(place.ledger()) == 2  # began, and ran
    assert "Traceback" not in worker.printed()


def test_asked_twice_it_ends_at_once_and_another_does_it_again(on_postgresql: Place):
    place, actor = on_postgresql, on_postgresql.actor()
    actor("publish", template=GATE)
    worker = place.worker("--only", "steps")
    actor("start", workflow="Gate", refs=["ONE"])
    until(lambda: began(place), what="the step")

    worker.process.send_signal(signal.SIGTERM)
    until(lambda: ready(worker.url)[0] == 503, what="the first signal's effect")
    worker.process.send_signal(signal.SIGINT)
    assert worker.process.wait(5) == 128 + signal.SIGINT
    assert actor("state", ref="ONE") == "RUNNING"

    place.open_gate()
    place.worker("--only", "steps")
    until(lambda: actor("state", ref="ONE") == "COMPLETED", what="the step's end")
    assert actor("disagreements") == []


def test_what_does_not_end_in_time_is_left_to_others(on_postgresql: Place):
    place, actor = on_postgresql, on_postgresql.actor()
    actor("publish", template=GATE)
    worker = place.worker("--only", "steps", "--drain", "0.3")
    actor("start", workflow="Gate", refs=["ONE"])
    until(lambda: began(place), what="the step")

    worker.process.send_signal(signal.SIGTERM)

    assert worker.process.wait(15) == 1
    assert "Did not end in time: steps" in worker.printed()


def test_killed_it_leaves_nothing_half_and_another_goes_on(place: Place, actor: Actor):
    actor("publish", template=GATE)
    worker = place.worker("--only", "steps")
    actor("start", workflow="Gate", refs=["ONE"])
    until(lambda: began(place), what="the step")

    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait(10)
    place.open_gate()
    place.worker("--only", "steps")

    until(lambda: actor("state", ref="ONE") == "COMPLETED", what="the step's end")
    assert [line[0] for line in place.ledger()] == ["began", "began", "ran"]
    assert actor("events", name="TaskCompleted") == {"1": 1}
    assert actor("disagreements") == []


def test_a_thread_that_dies_takes_its_process_along(on_sqlite: Place):
    place, actor = on_sqlite, on_sqlite.actor()
    actor("publish", template=template("Dying", step("die", "die")))
    worker = place.worker("--only", "steps,clock")
    actor("start", workflow="Dying", refs=["ONE"])

    assert worker.process.wait(30) == 1
    assert "a thread that has died: steps" in worker.printed()
    assert actor("state", ref="ONE") == "RUNNING"


def test_without_its_broker_it_works_and_says_so(on_sqlite: Place):
    worker = on_sqlite.worker(BROKER_URL="amqp://guest:secret@127.0.0.1:1/")

    status, said = ready(worker.url)

    assert (status, said["status"]) == (200, "degraded")
    assert set(said["checks"]["jobs"]["of"]) == {"relay", "clock", "inbound", "steps", "callers", "ear"}  # type: ignore[index]
    with urllib.request.urlopen(f"{worker.url}/metrics", timeout=5) as response:
        assert 'orchestrator_job_alive{job="relay"} 1.0' in response.read().decode()
    assert worker.stop() == 0
