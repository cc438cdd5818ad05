"""The trace context of whoever starts an instance goes with all that the instance sends, and comes back."""

import json

import pytest

from tests.builders import ROLL_BACK, completed, failed, retry, service, undo, workflow
from tests.runtime.conftest import door
from workflows.client import Services
from workflows.messaging.adapters.memory import MemoryBroker, MemoryBus
from workflows.messaging.receiving import receive
from workflows.messaging.relay import relay_once
from workflows.models import LoggedEvent, OutboxMessage
from workflows.runtime.loading import snapshots
from workflows.tracecontext import TraceContext

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]
__all__ = ["door"]

CALLER = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True, "rojo=1")
OTHER = TraceContext("1" * 32, "2" * 16)
START = {"event_name": "StartWorkflow"}
DONE = {"event_name": "TaskCompleted", "stage_name": "S", "task_name": "a"}


def traces():
    return [row.trace for row in OutboxMessage.objects.order_by("id")]


def test_all_that_an_instance_sends_is_in_the_trace_of_its_start_days_later_too(door):
    site = door(workflow(service("a", **undo(), **retry(2)), service("b", "a")))
    site.start(trace=CALLER)
    site.ask(failed("a"))
    snapshots.forget()
    site.later(5 * 86_400)
    site.ask(completed("a"), trace=OTHER)
    site.ask(ROLL_BACK)

    assert site.messages() == [
        "StartTask a#1",
        "StartTask a#2",
        "StartTask b#1",
        "CancelTask b#1",
        "CompensateTask a#1",
    ]
    assert traces() == [str(CALLER)] * 5


def test_without_a_trace_nothing_is_said_of_one(door):
    site = door(workflow(service("a")))
    site.start()

    assert traces() == [""]
    assert "trace" not in LoggedEvent.objects.get(event="WorkflowStarted").data
    assert not {"traceparent", "tracestate"} & site.lease("a_queue")[0].keys()


def test_whoever_leases_is_told_it_in_fields(door):
    site = door(workflow(service("a")))
    site.start(trace=CALLER)

    (task,) = site.lease("a_queue")
    assert (task["traceparent"], task["tracestate"]) == (CALLER.parent, "rojo=1")


def test_an_extra_field_of_that_name_stays_what_it_is(door):
    site = door(workflow(service("a", traceparent="of the template")))
    site.start(trace=CALLER)

    assert site.lease("a_queue")[0]["traceparent"] == "of the template"


def test_a_message_that_is_sent_again_in_another_trace_is_the_same_message(door):
    site = door(workflow(service("a"), service("b")))
    site.say({**START, **CALLER.headers})
    said = {**DONE, "event_id": "e-1"}

    assert site.say({**said, **CALLER.headers}).outcome == "applied"
    assert site.say({**said, **OTHER.headers}).outcome == "duplicate"
    assert site.say({**said, "output": {"x": 1}}).code == "event_id_reused"


def test_a_trace_that_cannot_be_read_keeps_nothing_from_being_done(door):
    site = door(workflow(service("a")))

    assert site.say({**START, "traceparent": ["?"], "tracestate": 7}).created
    assert traces() == [""]


def test_it_goes_through_a_bus_to_the_service_and_back(door):
    broker = MemoryBroker()
    site = door(workflow(service("a"), service("b", "a")))
    services = Services("amqp://nowhere")
    seen = []

    @services.service("a_queue")
    def work(task):
        seen.append(task.trace_headers)

    start = {"business_ref_no": "REF", "component_name": site.component, **START}
    broker.put("in", json.dumps(start).encode(), trace=CALLER)
    receive(broker.queues["in"], at=site.at)
    relay_once(MemoryBus(broker), site.at)
    (sent,) = broker.queues["a_queue"]
    answer = services.handle({**json.loads(sent.body), **sent.trace.headers}, queue="a_queue")
    broker.put("in", json.dumps(answer).encode())
    receive([broker.queues["in"].pop()], at=site.at)

    assert seen == [CALLER.headers]
    assert (answer["traceparent"], answer["tracestate"]) == (CALLER.parent, "rojo=1")
    assert traces() == [str(CALLER)] * 2
