"""Whatever lies on the inbound queue: it is carried out or kept aside, acknowledged, and never stops the next one."""

import gzip
import json
import resource
import time
import uuid

import amqp
import pytest
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from tests.messaging.test_relay import TEMPLATE
from workflows.messaging import dead_letters, receiving
from workflows.messaging.adapters.amqp import AmqpBus
from workflows.messaging.connecting import close_amqp, open_amqp
from workflows.messaging.depths import Depth, close, read_queues
from workflows.messaging.receiving import Receiver
from workflows.models import LoggedEvent, QuarantinedMessage, TaskInstance, WorkflowInstance
from workflows.runtime.publishing import publish_template

pytestmark = [pytest.mark.django_db(transaction=True)]
START = {"event_name": "StartWorkflow", "component_name": "RELAY", "business_ref_no": "R-1"}
DONE = {**START, "event_name": "TaskCompleted", "stage_name": "WORK", "task_name": "one", "task_type": "SERVICE"}


class Post:
    """A sender that knows AMQP and the contract, and nothing of ours; and the receiver of the product."""

    def __init__(self, url):
        self.url = url
        self.queue = f"tests-{uuid.uuid4().hex}"
        self.receiver = self.receive_as(AmqpBus(url, inbound=self.queue))
        self.receiver._work()
        self.connection = open_amqp(url)
        self.channel = self.connection.channel()

    def receive_as(self, bus):
        receiver = Receiver(open_bus=lambda: bus, now=timezone.now, queue=self.queue)
        receiver.worker.doze = lambda seconds: None
        return receiver

    def send(self, body, **properties):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.channel.basic_publish_confirm(amqp.Message(body, **properties), exchange="", routing_key=self.queue)

    def send_raw(self, flags, properties, body=b"{}"):
        """Send a message whose properties are these bytes."""
        message = amqp.Message(body)
        message._serialize_properties = lambda: flags.to_bytes(2, "big") + properties
        self.channel.basic_publish_confirm(message, exchange="", routing_key=self.queue)

    def deal(self, until, seconds=20):
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end
            self.receiver._work()

    def left(self):
        return read_queues(self.url, [self.queue])[self.queue].messages

    def close(self):
        self.receiver.close()
        for name in (self.queue, f"{self.queue}.dead"):
            self.connection.channel().queue_delete(name)
        close_amqp(self.connection)
        close()


@pytest.fixture
def post(rabbitmq_url, monkeypatch):
    monkeypatch.setattr(receiving, "WAIT_SECONDS", 0.2)
    publish_template(TEMPLATE, by="tests")
    made = Post(rabbitmq_url)
    yield made
    made.close()


