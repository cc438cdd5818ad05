"""What is told to other processes, and what is made of what they say."""

import datetime as dt
import threading
import uuid
from dataclasses import replace

import pytest
from django.db import connection
from django.utils import timezone

from workflows.runtime import wakeups
from workflows.runtime.listeners import Committed
from workflows.runtime.wakeups import Ear, News, Voice

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

SOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


class Heard:
    """What an ear has heard."""

    def __init__(self):
        self.news = []
        self.roused = 0
        self._changed = threading.Condition()

    def tell(self, news):
        with self._changed:
            self.news.append(news)
            self._changed.notify_all()

    def rouse(self):
        with self._changed:
            self.roused += 1
            self._changed.notify_all()

    def until(self, condition, seconds=10):
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), seconds)


@pytest.fixture
def heard():
    """An ear of what is another process, as far as it knows."""
    found = Heard()
    ear = Ear(tell=found.tell, rouse=found.rouse)
    ear.worker.start()
    assert found.until(lambda it: it.roused), "it listens"
    yield found
    ear.worker.stop()
    assert ear.worker.join(10)
    ear.close()


@pytest.fixture
def voice(monkeypatch):
    # The two are in one process here, and an ear does not hear its own voice.
    me = threading.local()
    monkeypatch.setattr(wakeups, "_sender", lambda: f"{threading.current_thread().name}-{id(me)}")
    found = Voice()
    yield found
    found.end()


def committed(**more):
    # What was committed is not sent from memory.
    return Committed(at=timezone.now(), changes=(), unsent=bool(more.get("queues")), **more)


def all_of(heard):
    return (
        frozenset().union(*(news.jobs for news in heard.news)),
        frozenset().union(*(news.queues for news in heard.news)),
    )


def is_told(heard, expected):
    if connection.vendor == "postgresql":
        return heard.until(lambda it: all_of(it) == expected)
    # A file tells nobody what has changed: everybody looks.
    return True


def test_a_commit_is_told_with_what_it_brings(voice, heard):
    voice.heard(committed(queues=frozenset({"a_queue", "b_queue"}), steps=True, deadline=SOON))

    assert is_told(heard, (frozenset({"relay", "steps", "clock"}), frozenset({"a_queue", "b_queue"})))
    assert all(news.deadline == SOON for news in heard.news)


def test_what_is_done_here_is_not_asked_of_others(voice, heard):
    voice.here = {"relay", "clock", "steps", "inbound"}

    voice.heard(committed(deadline=SOON))
    voice.heard(committed(queues=frozenset({"a_queue"}), steps=True))

    # Steps all the same, for they may take long; and queues, for somebody may wait for a lease anywhere.
    assert is_told(heard, (frozenset({"steps"}), frozenset({"a_queue"})))


def test_the_names_of_very_many_queues_arrive_all(voice, heard):
    queues = frozenset(f"queue {number} " + "ü" * 180 for number in range(90))

    voice.heard(committed(queues=queues))

    assert is_told(heard, (frozenset({"relay"}), queues))


def test_a_commit_that_concerns_nobody_is_not_told(voice):
    voice.heard(committed())

    assert voice._thread is None


def test_what_comes_before_the_end_is_told_before_it(voice, heard):
    for number in range(20):
        voice.heard(committed(queues=frozenset({f"queue {number}"})))
    voice.end()
    voice.heard(committed(queues=frozenset({"too late"})))

    assert is_told(heard, (frozenset({"relay"}), frozenset(f"queue {number}" for number in range(20))))


def test_an_ear_wakes_when_the_file_has_changed(heard):
    from django.contrib.auth.models import Group

    before = heard.roused
    Group.objects.create(name=uuid.uuid4().hex)

    if connection.vendor == "sqlite":
        assert heard.until(lambda it: it.roused > before)
    else:
        assert not heard.news


def test_what_makes_no_sense_is_passed_over(heard, caplog):
    if connection.vendor != "postgresql":
        assert wakeups._read(b"{}") is None
        return
    with connection.cursor() as cursor:
        for payload in ("", "{", "[]", '{"from": "x"}', '{"from": "x", "jobs": 3, "queues": []}'):
            cursor.execute("SELECT pg_notify(%s, %s)", [wakeups.CHANNEL, payload])
        good = '{"from": "x", "jobs": ["clock"], "queues": [], "deadline": "2026-01-01T12:00:00+00:00", "new": 1}'
        cursor.execute("SELECT pg_notify(%s, %s)", [wakeups.CHANNEL, good])

    assert heard.until(lambda it: it.news)
    assert heard.news == [News(jobs=frozenset({"clock"}), deadline=SOON)]
    assert caplog.text.count("makes no sense") == 5


def test_what_others_tell_reads_like_a_commit():
    news = News(jobs=frozenset({"steps"}), queues=frozenset({"q"}), deadline=SOON).as_committed()

    assert (news.steps, news.queues, news.deadline, news.changes) == (True, frozenset({"q"}), SOON, ())


def test_what_is_sent_from_memory_here_wakes_no_relay_elsewhere(voice, heard):
    voice.heard(replace(committed(queues=frozenset({"a_queue"}), steps=True), unsent=False))

    assert is_told(heard, (frozenset({"steps"}), frozenset({"a_queue"})))
