"""Steps run inside the orchestrator: their work and its record commit together."""

from __future__ import annotations

import datetime as dt
import sys
from typing import Any

import pytest
from django.contrib.auth.models import Group

from workflows.engine.commands import ResumeWorkflow, SuspendWorkflow
from workflows.models import LoggedEvent, TaskInstance, WorkflowInstance
from workflows.runtime.asking import Answer, Asked
from workflows.runtime.handling import handle
from workflows.runtime.inbound import read_event
from workflows.runtime.publishing import publish_template
from workflows.runtime.replay import check_history
from workflows.steps import Done, Failed, StepTask, Waiting, step
from workflows.steps import runner as runner_module
from workflows.steps.runner import InHand, StepRunner

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
calls: list[StepTask] = []


@step(name="tests.add")
def add(task: StepTask) -> Done:
    calls.append(task)
    return Done({"sum": task.context["a"] + task.context["b"]})


@step(name="tests.write_and_fail")
def write_and_fail(task: StepTask) -> Failed:
    Group.objects.create(name=f"written by attempt {task.attempt}")
    return Failed("no_luck", "Not today.")


@step(name="tests.raise")
def raises(task: StepTask) -> Done:
    raise ZeroDivisionError("by nothing")


@step(name="tests.wait")
def wait(task: StepTask) -> Done | Waiting:
    if task.signal is None:
        return Waiting("papers_signed", memory={"asked": task.attempt})
    return Done({"signed_by": task.signal["by"], "remembered": task.memory})


@step(name="tests.exit")
def exits(task: StepTask) -> Done:
    sys.exit(3)


@step(name="tests.undo")
def undo(task: StepTask) -> Done:
    calls.append(task)
    return Done()


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def run_steps() -> None:
    StepRunner(now=lambda: AT).run_due()


def started(*tasks: dict[str, Any], context: dict[str, Any] | None = None, **more: Any) -> WorkflowInstance:
    template = {
        "workflow_name": "Steps",
        "component_name": "STEPS",
        "stages": [{"stage_name": "S", "stage_order": 1, "tasks": list(tasks)}],
        **more,
    }
    publish_template(template, by="tests", at=AT)
    answer = said("StartWorkflow", context=context or {})
    assert answer.instance is not None
    return WorkflowInstance.objects.get(pk=answer.instance.id)


def said(event_name: str, **more: Any) -> Answer:
    message = {"event_name": event_name, "component_name": "STEPS", "business_ref_no": "R-1", **more}
    return handle(read_event(message, actor="tests"), at=AT)[0]


def state_of(instance: WorkflowInstance, task: str) -> str:
    return str(TaskInstance.objects.get(instance=instance, task_name=task).state)


def test_a_step_runs_and_its_output_is_in_the_context() -> None:
    instance = started({"task_name": "add", "task_type": "STEP", "step": "tests.add"}, context={"a": 2, "b": 3})

    run_steps()

    instance.refresh_from_db()
    assert instance.state == "COMPLETED"
    assert instance.context == {"a": 2, "b": 3, "sum": 5}
    assert check_history(instance) == []


def test_a_step_that_ran_does_not_run_again() -> None:
    started({"task_name": "add", "task_type": "STEP", "step": "tests.add"}, context={"a": 2, "b": 3})

    run_steps()
    run_steps()

    assert len(calls) == 1


def test_what_a_failed_step_wrote_is_undone_and_its_error_is_kept() -> None:
    instance = started({"task_name": "t", "task_type": "STEP", "step": "tests.write_and_fail"})

    run_steps()

    assert not Group.objects.filter(name__startswith="written by").exists()
    task = TaskInstance.objects.get(instance=instance, task_name="t")
    assert task.state == "FAILED"
    assert task.error == {"code": "no_luck", "message": "Not today.", "details": None}
    instance.refresh_from_db()
    assert check_history(instance) == []


def test_a_step_that_raises_has_failed_and_is_tried_by_its_policy() -> None:
    instance = started({"task_name": "t", "task_type": "STEP", "step": "tests.raise", "retry": {"max_attempts": 2}})

    run_steps()
    run_steps()

    task = TaskInstance.objects.get(instance=instance, task_name="t")
    assert (task.state, task.attempt) == ("FAILED", 2)
    assert task.error["code"] == "ZeroDivisionError"


def test_a_name_that_no_code_has_registered_fails_the_attempt() -> None:
    instance = started({"task_name": "t", "task_type": "STEP", "step": "os.system"})

    run_steps()

    assert TaskInstance.objects.get(instance=instance, task_name="t").error["code"] == "unknown_step"


def test_a_step_waits_for_its_signal_and_goes_on_with_what_it_remembered() -> None:
    instance = started({"task_name": "t", "task_type": "STEP", "step": "tests.wait"})

    run_steps()
    waiting = state_of(instance, "t")
    said("Signal", name="something_else")
    said("Signal", name="papers_signed", payload={"by": "ada"})
    run_steps()

    assert waiting == "WAITING"
    instance.refresh_from_db()
    assert instance.state == "COMPLETED"
    assert instance.context == {"signed_by": "ada", "remembered": {"asked": 1}}
    assert check_history(instance) == []


