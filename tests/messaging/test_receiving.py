"""What arrives is carried out once, or kept where an operator finds it; nothing stops the next message."""

import json

import pytest
from django.utils import timezone

from tests.messaging.test_relay import TEMPLATE
from workflows.messaging.adapters.memory import MemoryBroker, MemoryBus
from workflows.messaging.port import Incoming
from workflows.messaging.receiving import Receiver, receive
from workflows.models import LoggedEvent, QuarantinedMessage, TaskInstance, WorkflowInstance
from workflows.runtime.publishing import publish_template

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
START = {"event_name": "StartWorkflow", "component_name": "RELAY", "business_ref_no": "R-1"}
DONE = {**START, "event_name": "TaskCompleted", "stage_name": "WORK", "task_name": "one", "task_type": "SERVICE"}


@pytest.fixture(autouse=True)
def _template():
    publish_template(TEMPLATE, by="tests")


def incoming(value, message_id=None):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Incoming(body, message_id)


def test_messages_of_one_batch_see_each_other():
    receive([incoming(START), incoming(DONE)], at=timezone.now())

    assert TaskInstance.objects.get(task_name="one").state == "COMPLETED"
    assert QuarantinedMessage.objects.count() == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{bad", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"[]", "invalid_body"),
        (json.dumps({**START, "event_name": "TaskExploded"}).encode(), "unknown_event_name"),
        (json.dumps({**DONE, "stage_name": None}).encode(), "invalid_body"),
        (json.dumps({**START, "component_name": "NONE"}).encode(), "unknown_template"),
        (json.dumps({**DONE, "business_ref_no": "R-2"}).encode(), "unknown_instance"),
        (json.dumps({**DONE, "task_name": "ghost"}).encode(), "unknown_task"),
    ],
)
def test_what_cannot_be_read_or_matched_is_kept_and_the_others_go_on(body, code):
    receive([incoming(START), incoming(body, "m-1"), incoming(DONE)], at=timezone.now())

    assert TaskInstance.objects.get(task_name="one").state == "COMPLETED"
    (held,) = QuarantinedMessage.objects.all()
    assert (held.code, held.message_id, held.body_bytes) == (code, "m-1", len(body))
    assert held.reason


def test_a_redelivered_message_counts_once_by_its_message_id():
    messages = [incoming(START, "m-0"), incoming(DONE, "m-1")]
    receive(messages, at=timezone.now())
    events = LoggedEvent.objects.count()

    receive(messages, at=timezone.now())

    assert LoggedEvent.objects.count() == events
    assert WorkflowInstance.objects.count() == 1


def test_a_message_id_may_be_longer_than_an_event_id():
    messages = [incoming(START), incoming(DONE, "m" * 5_000)]
    receive(messages, at=timezone.now())
    receive(messages, at=timezone.now())

    assert TaskInstance.objects.get(task_name="one").state == "COMPLETED"
    assert QuarantinedMessage.objects.count() == 0


def test_what_the_state_refuses_is_in_the_history_not_in_quarantine():
    receive([incoming(START), incoming({**DONE, "attempt": 7})], at=timezone.now())

    assert QuarantinedMessage.objects.count() == 0
    assert LoggedEvent.objects.get(event="InputRefused").data["code"] == "unknown_attempt"


def test_the_receiver_takes_what_arrives_and_survives_an_outage():
    broker = MemoryBroker()
    receiver = Receiver(open_bus=lambda: MemoryBus(broker), now=timezone.now, queue="workflow_manager")
    broker.down = True
    broker.put("workflow_manager", json.dumps(START).encode())
    assert receiver._work() == 0
    assert WorkflowInstance.objects.count() == 0
    broker.down = False

    assert receiver._work() == 0

    assert WorkflowInstance.objects.count() == 1
    assert not broker.queues["workflow_manager"]
    receiver.close()