def until_it_raises(error, work, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            work()
        except error:
            return
    pytest.fail(f"{error} has not come")


def started():
    return WorkflowInstance.objects.exists()


JSON = {"content_type": "application/json"}
BOMB = gzip.compress(bytes(200 * 1024 * 1024), compresslevel=1)


@pytest.mark.parametrize(
    ("body", "properties", "code"),
    [
        (b"", JSON, "invalid_json"),
        (b"{bad", JSON, "invalid_json"),
        (b"\xff\xfe{}", JSON, "invalid_json"),
        (b"[" * 100_000, JSON, "invalid_json"),
        (b'{"a":' * 5_000, JSON, "invalid_json"),
        (b"1" * 1_100_000, JSON, "too_large"),
        (b" " * 16_777_216, JSON, "too_large"),
        (b"{}", {"content_type": "application/x-python-serialize"}, "content_type"),
        (b"{}", {"content_type": "application/x-yaml"}, "content_type"),
        (b"{}", {"content_type": "application/x-msgpack"}, "content_type"),
        (b"{}", {"content_type": "application/data"}, "content_type"),
        (b"{}", {**JSON, "content_encoding": "rot13"}, "content_encoding"),
        (b"{}", {**JSON, "content_encoding": "utf-7"}, "content_encoding"),
        (b"{}", {**JSON, "content_encoding": "idna"}, "content_encoding"),
        (BOMB, {**JSON, "application_headers": {"compression": "application/x-gzip"}}, "compression"),
        (b"{}", {**JSON, "application_headers": {"compression": "application/x-bz2"}}, "compression"),
        (b"{}", {**JSON, "application_headers": {f"key-{n}": "x" for n in range(3_000)}}, "too_large"),
        (json.dumps({**DONE, "business_ref_no": "NOBODY"}).encode(), JSON, "unknown_instance"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_poison_is_kept_aside_and_the_next_message_is_carried_out(post, body, properties, code):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    post.send(body, message_id="m-1", **properties)
    post.send(START, message_id="m-2", **JSON)

    post.deal(started)

    (held,) = QuarantinedMessage.objects.all()
    assert (held.code, held.message_id, held.body_bytes) == (code, "m-1", len(body))
    assert len(held.body) <= 65_536
    assert held.reason
    assert post.left() == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 80 * 1024


@pytest.mark.parametrize(
    ("flags", "properties"),
    [
        (0x0080, b"\x03\xff\xfe\xfd"),  # a message_id that is no UTF-8
        (0x8000, b"\x05\xff\xff\xff\xff\xff"),  # so is the content_type
    ],
)
def test_properties_that_no_library_reads_stop_nobody(post, flags, properties):
    post.send_raw(flags, properties)
    post.send(START, **JSON)

    post.deal(started)

    assert QuarantinedMessage.objects.count() == 1
    assert post.left() == 0


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"content_type": "text/plain", "content_encoding": "utf-8"},
        {"content_type": "application/json; charset=utf-8"},
        {"reply_to": "anywhere", "expiration": "600000", "priority": 9, "timestamp": 1, "type": "x", "app_id": "y"},
        {"delivery_mode": 1, "correlation_id": "c", "application_headers": {"a": {"b": [1, 2.5, True, None]}}},
    ],
)
def test_what_old_services_say_about_their_messages_is_taken(post, properties):
    post.send(START, **properties)
    post.send(DONE, **properties)

    post.deal(lambda: TaskInstance.objects.filter(task_name="one", state="COMPLETED").exists())

    assert QuarantinedMessage.objects.count() == 0


def test_an_object_that_looks_like_an_envelope_of_the_library_stays_as_it_is(post):
    odd = {"__type__": "uuid", "__value__": "no"}
    post.send({**START, "context": {"odd": odd, "b": {"__type__": "bytes", "__value__": "x"}}}, **JSON)

    post.deal(started)

    assert WorkflowInstance.objects.get().context["odd"] == odd


def test_a_message_delivered_a_hundred_times_counts_once(post):
    post.send(START, message_id="s", **JSON)
    for _ in range(100):
        post.send(DONE, message_id="d", **JSON)

    post.deal(lambda: post.left() == 0)
    post.receiver._work()

    assert LoggedEvent.objects.filter(event="TaskCompleted").count() == 1
    assert QuarantinedMessage.objects.count() == 0


def test_an_id_used_again_for_something_else_is_kept_in_the_history(post):
    post.send(START, message_id="s", **JSON)
    post.send({**DONE, "output": {"a": 1}}, message_id="d", **JSON)
    post.send({**DONE, "task_name": "two"}, message_id="d", **JSON)

    post.deal(lambda: LoggedEvent.objects.filter(event="InputRefused").exists())

    assert LoggedEvent.objects.get(event="InputRefused").data["code"] == "event_id_reused"
    assert TaskInstance.objects.get(task_name="two").state == "SCHEDULED"


def test_what_is_kept_aside_before_a_crash_is_not_kept_twice(post, monkeypatch):
    bus = post.receiver._bus
    post.send(b"{bad", message_id="m-1")
    post.send(b"{bad", message_id="m-1")
    post.send(b"{other")
    acknowledge = type(bus._receiving).take
    connection = bus._receiving._connection

    def crash(self, handle, **how):
        def and_die(messages):
            handle(messages)
            connection.transport.sock.close()

        return acknowledge(self, and_die, **how)

    monkeypatch.setattr(type(bus._receiving), "take", crash)
    while QuarantinedMessage.objects.count() < 3:
        post.receiver._work()
    monkeypatch.undo()

    post.deal(lambda: post.left() == 0 and read_queues(post.url, [post.queue])[post.queue] == Depth(0, 1))
    post.receiver._work()

    assert sorted(QuarantinedMessage.objects.values_list("body", flat=True)) == ["{bad", "{bad", "{other"]


def test_nothing_is_taken_while_the_database_is_away(post, monkeypatch):
    post.send(START, **JSON)
    takes = []
    for error in (OperationalError, InterfaceError):

        def away(*asked, at=None, error=error):
            takes.append(error)
            raise error("gone")

        monkeypatch.setattr(receiving, "handle", away)
        monkeypatch.setattr(receiving, "_ask_database", lambda error=error: (_ for _ in ()).throw(error("gone")))
        post.receiver._in_doubt = False
        for _ in range(5):
            until_it_raises(error, post.receiver._work)
    monkeypatch.undo()

    post.deal(started)

    assert takes == [OperationalError, InterfaceError]
    assert QuarantinedMessage.objects.count() == 0


def test_a_message_that_our_own_code_stumbles_over_is_kept_and_the_others_go_on(post, monkeypatch):
    handle = receiving.handle

    def stumble(*asked, at=None):
        if len(asked) == 1 and asked[0].target.business_ref_no == "BUG":
            raise ZeroDivisionError
        return handle(*asked, at=at)

    monkeypatch.setattr(receiving, "handle", stumble)
    post.send({**START, "business_ref_no": "BUG"}, **JSON)
    post.deal(lambda: QuarantinedMessage.objects.exists())
    post.send(START, **JSON)
    post.deal(started)

    assert QuarantinedMessage.objects.get().code == "internal_error"


def test_what_the_broker_gives_up_on_comes_to_quarantine(post):
    post.receiver.close()
    post.send(START, message_id="m-1", **JSON)
    channel = post.connection.channel()
    for _ in range(51):
        got = None
        while got is None:
            got = channel.basic_get(post.queue)
        channel.basic_reject(got.delivery_tag, requeue=True)
    dead = f"{post.queue}.dead"
    end = time.monotonic() + 20
    while read_queues(post.url, [dead])[dead].messages < 1:
        assert time.monotonic() < end

    (seen,) = dead_letters.peek(post.url, post.queue)
    assert (seen.message_id, json.loads(seen.body), seen.death) == ("m-1", START, (post.queue, "delivery_limit"))
    assert QuarantinedMessage.objects.count() == 0
    assert dead_letters.move_to_quarantine(post.url, post.queue) == 1
    assert dead_letters.move_to_quarantine(post.url, post.queue) == 0

    held = QuarantinedMessage.objects.get()
    assert (held.code, held.source, json.loads(held.body)) == ("dead_letter", f"amqp:{post.queue}", START)


def test_the_receiver_brings_dead_letters_by_itself(post):
    post.send(START, **JSON)
    post.deal(started)
    dead = f"{post.queue}.dead"
    death = {"x-first-death-queue": "make_food_queue", "x-first-death-reason": "rejected"}
    message = amqp.Message(b'{"event_name": "StartTask"}', application_headers=death)
    post.channel.basic_publish_confirm(message, exchange="", routing_key=dead)

    post.deal(lambda: QuarantinedMessage.objects.exists())

    assert QuarantinedMessage.objects.get().source == "amqp:make_food_queue"
    assert read_queues(post.url, [dead])[dead].messages == 0
