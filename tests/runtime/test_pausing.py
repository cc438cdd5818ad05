"""Pausing everything: running steps finish, nothing new starts, nothing is lost; then everything goes on by itself."""

import threading

import pytest
from django.db import connection, connections, transaction

from tests.builders import CANCEL, claimed, completed, decided, human, operator_retries, service, workflow
from tests.together import together
from workflows.engine import commands as c
from workflows.messaging.adapters.memory import MemoryBroker, MemoryBus
from workflows.messaging.port import Incoming, Outgoing
from workflows.messaging.receiving import Receiver, receive
from workflows.messaging.relay import Relay
from workflows.models import ControlRecord, Deadline, EnginePause, OutboxMessage, QuarantinedMessage, WorkflowInstance
from workflows.runtime import bulk_retry, leasing, listeners, pausing
from workflows.runtime.clock import Clock
from workflows.runtime.pausing import EnginePaused, EngineState, known
from workflows.steps import Done, StepTask, step
from workflows.steps.runner import StepRunner, run_step

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

begun, may_end = threading.Event(), threading.Event()
ran: list[str] = []


@step(name="pausing.slow")
def slow(task: StepTask) -> Done:
    ran.append(task.task_name)
    begun.set()
    assert may_end.wait(30)
    return Done()


@step(name="pausing.quick")
def quick(task: StepTask) -> Done:
    ran.append(task.task_name)
    return Done()


def a_step(name, *parents, does="pausing.quick"):
    return {"task_name": name, "task_type": "STEP", "step": does, **({"depends_on": list(parents)} if parents else {})}


@pytest.fixture(autouse=True)
def _fresh():
    known.forget()
    begun.clear()
    may_end.clear()
    ran.clear()
    yield
    may_end.set()
    EnginePause.objects.all().delete()
    known.forget()


def pause():
    return pausing.pause(by="olivia", reason="The warehouse moves.")


def run_steps(site):
    StepRunner(now=lambda: site.at).run_due()


def test_nothing_new_starts_and_what_ends_something_works(door):
    site = door(workflow(service("a"), human("h")))
    site.start("R1")
    site.start("R2")
    before = site.history("R1")

    pause()
    refused = [
        site.start("R3"),
        site.ask(completed("a"), ref="R1"),
        site.ask(operator_retries("a"), ref="R1"),
        site.ask(c.ResumeWorkflow(), ref="R1"),
        site.ask(c.RollBackWorkflow("no"), ref="R1"),
        site.ask(decided("h", by="fred"), ref="R1"),
    ]

    assert {answer.code for answer in refused} == {"engine_paused"}
    assert "olivia" in refused[0].reason
    assert site.history("R1") == before
    assert site.ask(claimed("h", by="fred"), ref="R1").applied
    assert site.ask(CANCEL, ref="R2").applied
    assert site.state("R2") == "CANCELLED"

    pausing.resume(by="olivia")

    assert site.start("R3").created
    assert site.ask(completed("a"), ref="R1").applied


def test_a_second_pause_leaves_the_first_and_a_second_resume_does_nothing():
    first = pause()
    again = pausing.pause(by="adam", reason="Another.")

    assert (first.state, again.pause.by) == (EngineState.PAUSED, "olivia")
    assert pausing.resume(by="adam").state == EngineState.RUNNING
    assert pausing.resume(by="adam").state == EngineState.RUNNING
    assert list(ControlRecord.objects.order_by("id").values_list("action", "actor")) == [
        ("PAUSED", "olivia"), ("RESUMED", "adam"),
    ]  # fmt: skip


def test_ten_who_pause_at_once_make_one_pause():
    standings = together(*[pause] * 10)

    assert {standing.pause.by for standing in standings} == {"olivia"}
    assert pausing.standing().state == EngineState.PAUSED
    assert ControlRecord.objects.count() == 1


def test_a_step_that_runs_ends_and_its_successor_waits_for_the_resume(door):
    site = door(workflow(a_step("one", does="pausing.slow"), a_step("two", "one"), human("ask", "two")))
    site.start()
    running = threading.Thread(target=lambda: (run_steps(site), connections.close_all()))
    running.start()
    assert begun.wait(30)

    if connection.vendor == "postgresql":
        standing = pause()
        assert (standing.state, standing.running_steps) == (EngineState.PAUSING, 1)
        may_end.set()
    else:
        # There is one writer: the pause is written when the step has ended.
        pausing_too = threading.Thread(target=lambda: (pause(), connections.close_all()))
        pausing_too.start()
        may_end.set()
        pausing_too.join(30)
    running.join(30)

    standing = pausing.standing()
    assert (standing.state, standing.running_steps) == (EngineState.PAUSED, 0)
    assert site.states()["one"] == "COMPLETED"
    after = len(ran)
    run_steps(site)
    if connection.vendor == "postgresql":
        assert ran == ["one"]
        assert site.states()["two"] == "SCHEDULED"
    assert len(ran) == after

    pausing.resume(by="olivia")
    run_steps(site)
    run_steps(site)

    assert site.states()["two"] == "COMPLETED"
    assert site.ask(decided("ask", by="fred", operator=True)).code != "engine_paused"
    assert site.history().count("TaskCompleted") >= 2


