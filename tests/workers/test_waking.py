"""What one process commits, another one does at once, and not when it happens to look again."""

import time

import pytest

from tests.workers.places import Actor, Place, service, step, template, until
from workflows.runtime import workers

pytestmark = pytest.mark.timeout(120)

SOON = 0.5 * workers.REST
"""Each round begins right after the end of one: a process that only looks now and then would need all of REST."""

STEP = template("Step", step("run", "quick"))
TIMED = template("Timed", service("slow", timeout_seconds=0.2))
SERVICE = template("Service", service("one"))


def took(act, seen, *, what):
    began = time.monotonic()
    act()
    until(seen, what=what)
    return time.monotonic() - began


def test_steps_deadlines_and_messages_of_other_processes_are_taken_up_at_once(place: Place, actor: Actor):
    for one in (STEP, TIMED, SERVICE):
        actor("publish", template=one)
    place.worker()

    for number in range(3):
        seconds = took(
            lambda: actor("start", workflow="Step", refs=[f"STEP {number}"]),  # noqa: B023
            lambda: actor("state", ref=f"STEP {number}") == "COMPLETED",  # noqa: B023
            what="the step",
        )
        assert seconds < SOON
        seconds = took(
            lambda: actor("start", workflow="Timed", refs=[f"TIMED {number}"]),  # noqa: B023
            lambda: actor("state", ref=f"TIMED {number}") == "FAILED",  # noqa: B023
            what="the time-out",
        )
        assert seconds < SOON
        seconds = took(
            lambda: actor("start", workflow="Service", refs=[f"SERVICE {number}"]),  # noqa: B023
            lambda: actor("unsent") == 0,
            what="the message",
        )
        assert seconds < SOON


def test_a_task_that_one_worker_completes_is_sent_by_another(on_postgresql: Place, rabbitmq_url: str):
    """The next message leaves in another process than the one that has taken the event, over RabbitMQ."""
    place, actor = on_postgresql, on_postgresql.actor()
    place.environment["BROKER_URL"] = rabbitmq_url
    actor("publish", template=template("Two", service("one"), service("two", parent_task=["one"])))
    place.worker("--only", "relay")
    actor("start", workflow="Two", refs=[f"R-{number}" for number in range(3)])
    until(lambda: actor("unsent") == 0, what="the first messages")

    for number in range(3):
        seconds = took(
            lambda: actor("complete", ref=f"R-{number}", task="one"),  # noqa: B023
            lambda: actor("unsent") == 0,
            what="the next message",
        )
        assert seconds < SOON


def test_a_listener_that_lost_its_connection_hears_again_and_misses_nothing(on_postgresql: Place):
    place, actor = on_postgresql, on_postgresql.actor()
    actor("publish", template=STEP)
    place.worker("--only", "steps")
    actor("start", workflow="Step", refs=["FIRST"])
    until(lambda: actor("state", ref="FIRST") == "COMPLETED", what="the first step")

    assert actor("hang_up", named="orchestrator listens") == 1
    seconds = took(
        lambda: actor("start", workflow="Step", refs=["MEANWHILE"]),
        lambda: actor("state", ref="MEANWHILE") == "COMPLETED",
        what="the step that came while nobody listened",
    )
    assert seconds < SOON
    assert actor("hang_up", named="orchestrator tells") >= 1
    actor("start", workflow="Step", refs=["LOST"])  # whoever tells it notices only now
    until(lambda: actor("state", ref="LOST") == "COMPLETED", what="the step that nobody was told of", seconds=30)
    seconds = took(
        lambda: actor("start", workflow="Step", refs=["LAST"]),
        lambda: actor("state", ref="LAST") == "COMPLETED",
        what="the last step",
    )
    assert seconds < SOON
