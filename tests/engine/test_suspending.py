"""Suspend and resume: what is accepted meanwhile, what is put off, and what follows at the resume."""

import pytest

from tests.builders import (
    CANCEL,
    RESUME,
    ROLL_BACK,
    SUSPEND,
    awaits,
    claimed,
    completed,
    decided,
    failed,
    given,
    human,
    operator_completes,
    operator_fails,
    operator_retries,
    operator_skips,
    pending,
    reassigned,
    released,
    replayed,
    retry,
    service,
    signalled,
    stage,
    stage_replayed,
    started,
    step,
    undo,
    workflow,
)  # fmt: skip

LINE = workflow(stage("S", service("a"), service("b", "a")), stage("T", service("c")))


def test_an_instance_is_suspended_from_running_and_from_failed():
    assert given(LINE, SUSPEND).state == "SUSPENDED"
    assert given(LINE, failed("a"), SUSPEND).state == "SUSPENDED"


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        ([SUSPEND], "wrong_state"),
        ([CANCEL], "instance_closed"),
        ([ROLL_BACK], "instance_closed"),
        ([completed("a"), completed("b"), completed("T/c")], "instance_closed"),
    ],
)
def test_an_instance_is_suspended_from_no_other_state(commands, code):
    story = given(LINE, *commands)
    story.when(SUSPEND)

    assert story.refused == code


def test_a_running_instance_is_not_resumed():
    story = given(LINE)
    story.when(RESUME)

    assert story.refused == "wrong_state"


@pytest.mark.parametrize(
    ("commands", "state"),
    [
        ([completed("a")], "COMPLETED"),
        ([failed("a")], "FAILED"),
        ([started("a")], "STARTED"),
        ([operator_skips("a")], "SKIPPED"),
        ([operator_completes("a")], "COMPLETED"),
        ([operator_fails("a")], "FAILED"),
        ([failed("a"), operator_skips("a")], "SKIPPED"),
    ],
)
def test_while_suspended_results_and_operators_change_their_task_only(commands, state):
    story = given(LINE, SUSPEND)
    for command in commands:
        assert len(story.when(command)) == 1
        assert story.refused is None

    assert story.states == {"a": state, "b": "PENDING", "c": "PENDING"}
    assert story.state == "SUSPENDED"


def test_while_suspended_people_may_claim_release_and_decide():
    story = given(workflow(human("a"), human("b", "a")), SUSPEND)

    assert story.when(claimed("a")) == ["TaskClaimed"]
    assert story.when(released("a")) == ["TaskReleased"]
    assert story.when(reassigned("a", "mona")) == ["TaskReassigned"]
    assert story.when(decided("a", by="mona")) == ["TaskClaimed", "TaskCompleted"]
    assert story.states == {"a": "COMPLETED", "b": "PENDING"}


@pytest.mark.parametrize("command", [pending("b"), operator_retries("b"), replayed("a"), stage_replayed("S")])
def test_what_would_schedule_is_refused_while_suspended(command):
    story = given(LINE, completed("a"), SUSPEND)
    story.when(command)

    assert story.refused == "instance_suspended"


def test_a_decision_that_returns_is_refused_while_suspended():
    outcomes = [{"name": "ok"}, {"name": "back", "effect": "return", "return_to": "a"}]
    story = given(workflow(human("a"), human("b", "a", outcomes=outcomes)), decided("a"), SUSPEND)
    story.when(decided("b", "back", by="fiona"))

    assert story.refused == "instance_suspended"
    assert story["b"].state == "SCHEDULED"


def test_what_became_ready_is_scheduled_at_the_resume():
    story = given(LINE, SUSPEND, completed("a"))

    assert story.when(RESUME) == ["WorkflowResumed", "TaskScheduled"]


def test_stages_and_the_end_follow_at_the_resume():
    story = given(workflow(service("a")), SUSPEND, completed("a"))
    assert story.state == "SUSPENDED"

    assert story.when(RESUME) == ["WorkflowResumed", "StageCompleted", "WorkflowCompleted"]


def test_a_resume_gives_failed_where_a_task_is_failed_under_halt():
    story = given(LINE, SUSPEND, failed("a"))

    assert story.when(RESUME) == ["WorkflowResumed", "WorkflowFailed"]