@pytest.mark.only_on_postgresql
def test_a_step_that_has_waited_for_its_instance_does_not_begin_after_the_pause(door):
    site = door(workflow(a_step("one")))
    site.start()
    instance = site.instance()

    with transaction.atomic():
        WorkflowInstance.objects.select_for_update().get(pk=instance.pk)
        waiting = threading.Thread(
            target=lambda: (
                run_step(instance.pk, stage_name="S", task_name="one", compensation=False, at=site.at),
                connections.close_all(),
            )
        )
        waiting.start()
        while pausing.running_steps() == 0:
            threading.Event().wait(0.01)
        # By another process: this one has not heard of it, and what it knew is old.
        EnginePause.objects.create(paused_at=site.at, paused_by="olivia", reason="x")
        known.forget()
    waiting.join(30)

    assert ran == []
    assert site.states()["one"] == "SCHEDULED"


def test_all_that_was_stopped_between_steps_goes_on(door):
    site = door(workflow(a_step("one"), a_step("two", "one"), human("ask", "two")))
    for n in range(12):
        site.start(f"R{n}")
        if n % 3:
            for name in ("one", "two")[: n % 3]:
                run_step(site.instance(f"R{n}").pk, stage_name="S", task_name=name, compensation=False, at=site.at)
    pause()
    run_steps(site)
    before = {n: site.states(f"R{n}") for n in range(12)}
    assert before[0]["one"] == "SCHEDULED"
    runner = StepRunner(now=lambda: site.at)
    end = listeners.subscribe(runner.heard)
    runner.worker.start()
    try:
        pausing.resume(by="olivia")
        for _ in range(300):
            if all(site.states(f"R{n}")["two"] == "COMPLETED" for n in range(12)):
                break
            threading.Event().wait(0.05)
    finally:
        end()
        runner.worker.stop()
        assert runner.worker.join(10)

    assert {site.states(f"R{n}")["ask"] for n in range(12)} == {"SCHEDULED"}


def test_clocks_do_not_go_off_and_are_not_lost(door):
    site = door(workflow(service("a", timeout_seconds=60)))
    site.start()
    pause()

    assert site.later(3600) == 0
    assert Clock(now=lambda: site.at)._work() > 0
    assert Deadline.objects.count() == 1
    assert "TaskTimedOut" not in site.history()

    pausing.resume(by="olivia")
    assert site.later(1) == 1
    assert Deadline.objects.count() == 0
    assert site.states()["a"] == "FAILED"


def test_messages_are_not_sent_and_then_they_are(door):
    site = door(workflow(service("a")))
    site.start()
    broker = MemoryBroker()
    bus = MemoryBus(broker)
    relay = Relay(open_bus=lambda: bus, now=lambda: site.at)
    pause()

    relay._work()
    assert not any(broker.queues.values())
    assert OutboxMessage.objects.exclude(state="SENT").count() == 1

    pausing.resume(by="olivia")
    relay._work()

    assert sum(map(len, broker.queues.values())) == 1
    assert OutboxMessage.objects.exclude(state="SENT").count() == 0
    relay._end()
    relay.close()


def test_nothing_is_taken_from_the_broker_and_nothing_goes_to_the_quarantine(door):
    site = door(workflow(service("a")))
    site.start()
    bus = MemoryBus(MemoryBroker())
    receiver = Receiver(open_bus=lambda: bus, now=lambda: site.at, queue="workflow_manager")
    said = (
        '{"event_name": "TaskCompleted", "component_name": "COMPONENT", "business_ref_no": "REF",'
        ' "stage_name": "S", "task_name": "a"}'
    )
    bus.publish([Outgoing("m1", "workflow_manager", said.encode())])
    pause()

    assert receiver._work() > 0
    with pytest.raises(EnginePaused):
        receive([Incoming(said.encode(), "m1", "workflow_manager")], at=site.at)
    assert QuarantinedMessage.objects.count() == 0
    assert site.states()["a"] == "SCHEDULED"

    pausing.resume(by="olivia")
    receiver._work()

    assert site.states()["a"] == "COMPLETED"


def test_no_work_is_leased(door):
    site = door(workflow(service("a")))
    site.start()
    pause()

    with pytest.raises(EnginePaused):
        leasing.lease("a_queue", worker_id="w", max_tasks=1, lease_seconds=60, actor="bot", at=site.at)
    with pytest.raises(EnginePaused):
        bulk_retry.ask(by="olivia", reason="r", filters={})


def test_another_process_knows_within_the_time_that_a_look_is_good_for(door):
    """Whoever has just looked and found nothing is refused once `pause` has answered."""
    other = pausing.Known()
    assert other.now() is None

    pause()

    assert other.now() is not None


def test_starts_race_a_pause_and_none_comes_after_its_answer(door):
    site = door(workflow(service("a")))
    paused = threading.Event()
    late: list[str] = []

    def starts(name):
        for n in range(400):
            after = paused.is_set()
            answer = site.start(f"{name}-{n}")
            if after:
                if answer.applied:
                    late.append(f"{name}-{n}")
                return

    def pauses():
        pause()
        paused.set()

    together(lambda: starts("A"), lambda: starts("B"), pauses)

    assert late == []
