"""Calling who has an address: what is sent, what each answer means, who is not called at all."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from tests.activities.called import Plugin, go, reply
from tests.builders import service, workflow
from tests.runtime.door import Door
from workflows.engine import commands as c
from workflows.messaging import calling
from workflows.messaging.relay import relay_once
from workflows.models import Lease, LoggedEvent, OutboxMessage, TaskInstance
from workflows.runtime import pausing
from workflows.runtime.registering import register

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]
QUEUE = "@http/intake/scan"


@pytest.fixture
def scan(door: Callable[..., Door], called: Plugin) -> Callable[..., Door]:
    """A started instance with a task that is called."""

    def make(**more: Any) -> Door:
        site = door(workflow(service("scan", task_queue=QUEUE, **{"url": called.url, **more})))
        site.at = timezone.now()
        assert site.start(context={"file": "a.pdf"}).applied
        return site

    return make


def error_of(site: Door) -> Any:
    return TaskInstance.objects.get(instance=site.instance()).error


def test_a_plugin_is_told_what_a_service_is_told(scan, called, caller):
    register("intake", {"name": "scan", "phase": "pre", "url": called.url, "secret": "tell nobody"}, by="olga")
    called.says(200, {"pages": 3})
    site = scan(depth=5)

    go(caller)

    assert (site.state(), site.instance().context) == ("COMPLETED", {"file": "a.pdf", "pages": 3})
    ((headers, raw),) = called.calls
    sent = OutboxMessage.objects.get()
    assert json.loads(raw) == sent.payload
    assert sent.payload["depth"] == 5
    assert headers["idempotency-key"] == f"{site.instance().pk}/S/scan/1"
    assert headers["content-type"] == "application/json"
    signed = f"{sent.message_id}.{headers['webhook-timestamp']}.".encode() + raw
    wanted = base64.b64encode(hmac.new(b"tell nobody", signed, hashlib.sha256).digest()).decode()
    assert (headers["webhook-id"], headers["webhook-signature"]) == (str(sent.message_id), f"v1,{wanted}")
    assert set(LoggedEvent.objects.filter(event="TaskCompleted").values_list("actor", flat=True)) == {"http"}


def test_no_broker_has_a_part_in_it(scan, caller):
    class Nobody:
        has_everything = False

        def publish(self, messages):
            raise AssertionError("nothing is to be published")

    scan()

    assert OutboxMessage.objects.get().state == "SENT"
    assert relay_once(Nobody(), timezone.now() + dt.timedelta(hours=1)) == 0


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (500, b"", "http_500", "HTTP 500"),
        (503, b"Too busy.\nReally.", "http_503", "HTTP 503: Too busy."),
        (400, b'{"title": "Bad", "detail": "No file"}', "http_400", "HTTP 400: No file"),
        (404, b"x" * 500, "http_404", "HTTP 404: " + "x" * 169 + "…"),
        (302, b"", "http_302", "HTTP 302"),
        (200, b"done", "bad_answer", "The answer is not the JSON we take."),
        (200, b"[1]", "bad_answer", "The answer is no JSON object."),
        (200, b'{"a": NaN}', "bad_answer", "The answer is not the JSON we take."),
    ],
)
def test_what_goes_wrong_fails_the_attempt(scan, called, caller, status, body, code, message):
    called.says(status, body, Location="/elsewhere")
    site = scan()

    go(caller)

    error = error_of(site)
    assert (site.state(), error["code"]) == ("FAILED", code)
    assert error["message"].startswith(message)
    assert len(error["message"]) <= 180
    assert error["details"] == {"status": status}
    assert len(called.calls) == 1


@pytest.mark.parametrize("said", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n", b"HTTP"])
def test_an_answer_that_breaks_off(scan, called, caller, said):
    called.answer = lambda handler: handler.wfile.write(said)
    site = scan()

    go(caller)

    assert error_of(site)["code"] in ("bad_answer", "unreachable")


@pytest.mark.parametrize("body", [b"", b"  ", b"{}"])
def test_an_empty_answer_is_one(scan, called, caller, body):
    called.says(204 if not body else 200, body)
    site = scan()

    go(caller)

    assert (site.state(), site.instance().context) == ("COMPLETED", {"file": "a.pdf"})


def test_an_answer_that_is_too_large(scan, called, caller, monkeypatch):
    monkeypatch.setattr(calling, "MOST_BYTES", 1000)
    called.says(200, {"a": "x" * 1000})
    site = scan()

    go(caller)

    assert error_of(site)["code"] == "bad_answer"


def test_nobody_there(scan, called, caller):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        site = scan(url=f"http://127.0.0.1:{taken.getsockname()[1]}/")

        go(caller)

    assert error_of(site)["code"] == "unreachable"
    assert "refused" in error_of(site)["message"]


@pytest.mark.parametrize("drips", [False, True])
def test_an_answer_that_does_not_come(scan, called, caller, settings, drips):
    settings.PLUGIN_CALL_SECONDS = 1
    over = threading.Event()

    def answer(handler):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
        while not over.wait(0.1):
            if drips:
                handler.wfile.write(b"X-More: y\r\n")

    called.answer = answer
    site = scan()

    go(caller)
    over.set()

    assert error_of(site)["code"] == "call_timeout"


@pytest.mark.parametrize(
    "url", ["http://localhost:1/", "http://127.0.0.1:1/", "ftp://a.example/", "http://a:b/", 5, None]
)
def test_who_may_not_be_called_is_not(scan, caller, called, settings, url):
    settings.PLUGIN_HOSTS = []
    site = scan(url=url)

    go(caller)

    assert error_of(site)["code"] in ("forbidden_address", "bad_address", "no_address")
    assert called.calls == []


def test_a_failed_call_is_tried_again_as_another_attempt(scan, called, caller):
    called.says(503)
    site = scan(retry={"max_attempts": 2, "delay_seconds": 0})
    go(caller)
    called.says(200, {"pages": 1})

    go(caller)

    assert site.state() == "COMPLETED"
    assert [headers["idempotency-key"][-1] for headers, _ in called.calls] == ["1", "2"]


def test_a_plugin_may_answer_later(scan, called, caller):
    called.says(202)
    site = scan(timeout_seconds=60)

    go(caller)

    assert site.states() == {"scan": "STARTED"}
    assert not Lease.objects.exists()
    site.at += dt.timedelta(seconds=50)
    assert site.lease(QUEUE) == []
    assert site.say(
        {"event_name": "TaskCompleted", "stage_name": "S", "task_name": "scan", "attempt": 1, "output": {"pages": 2}}
    ).applied
    assert site.instance().context["pages"] == 2


def test_who_answers_later_and_never_does_has_its_time_out(scan, called, caller):
    called.says(202)
    site = scan(timeout_seconds=60)
    go(caller)

    site.later(61)

    assert (site.state(), error_of(site)["code"]) == ("FAILED", "timeout")


def answers_when_told(called):
    """Have the plugin wait with its answer: events for that it was called, and that it may answer."""
    began, go_on = threading.Event(), threading.Event()

    def answer(handler):
        began.set()
        go_on.wait(20)
        reply(handler, 200, b'{"pages": 9}')

    called.answer = answer
    return began, go_on


def test_a_late_answer_changes_nothing(scan, called, caller):
    began, go_on = answers_when_told(called)
    site = scan()
    caller.look()
    caller._work()
    assert began.wait(10)
    assert site.ask(c.CancelWorkflow(reason="sold")).applied
    go_on.set()

    go(caller)

    assert (site.state(), site.history()[-1], "pages" in site.instance().context) == (
        "CANCELLED",
        "InputRefused",
        False,
    )
    assert site.messages() == ["StartTask scan#1"]


def test_a_slow_plugin_leaves_room_for_others(door, called, caller):
    go_on = threading.Event()

    def answer(handler):
        if "slow" in called.calls[-1][1].decode():
            go_on.wait(20)
        reply(handler, 200, b"{}")

    called.answer = answer
    slow = [service(f"slow{number}", task_queue="@http/intake/slow", url=called.url) for number in range(6)]
    quick = service("quick", task_queue="@http/intake/quick", url=called.url)
    site = door(workflow(*slow, quick))
    site.at = timezone.now()
    site.start()

    caller.look()
    caller._work()
    end = time.monotonic() + 20
    while site.states()["quick"] != "COMPLETED":
        assert time.monotonic() < end
        caller._come_back.put(caller._come_back.get(timeout=10))
        caller._work()

    assert caller._in_flight == {"@http/intake/slow": calling.AT_ONCE_TO_ONE}
    assert sorted(site.states().values()).count("SCHEDULED") == 2
    go_on.set()
    go(caller, calls=6)
    assert site.state() == "COMPLETED"


def test_while_the_engine_is_paused_nobody_is_called(scan, called, caller):
    site = scan()
    pausing.pause(by="olga", reason="moving")

    caller.look()
    caller._work()
    assert (caller._in_flight.total(), called.calls) == (0, [])
    pausing.resume(by="olga")
    go(caller)

    assert site.state() == "COMPLETED"


def test_an_answer_that_comes_while_it_is_paused_waits(scan, called, caller):
    began, go_on = answers_when_told(called)
    site = scan()
    caller.look()
    caller._work()
    assert began.wait(10)
    pausing.pause(by="olga", reason="moving")
    go_on.set()
    go(caller)
    assert site.states() == {"scan": "STARTED"}

    pausing.resume(by="olga")
    caller._work()

    assert (site.state(), len(called.calls)) == ("COMPLETED", 1)


def test_it_is_woken_by_what_concerns_it(caller):
    from workflows.runtime.listeners import Committed

    def woken(**what):
        caller.worker._woken.clear()
        caller.heard(Committed(at=timezone.now(), changes=(), **what))
        return caller.worker._woken.is_set()

    assert not woken(queues=frozenset({"scan_queue"}))
    assert woken(queues=frozenset({QUEUE}))
    assert woken(everything=True)
