"""A worker that is killed in the middle of a call: another one calls again, for the same attempt, under the same key."""

import json
import signal
import threading
from typing import Any

import pytest

from tests.activities.called import Plugin, reply
from tests.workers.places import Actor, Place, service, template, until

pytestmark = pytest.mark.timeout(180)


def test_a_call_that_died_is_made_again_by_somebody_else(place: Place, actor: Actor, monkeypatch: pytest.MonkeyPatch):
    called, alive = Plugin(), threading.Event()

    def answer(handler: Any) -> None:
        if len(called.calls) == 1:
            alive.wait(60)  # whoever asked is dead by then
            return
        reply(handler, 200, b'{"pages": 3}')

    called.answer = answer
    actor("publish", template=template("Scan", service("scan", task_queue="@http/intake/scan", url=called.url)))
    actor("start", workflow="Scan", refs=["R"])
    # The lease lasts some seconds longer than a call may: the second one is found within a rest after that.
    settings = {"PLUGIN_HOSTS": "127.0.0.1", "PLUGIN_CALL_SECONDS": "1"}

    first = place.worker("--only", "callers", **settings)
    until(lambda: called.calls, what="the first call")
    first.stop(signal.SIGKILL)
    place.worker("--only", "callers", **settings)
    until(lambda: actor("state", ref="R") == "COMPLETED", what="the second call", seconds=90)
    alive.set()

    keys = [headers["idempotency-key"] for headers, _ in called.calls]
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert [json.loads(raw)["attempt"] for _, raw in called.calls] == [1, 1]
    assert actor("disagreements") == []
    called.close()


def test_another_process_is_woken_to_call(on_postgresql: Place):
    called, place, actor = Plugin(), on_postgresql, on_postgresql.actor()
    place.worker("--only", "callers", PLUGIN_HOSTS="127.0.0.1")
    actor("publish", template=template("Scan", service("scan", task_queue="@http/intake/scan", url=called.url)))
    actor("start", workflow="Scan", refs=["R"])

    until(lambda: actor("state", ref="R") == "COMPLETED", what="the call", seconds=30)

    assert len(called.calls) == 1
    called.close()
