"""Plugins in progress and in error are measured by activity; a plugin's queue is fed at its own pace."""

import datetime as dt

import pytest

from tests.activities.conftest import Garden
from tests.builders import NOON, activity, completed, failed, plugin, service, stage, workflow
from workflows.messaging.adapters.memory import MemoryBroker, MemoryBus
from workflows.messaging.relay import relay_once
from workflows.observability import gauges
from workflows.runtime import limits, line, pausing

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

CLAIM = workflow(activity(activity="rate"), stage("LAST", service("out")))


def measured() -> dict[str, dict[str, float]]:
    families = {family.name: family for family in gauges.measure(NOON + dt.timedelta(minutes=1))}
    return {
        name: {sample.labels["activity"]: sample.value for sample in families[f"orchestrator_plugins_{name}"].samples}
        for name in ("in_progress", "in_error")
    }


def test_plugins_are_measured_until_their_instance_has_ended(door, plant: Garden):
    plant.planted = {"parallel": [plugin(service("a")), plugin(service("b"), optional=True)]}
    one = door(CLAIM)
    assert measured() == {"in_progress": {}, "in_error": {}}

    one.start("R-1")
    one.start("R-2")
    assert measured() == {"in_progress": {"rate": 4}, "in_error": {"rate": 0}}

    one.ask(failed("PROCESS/b"), ref="R-1")
    assert measured() == {"in_progress": {"rate": 3}, "in_error": {"rate": 1}}
    one.ask(completed("PROCESS/a"), ref="R-1")
    one.ask(completed("LAST/out"), ref="R-1")
    assert one.state("R-1") == "COMPLETED"
    assert measured() == {"in_progress": {"rate": 2}, "in_error": {"rate": 0}}


def test_a_plugin_with_a_queue_is_fed_at_its_own_pace(door, plant: Garden, monkeypatch):
    monkeypatch.setattr(limits, "_wait", lambda longer: pausing.known.now())
    plant.planted = {"parallel": [plugin(service("a")), plugin(service("b"))]}
    one, broker = door(CLAIM), MemoryBroker()
    limits.put("a_queue", max_in_flight=1, max_per_second=None, by="olivia", at=NOON)
    for number in range(3):
        one.start(f"R-{number}")

    for number in range(3):
        line.let_out(NOON)
        relay_once(MemoryBus(broker), NOON)
        assert len(broker.queues["b_queue"]) == 3
        assert len(broker.queues["a_queue"]) == number + 1
        assert limits.standings()["a_queue"].line == 2 - number
        one.ask(completed("PROCESS/a"), ref=f"R-{number}")

    pausing.known.forget()
    pausing.known.limited = frozenset()