def test_a_signal_that_came_early_is_kept_for_the_step_that_waits_for_it() -> None:
    instance = started({"task_name": "t", "task_type": "STEP", "step": "tests.wait"})

    said("Signal", name="papers_signed", payload={"by": "ada"})
    run_steps()
    run_steps()

    instance.refresh_from_db()
    assert instance.state == "COMPLETED"


def test_a_rollback_is_carried_out_by_a_step_that_sees_what_it_undoes() -> None:
    instance = started(
        {"task_name": "add", "task_type": "STEP", "step": "tests.add", "compensate": {"step": "tests.undo"}},
        {
            "task_name": "t",
            "task_type": "STEP",
            "step": "tests.raise",
            "parent_task": ["add"],
            "on_failure": "rollback",
        },
        context={"a": 2, "b": 3},
    )

    run_steps()
    run_steps()
    run_steps()

    instance.refresh_from_db()
    assert instance.state == "ROLLED_BACK"
    assert [call.compensation for call in calls] == [False, True]
    assert calls[1].output == {"sum": 5}
    assert check_history(instance) == []


def test_no_step_runs_while_its_instance_is_suspended() -> None:
    instance = started({"task_name": "add", "task_type": "STEP", "step": "tests.add"}, context={"a": 1, "b": 1})
    handle(Asked(command=SuspendWorkflow(), target=instance.pk, actor="olivia"), at=AT)

    run_steps()
    ran_while_suspended = len(calls)
    handle(Asked(command=ResumeWorkflow(), target=instance.pk, actor="olivia"), at=AT)
    run_steps()

    assert ran_while_suspended == 0
    assert len(calls) == 1
    assert LoggedEvent.objects.filter(instance=instance, event="WorkflowCompleted").exists()


def parallel(name: str, count: int, does: str = "tests.undo") -> dict[str, Any]:
    tasks = [{"task_name": f"t{n}", "task_type": "STEP", "step": does} for n in range(count)]
    stage = {"stage_name": "S", "stage_order": 1, "tasks": tasks}
    return {"workflow_name": name, "component_name": "STEPS", "stages": [stage]}


def begun(name: str, *refs: str) -> None:
    for ref in refs:
        message = {"event_name": "StartWorkflow", "component_name": "STEPS", "business_ref_no": ref}
        assert handle(read_event({**message, "workflow_name": name, "context": {}}, actor="tests"), at=AT)[0].applied


def test_an_instance_with_hundreds_of_steps_lets_others_go_first() -> None:
    publish_template(parallel("Hot", 300), by="tests", at=AT)
    publish_template(parallel("Small", 1), by="tests", at=AT)
    begun("Hot", "HOT")
    begun("Small", "A", "B", "C")

    run_steps()

    ran = [call.business_ref_no for call in calls]
    assert set(ran[:4]) == {"HOT", "A", "B", "C"}, "the first of each goes before the second of any"
    assert len(ran) <= 10, "and the next round begins soon"


def test_rounds_come_to_an_end_however_many_steps_there_are() -> None:
    publish_template(parallel("Hot", 40), by="tests", at=AT)
    begun("Hot", "HOT", "WARM")
    runner = StepRunner(now=lambda: AT)

    rounds = 1
    while runner.run_due() == 0:
        rounds += 1
        assert rounds < 40

    assert len(calls) == 80
    assert len({(call.business_ref_no, call.task_name) for call in calls}) == 80


def test_a_step_that_cannot_be_run_at_all_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    publish_template(parallel("Small", 1), by="tests", at=AT)
    begun("Small", "BROKEN", "FINE")
    broken = WorkflowInstance.objects.get(business_ref_no="BROKEN").pk
    real = runner_module.run_step

    def run_step(instance: Any, **more: Any) -> None:
        if instance == broken:
            raise RuntimeError("a broken row")
        real(instance, **more)

    monkeypatch.setattr(runner_module, "run_step", run_step)
    pause = StepRunner(now=lambda: AT).run_due()

    assert [call.business_ref_no for call in calls] == ["FINE"]
    assert pause, "it is tried again, after a pause"


def test_threads_of_a_process_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    publish_template(parallel("Small", 2), by="tests", at=AT)
    begun("Small", "A", "B")
    in_hand = InHand()
    with in_hand.taking(WorkflowInstance.objects.get(business_ref_no="A").pk) as free:
        assert free

        pause = StepRunner(now=lambda: AT, in_hand=in_hand).run_due()

        assert [call.business_ref_no for call in calls] == ["B", "B"]
        assert pause
    StepRunner(now=lambda: AT, in_hand=in_hand).run_due()
    assert len(calls) == 4


def test_a_step_that_exits_has_failed_and_ends_nobody() -> None:
    instance = started({"task_name": "t", "task_type": "STEP", "step": "tests.exit"})

    run_steps()

    assert TaskInstance.objects.get(instance=instance, task_name="t").error["code"] == "SystemExit"