def test_a_failed_instance_whose_task_was_mended_meanwhile_runs_after_the_resume():
    story = given(LINE, failed("a"), SUSPEND, operator_completes("a"))

    assert story.when(RESUME) == ["WorkflowResumed", "TaskScheduled"]
    assert story.state == "RUNNING"


def test_a_failure_policy_follows_at_the_resume():
    story = given(workflow(service("a", **undo()), service("b", "a", on_failure="rollback")), completed("a"), SUSPEND)
    assert story.when(failed("b")) == ["TaskFailed"]

    assert story.when(RESUME) == ["WorkflowResumed", "RollbackStarted", "StageCancelled", "CompensationScheduled"]


def test_an_attempt_that_failed_meanwhile_is_retried_at_the_resume():
    story = given(workflow(service("a", **retry(2)), service("b", **retry(2, 100))), SUSPEND)
    story.when(failed("a"))
    story.when(failed("b"))
    assert story.states == {"a": "FAILED", "b": "FAILED"}

    assert story.when(RESUME, after=30) == ["WorkflowResumed", "RetryScheduled", "TaskScheduled"]
    assert story.later(69) == []
    assert story.later(1) == ["TaskScheduled"]


def test_a_retry_that_fell_due_takes_effect_at_the_resume():
    story = given(workflow(service("a", **retry(2, 10))), failed("a"), SUSPEND)
    assert story.later(10) == []

    assert story.when(RESUME) == ["WorkflowResumed", "TaskScheduled"]


def test_a_time_out_that_fell_due_takes_effect_at_the_resume():
    story = given(workflow(service("a", timeout_seconds=10), service("b", timeout_seconds=99)), SUSPEND)
    assert story.later(10) == []
    assert story["a"].state == "SCHEDULED"

    assert story.when(RESUME) == ["WorkflowResumed", "TaskFailed", "WorkflowFailed"]
    assert story["a"].error["code"] == "timeout"


def test_a_result_that_came_before_the_resume_wins_over_the_clock():
    story = given(workflow(service("a", timeout_seconds=10)), SUSPEND)
    story.later(20)
    story.when(completed("a"))

    assert story.when(RESUME) == ["WorkflowResumed", "StageCompleted", "WorkflowCompleted"]


def test_a_time_out_under_continue_lets_its_children_go_on_at_the_resume():
    story = given(workflow(service("a", timeout_seconds=10, on_failure="continue"), service("b", "a")), SUSPEND)
    story.later(10)

    assert story.when(RESUME) == ["WorkflowResumed", "TaskFailed", "TaskScheduled"]


def test_a_task_failed_while_suspended_may_be_skipped_though_attempts_were_left():
    story = given(workflow(service("a", **retry(5))), SUSPEND, failed("a"), operator_skips("a"))

    assert story.when(RESUME) == ["WorkflowResumed", "StageSkipped", "WorkflowCompleted"]


def test_conditions_are_judged_at_the_resume():
    story = given(workflow(service("a"), service("z"), service("b", "a", when={"var": "go"})), SUSPEND)
    story.when(completed("a"))
    story.when(completed("z", output={"go": True}))

    assert story.when(RESUME) == ["WorkflowResumed", "TaskScheduled"]


def test_a_signal_that_comes_while_suspended_wakes_its_step_at_the_resume():
    story = given(workflow(step("a")), awaits("a", "paid"), SUSPEND)
    assert story.when(signalled("paid", 7)) == ["SignalReceived"]

    assert story.when(RESUME) == ["WorkflowResumed", "StepWoken"]
    assert story["a"].inbox == 7


def test_a_suspended_instance_may_be_cancelled_and_rolled_back():
    assert given(LINE, SUSPEND, CANCEL).state == "CANCELLED"
    assert given(LINE, SUSPEND, ROLL_BACK).state == "ROLLED_BACK"
    assert given(LINE, failed("a"), SUSPEND, ROLL_BACK).states["a"] == "FAILED"


def test_the_reason_is_optional_for_suspend_and_resume():
    from workflows.engine import commands as c

    story = given(LINE, c.SuspendWorkflow(), c.ResumeWorkflow(reason="done"))

    assert story.last("WorkflowSuspended").data == {}
    assert story.last("WorkflowResumed").data == {"reason": "done"}
