"""Threads that work when woken: nothing is missed, nothing spins, they end."""

import threading
import time

import pytest

from workflows.runtime import workers
from workflows.runtime.workers import Worker


@pytest.fixture
def work():
    running = []

    def start(function, **more):
        worker = Worker(name="test", work=function, **more)
        running.append(worker)
        worker.start()
        return worker

    yield start
    for worker in running:
        worker.stop()
        assert worker.join(5)


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Counted:
    """Counts how often it is called; each answer is given once, the last one for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = 0
        self.changed = threading.Condition()

    def __call__(self):
        with self.changed:
            self.calls += 1
            self.changed.notify_all()
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def reached(self, number, seconds=5):
        with self.changed:
            return self.changed.wait_for(lambda: self.calls >= number, seconds)


def test_it_works_at_once_and_rests_until_it_is_woken(work):
    count = Counted(None)
    worker = work(count, rest=60)
    assert count.reached(1)

    worker.wake()

    assert count.reached(2)
    assert not count.reached(3, seconds=0.2)


def test_what_wakes_it_while_it_works_is_not_missed(work):
    entered, go_on = threading.Event(), threading.Event()
    count = Counted(None)

    def slow():
        entered.set()
        go_on.wait(5)
        return count()

    worker = work(slow, rest=60)
    assert entered.wait(5)
    worker.wake()
    go_on.set()

    assert count.reached(2)


def test_it_rests_no_longer_than_it_may(work):
    count = Counted(None)
    work(count, rest=0.05)

    assert count.reached(3)


def test_it_works_again_when_it_said(work):
    count = Counted(0, 0.05, None)
    work(count, rest=60)

    assert count.reached(3)


def test_after_a_failure_it_goes_on(work, caplog):
    count = Counted(ZeroDivisionError("once"), None)
    work(count, rest=60)

    assert count.reached(2)
    assert "goes on" in caplog.text


def test_stopping_does_not_wait_for_a_rest_nor_for_a_pause_after_a_failure(work, monkeypatch, caplog):
    monkeypatch.setattr(workers, "LONGEST_BACK_OFF", 60)
    resting, failing = Counted(None), Counted(ZeroDivisionError("always"))
    threads = [work(resting, rest=60), work(failing, rest=60)]
    assert resting.reached(1)
    assert failing.reached(1)

    begin = time.monotonic()
    for thread in threads:
        thread.stop()

    assert all(thread.join(5) for thread in threads)
    assert time.monotonic() - begin < 5


def test_an_end_that_is_asked_for_just_before_a_turn_does_not_wait_for_a_rest(work, monkeypatch):
    """The turn begins by forgetting what has woken it: the end, too."""
    worker = Worker(name="test", work=lambda: None, rest=60)
    forget = worker._woken.clear

    def end_and_forget():
        worker.stop()
        forget()

    monkeypatch.setattr(worker._woken, "clear", end_and_forget)
    worker.start()

    assert worker.join(10)


def test_it_reports_how_it_is(work, monkeypatch, caplog):
    monkeypatch.setattr(workers, "LONGEST_BACK_OFF", 60)
    entered, go_on = threading.Event(), threading.Event()

    def long():
        entered.set()
        go_on.wait(10)

    busy, failing = work(long, rest=60), work(Counted(ZeroDivisionError("always")), rest=60)
    assert entered.wait(5)

    assert busy.report().alive
    assert busy.report().busy_seconds > 0
    go_on.set()
    until(lambda: busy.report().busy_seconds == 0)
    until(lambda: failing.report().failures == 1)
    assert failing.report().alive
    assert not failing.has_died


def test_one_whose_thread_was_ended_by_its_work_has_died(work, caplog):
    def die():
        raise KeyboardInterrupt

    worker = work(die)
    until(lambda: worker.has_died)

    assert not worker.report().alive
    assert "has died" in caplog.text


def test_one_that_was_told_to_end_has_not_died(work):
    worker = work(lambda: None)
    worker.stop()
    assert worker.join(5)

    assert not worker.has_died


def test_one_that_was_never_started_has_ended():
    worker = Worker(name="idle", work=lambda: None)
    worker.stop()

    assert worker.join(0)
