"""The clock goes off when something is due: neither early, nor late, nor all the time."""

import datetime as dt
import threading

import pytest
from django.utils import timezone

from workflows.engine.commands import FailTask, StartWorkflow
from workflows.models import TaskInstance
from workflows.runtime import clock as clocks
from workflows.runtime import listeners
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.clock import Clock
from workflows.runtime.deadlines import Fired
from workflows.runtime.handling import handle
from workflows.runtime.publishing import publish_template

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def template(delay):
    task = {"task_name": "one", "task_type": "SERVICE", "task_queue": "one_queue"}
    retry = {"max_attempts": 3, "delay_seconds": delay, "jitter": False}
    stage = {"stage_name": "WORK", "stage_order": 1, "tasks": [{**task, "retry": retry}]}
    return {"workflow_name": f"Retry after {delay}", "component_name": "CLOCK", "stages": [stage]}


def fail(reference, delay):
    publish_template(template(delay), by="tests")
    target = Reference("CLOCK", reference, f"Retry after {delay}")
    handle(Asked(StartWorkflow(reference), target, actor="tests"))
    (answer,) = handle(Asked(FailTask("WORK", "one"), target, actor="tests"))
    assert answer.applied


@pytest.fixture
def running():
    clock = Clock(now=timezone.now)
    rung = threading.Condition()
    unsubscribe = [listeners.subscribe(clock.heard)]

    def ring(committed):
        with rung:
            rung.notify_all()

    unsubscribe.append(listeners.subscribe(ring))
    clock.worker.start()
    yield rung
    for one in unsubscribe:
        one()
    clock.worker.stop()
    assert clock.worker.join(10)


def attempt(reference):
    return TaskInstance.objects.get(instance__business_ref_no=reference).attempt


def test_a_deadline_that_a_commit_arms_is_kept_although_the_clock_sleeps(running):
    with running:
        fail("C-1", delay=0.5)
        assert running.wait_for(lambda: attempt("C-1") == 2, timeout=5)


def test_an_earlier_one_wakes_the_clock_from_its_sleep_for_a_later_one(running):
    with running:
        fail("C-1", delay=3600)
        fail("C-2", delay=0.5)
        assert running.wait_for(lambda: attempt("C-2") == 2, timeout=5)

    assert attempt("C-1") == 1


def test_what_fell_due_while_nobody_looked_is_made_up_for():
    fail("C-1", delay=0.001)
    later = timezone.now() + dt.timedelta(hours=1)

    Clock(now=lambda: later)._work()

    assert attempt("C-1") == 2


def test_it_sleeps_until_the_next_moment():
    fail("C-1", delay=100)

    pause = Clock(now=timezone.now)._work()

    assert 90 < pause <= 100


def test_it_does_not_spin_over_what_others_hold(monkeypatch):
    fail("C-1", delay=0.001)
    monkeypatch.setattr(clocks.deadlines, "fire", lambda at, **how: Fired())

    assert Clock(now=lambda: timezone.now() + dt.timedelta(hours=1))._work() >= 0.5
