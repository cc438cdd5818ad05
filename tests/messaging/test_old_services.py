"""Services that know AMQP and the contract, and nothing of ours: plain client, no attempt, no event_id, no message_id."""

import json
import time
import uuid
from urllib.parse import unquote, urlsplit

import amqp
import pytest
from django.utils import timezone

from workflows.messaging.adapters.amqp import AmqpBus
from workflows.messaging.receiving import Receiver
from workflows.messaging.relay import relay_once
from workflows.models import OutboxMessage, QuarantinedMessage, WorkflowInstance
from workflows.runtime.publishing import publish_template

pytestmark = [pytest.mark.django_db(transaction=True)]


class Service:
    """What somebody writes who has the contract in hand."""

    def __init__(self, url, inbound):
        parts = urlsplit(url)
        self.connection = amqp.Connection(
            host=f"{parts.hostname}:{parts.port or 5672}",
            userid=parts.username,
            password=parts.password,
            virtual_host=unquote(parts.path[1:]) or "/",
        )
        self.connection.connect()
        self.channel = self.connection.channel()
        self.inbound = inbound
        self.got = []

    def work_on(self, queue, *, declare):
        if declare:
            self.channel.queue_declare(queue, durable=True, auto_delete=False)
        self.channel.basic_qos(0, 10, False)
        self.channel.basic_consume(queue, callback=self.got.append)

    def send(self, **message):
        self.channel.basic_publish(amqp.Message(json.dumps(message)), exchange="", routing_key=self.inbound)

    def next(self):
        end = time.monotonic() + 20
        while not self.got:
            self.connection.drain_events(timeout=max(0.01, end - time.monotonic()))
        message = self.got.pop(0)
        self.channel.basic_ack(message.delivery_tag)
        return message


@pytest.fixture
def town(rabbitmq_url):
    name = f"tests-{uuid.uuid4().hex}"
    queues = [f"{name}-cook", f"{name}-ride"]
    task = {"task_type": "SERVICE"}
    publish_template(
        {
            "workflow_name": "Pizza",
            "component_name": name,
            "stages": [
                {
                    "stage_name": "WORK",
                    "stage_order": 1,
                    "tasks": [
                        {**task, "task_name": "cook", "task_queue": queues[0], "oven": "stone"},
                        {
                            **task,
                            "task_name": "ride",
                            "task_queue": queues[1],
                            "parent_task": ["cook"],
                        },
                    ],
                }
            ],
        },
        by="tests",
    )
    bus = AmqpBus(rabbitmq_url, inbound=name)
    receiver = Receiver(open_bus=lambda: bus, now=timezone.now, queue=name)
    receiver._work()
    yield name, queues, receiver, bus
    service = Service(rabbitmq_url, name)
    for queue in (name, f"{name}.dead", *queues):
        service.channel.queue_delete(queue)
    service.connection.close()
    receiver.close()


def until(condition, *work):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        for one in work:
            one()


def test_a_pizza_is_delivered_by_services_of_before(rabbitmq_url, town):
    name, (cook, ride), receiver, bus = town
    service = Service(rabbitmq_url, name)
    # The cook declares its queue as it always has, and is there first; the rider comes after its first message.
    service.work_on(cook, declare=True)
    order = {"business_ref_no": "ORDER-1", "component_name": name}
    service.send(**order, event_name="StartWorkflow", context={"size": "large"})
    until(lambda: OutboxMessage.objects.exists(), receiver._work)
    relay_once(bus, timezone.now())

    started = service.next()
    asked = json.loads(started.body)
    assert asked == {
        **order,
        "event_name": "StartTask",
        "workflow_name": "Pizza",
        "stage_name": "WORK",
        "task_name": "cook",
        "task_type": "SERVICE",
        "attempt": 1,
        "message_id": started.properties["message_id"],
        "instance_id": str(WorkflowInstance.objects.get().id),
        "context": {"size": "large"},
        "oven": "stone",
    }
    assert (started.properties["content_type"], started.properties["delivery_mode"]) == ("application/json", 2)
    done = {key: asked[key] for key in ("business_ref_no", "component_name", "stage_name", "task_name", "task_type")}
    service.send(**done, event_name="TaskCompleted")
    service.send(**done, event_name="TaskCompleted")
    until(lambda: OutboxMessage.objects.filter(task_name="ride").exists(), receiver._work)
    relay_once(bus, timezone.now())

    service.work_on(ride, declare=False)
    asked = json.loads(service.next().body)
    assert asked["task_name"] == "ride"
    service.send(**{**done, "task_name": "ride"}, event_name="TaskCompleted")
    until(lambda: WorkflowInstance.objects.filter(state="COMPLETED").exists(), receiver._work)

    assert QuarantinedMessage.objects.count() == 0
    assert service.got == []
    service.connection.close()
