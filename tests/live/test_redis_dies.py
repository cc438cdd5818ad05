"""Two web processes and a Redis of their own that is killed and comes back: nobody is kept out, nothing is lost."""

import http.cookiejar
import json
import logging
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from urllib.parse import urlsplit

import pytest

from orchestrator_site.logs import Seldom
from tests import engines
from tests.live.test_processes import start, two_servers
from tests.live.wire import Wire


@pytest.fixture
def own_redis():
    """Start a Redis of our own; give a function that kills it, and one that starts it again."""
    try:
        engine = engines.start_redis()
    except engines.EngineMissing as missing:
        pytest.skip(f"ENGINE MISSING: {missing}")
    running = [engine]
    port = urlsplit(engine.url).port

    def kill():
        engines.stop(running.pop())

    def again():
        running.append(engines.start_redis(port=port))

    yield engine.url, kill, again
    for one in running:
        engines.stop(one)


def report(site, token, instance, reference):
    event = {
        "event_name": "TaskCompleted",
        "component_name": "PROCESSES",
        "business_ref_no": reference,
        "stage_name": "WORK",
        "task_name": "one",
    }
    request = urllib.request.Request(
        f"{site.url}/api/v1/events/",
        data=json.dumps(event).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        assert json.load(response)["outcome"] == "applied"


def told_of_a_result(one, other, token):
    """Have a task done through one process, and give what a page of the other is told about it."""
    reference = uuid.uuid4().hex
    instance = start(other, token, reference)
    with Wire(one.url, authorization=f"Bearer {token}") as wire:
        wire.ask(f"instance:{instance['id']}")
        begun = time.monotonic()
        report(other, token, instance, reference)
        accepted = time.monotonic() - begun
        return wire.hear(20)["changed"], accepted


class Browser:
    """Somebody with cookies, who may be sent from one process to the other."""

    def __init__(self):
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def open(self, url, data=None, **headers):
        body = None if data is None else urllib.parse.urlencode(data).encode()
        try:
            with self._opener.open(urllib.request.Request(url, data=body, headers=headers), timeout=20) as response:
                return response.status, response.url, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, url, error.read().decode()

    def sign_in(self, form_from, post_to, *, password, username="root"):
        _, _, page = self.open(f"{form_from.url}/signin/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page).group(1)
        data = {"csrfmiddlewaretoken": token, "username": username, "password": password}
        return self.open(f"{post_to.url}/signin/", data, Origin=post_to.url)


@pytest.mark.timeout(240)
def test_redis_may_die_and_come_back(tmp_path, own_redis):
    url, kill, again = own_redis
    with two_servers(tmp_path, REDIS_URL=url) as (one, other, token):
        # Redis carries it: the hint names the task.
        assert told_of_a_result(one, other, token)[0] == ["WORK/one"]
        # One form of the one process, sent to the other; signed in there, known here.
        visitor = Browser()
        status, address, _ = visitor.sign_in(one, other, password="tests")
        assert (status, urlsplit(address).path) == (200, "/")
        assert urlsplit(visitor.open(f"{one.url}/instances/")[1]).path == "/instances/"
        # Wrong passwords are counted together.
        tries = [Browser().sign_in(one, (one, other)[n % 2], password="no", username="eve")[0] for n in range(8)]
        assert tries[:5] == [403] * 5
        assert 429 in tries[5:]

        kill()

        # Found by looking: nobody told which task it was. What is asked for is accepted as before.
        told, seconds = told_of_a_result(one, other, token)
        assert told == ["*"]
        assert seconds < 5
        assert Browser().sign_in(other, one, password="tests")[0] == 200

        again()

        end = time.monotonic() + 60
        while told_of_a_result(one, other, token)[0] != ["WORK/one"]:
            assert time.monotonic() < end, "hints do not come again"


@pytest.mark.timeout(180)
def test_without_redis_from_the_start_pages_follow_all_the_same(tmp_path):
    missing = f"redis://127.0.0.1:{engines.free_port()}/0"
    with two_servers(tmp_path, REDIS_URL=missing) as (one, other, token):
        begun = time.monotonic()
        with Wire(one.url, authorization=f"Bearer {token}") as wire:
            for topic in ("instances", "inbox", "overview"):
                assert wire.ask(topic)["topic"] == topic
        assert time.monotonic() - begun < 10

        assert told_of_a_result(one, other, token)[0] == ["*"]
        assert Browser().sign_in(other, one, password="tests")[0] == 200


def test_a_log_that_repeats_itself_says_it_once():
    seldom = Seldom()
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "it %s", ("failed",), None)
    error = ZeroDivisionError("for nothing")
    record.exc_info = (type(error), error, None)

    assert seldom.filter(record)
    assert record.getMessage() == "it failed (ZeroDivisionError('for nothing'))"
    assert record.exc_info is None
    assert not seldom.filter(logging.LogRecord("x", logging.ERROR, __file__, 1, "it failed", (), None))
