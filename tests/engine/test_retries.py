"""Attempts that fail: rounds, pauses, time-outs, TaskPending."""

import datetime as dt

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from tests.builders import (
    RESUME,
    ROLL_BACK,
    SUSPEND,
    awaits,
    completed,
    failed,
    given,
    human,
    not_undone,
    operator_fails,
    operator_retries,
    operator_skips,
    pending,
    replayed,
    retry,
    service,
    stage,
    started,
    step,
    undo,
    workflow,
)  # fmt: skip
from workflows.definitions.schema import RetryPolicy
from workflows.engine import commands as c
from workflows.engine.rules.retries import delay_before_next, is_spent


def seconds_until_retry(story, task="a"):
    return (story[task].retry_at - story.at) / dt.timedelta(seconds=1)


def test_no_delay_means_at_once():
    story = given(workflow(service("a", **retry(2))))

    assert story.when(failed("a")) == ["TaskFailed", "TaskScheduled"]
    assert story.messages() == ["StartTask a#1", "StartTask a#2"]


def test_the_pauses_grow_by_the_backoff_up_to_the_longest():
    story = given(workflow(service("a", **retry(6, 10, backoff=3, max_delay_seconds=100))))
    pauses = []
    for _ in range(5):
        assert story.when(failed("a")) == ["TaskFailed", "RetryScheduled"]
        pauses.append(seconds_until_retry(story))
        assert story["a"].state == "WAITING"
        assert story.later(pauses[-1] - 0.001) == []
        assert story.later(0.001) == ["TaskScheduled"]

    assert pauses == [10, 30, 90, 100, 100]


@pytest.mark.parametrize(("luck", "pause"), [(0, 5), (0.5, 7.5), (0.999999, 10)])
def test_with_jitter_the_pause_is_between_half_and_all_of_it(luck, pause):
    story = given(workflow(service("a", **retry(2, 10, jitter=True))), failed("a"), luck=luck)

    assert seconds_until_retry(story) == pytest.approx(pause, abs=1e-4)


@hypothesis_given(
    st.floats(0, 1e8), st.floats(1, 1000), st.floats(0, 1e8), st.integers(1, 10_000), st.floats(0, 1, exclude_max=True)
)
def test_a_pause_is_never_longer_than_the_longest_and_never_fails(delay, backoff, most, failures, luck):
    policy = RetryPolicy(max_attempts=5, delay_seconds=delay, backoff=backoff, max_delay_seconds=most)

    whole = delay_before_next(RetryPolicy(5, delay, backoff, most, jitter=False), failures=failures, chance=luck)
    pause = delay_before_next(policy, failures=failures, chance=luck)

    assert 0 <= whole <= most
    assert whole / 2 <= pause <= whole or (pause, whole) == (0, 0)


def test_max_attempts_counts_failed_attempts_of_one_round():
    assert [is_spent(RetryPolicy(max_attempts=3), failures=n) for n in (1, 2, 3, 4)] == [False, False, True, True]


def test_when_the_attempts_are_spent_the_instance_fails():
    story = given(workflow(service("a", **retry(2))), failed("a"))

    assert story.when(failed("a")) == ["TaskFailed", "WorkflowFailed"]
    assert story["a"].attempt == 2


def test_a_service_may_give_up_the_remaining_attempts():
    story = given(workflow(service("a", **retry(5))))

    assert story.when(failed("a", final=True)) == ["TaskFailed", "WorkflowFailed"]
    assert story.messages() == ["StartTask a#1"]
    assert story.when(operator_retries("a")) == ["WorkflowRecovered", "TaskScheduled"]
    assert story.when(failed("a")) == ["TaskFailed", "TaskScheduled"]


def test_a_service_may_give_up_undoing():
    undo_a = service("a", compensate={"task_queue": "undo_a", **retry(5)})
    story = given(workflow(undo_a, service("b")), completed("a"), ROLL_BACK)

    assert story.when(not_undone("a", final=True)) == ["CompensationFailed", "RollbackFailed"]
    assert story.state == "ROLLBACK_FAILED"


def test_an_operators_retry_begins_a_new_round():
    story = given(workflow(service("a", **retry(2))), failed("a"), failed("a"))

    assert story.when(operator_retries("a")) == ["WorkflowRecovered", "TaskScheduled"]
    assert story.when(failed("a")) == ["TaskFailed", "TaskScheduled"]
    assert story.when(failed("a")) == ["TaskFailed", "WorkflowFailed"]


def test_a_task_pending_on_a_failed_task_begins_a_new_round():
    story = given(workflow(service("a", **retry(2))), failed("a"), failed("a"), pending("a"))

    assert story.when(failed("a")) == ["TaskFailed", "TaskScheduled"]


def test_a_replay_begins_a_new_round():
    story = given(workflow(service("a", **retry(2)), service("z")), failed("a"), completed("a"), replayed("a"))

    assert story.when(failed("a")) == ["TaskFailed", "TaskScheduled"]


def test_a_nudge_begins_no_new_round():
    story = given(workflow(service("a", **retry(2))), failed("a"))

    assert story.when(pending("a")) == ["TaskScheduled"]
    assert story.when(failed("a")) == ["TaskFailed", "WorkflowFailed"]


def test_an_operators_retry_of_a_live_task_is_a_nudge():
    story = given(workflow(service("a", **retry(2))), failed("a"), operator_retries("a"))

    assert story.when(failed("a")) == ["TaskFailed", "WorkflowFailed"]


def test_a_nudge_supersedes_the_old_attempt_without_a_cancel_task():
    story = given(workflow(service("a")), started("a"))

    assert story.when(pending("a")) == ["TaskScheduled"]
    assert story["a"].state == "SCHEDULED"
    assert story.messages() == ["StartTask a#1", "StartTask a#2"]


def test_a_task_pending_between_attempts_schedules_at_once():
    story = given(workflow(service("a", **retry(3, 60))), failed("a"))

    assert story.when(pending("a")) == ["TaskScheduled"]
    assert story["a"].retry_at is None
    assert story.later(60) == []


def test_a_task_pending_on_a_step_that_awaits_an_event_schedules_it_at_once():
    story = given(workflow(step("a")), awaits("a", "paid"))

    assert story.when(pending("a")) == ["TaskScheduled"]
    assert (story["a"].state, story["a"].attempt, story["a"].signal) == ("SCHEDULED", 2, None)


def test_a_task_pending_comes_too_early_or_too_late():
    story = given(workflow(service("a"), service("b", "a"), service("c", on_failure="continue"), service("d")))
    story.when(pending("b"))
    assert story.refused == "not_its_turn"
    for task, command in (("a", completed("a")), ("c", failed("c")), ("d", operator_skips("d"))):
        story.when(command)
        story.when(pending(task))
        assert story.refused == "attempt_closed", task


def test_a_task_pending_may_name_the_attempt_that_it_replaces():
    story = given(workflow(service("a")), pending("a"))

    assert story.when(pending("a", attempt=1)) == []
    assert story.refused == "stale_attempt"
    assert story.when(pending("a", attempt=2)) == ["TaskScheduled"]


def test_a_nudge_takes_a_claim_away():
    from tests.builders import claimed

    story = given(workflow(human("a")), claimed("a"))
    story.when(pending("a"))

    assert (story["a"].state, story["a"].claimed_by) == ("SCHEDULED", None)


# --- time-outs ----------------------------------------------------------------------------------------------------


def test_a_time_out_is_a_failed_attempt_with_the_code_timeout():
    story = given(workflow(service("a", timeout_seconds=30)))

    assert story.later(29.999) == []
    assert story.later(0.001) == ["TaskFailed", "WorkflowFailed"]
    assert story["a"].error["code"] == "timeout"
    assert story.messages() == ["StartTask a#1"]


def test_a_time_out_is_retried_by_the_policy():
    story = given(workflow(service("a", timeout_seconds=30, **retry(2, 10))))

    assert story.later(30) == ["TaskFailed", "RetryScheduled"]
    assert story.later(10) == ["TaskScheduled"]
    assert story.later(30) == ["TaskFailed", "WorkflowFailed"]


def test_the_time_runs_from_the_scheduling_of_the_attempt():
    story = given(workflow(service("a", timeout_seconds=30)))
    story.later(20)
    story.when(started("a"))
    story.when(pending("a"), after=5)

    assert story.later(29) == []
    assert story.later(1) == ["TaskFailed", "WorkflowFailed"]


def test_a_clock_of_an_older_attempt_changes_nothing():
    story = given(workflow(service("a", timeout_seconds=30, **retry(3, 10))))
    story.later(10)
    story.when(pending("a"))
    story.later(20)

    assert story.when(c.ElapseTaskTimeout(0, 1)) == []
    assert story.when(c.ElapseTaskTimeout(0, 2)) == []
    assert story.when(c.ElapseRetry(0, 2)) == []
    assert story["a"].state == "SCHEDULED"


def test_a_result_that_came_first_stops_the_clock():
    story = given(workflow(service("a", timeout_seconds=30), service("b")))
    story.when(completed("a"))

    assert story.later(100) == []


def test_a_step_that_awaits_an_event_runs_out_of_time_too():
    story = given(workflow(step("a", timeout_seconds=30)), awaits("a", "paid"))

    assert story.later(30) == ["TaskFailed", "WorkflowFailed"]


# --- halt, continue -----------------------------------------------------------------------------------------------


def test_under_halt_siblings_and_their_children_go_on_and_later_stages_wait():
    story = given(workflow(stage("S", service("a"), service("b"), service("c", "b")), stage("T", service("d"))))

    assert story.when(failed("a")) == ["TaskFailed", "WorkflowFailed"]
    assert story.when(completed("b")) == ["TaskCompleted", "TaskScheduled"]
    assert story.when(completed("c")) == ["TaskCompleted"]
    assert story.stages == {"S": "ACTIVE", "T": "PENDING"}


def test_the_instance_runs_again_once_no_task_is_failed_under_halt():
    story = given(workflow(service("a"), service("b"), service("c", on_failure="continue"), service("d")))
    story.when(failed("c"))
    story.when(failed("a"))
    assert story.when(failed("b")) == ["TaskFailed"]

    assert story.when(pending("a")) == ["TaskScheduled"]
    assert story.state == "FAILED"
    assert story.when(operator_skips("b")) == ["TaskSkipped", "WorkflowRecovered"]
    assert story.state == "RUNNING"


def test_a_failed_child_of_a_sibling_does_not_fail_the_instance_twice():
    story = given(workflow(service("a"), service("b")), failed("a"), failed("b"))

    assert story.history.count("WorkflowFailed") == 1


def test_a_task_has_its_own_policy_over_that_of_the_workflow():
    story = given(workflow(service("a"), service("b", on_failure="halt"), service("c"), on_failure="continue"))
    story.when(failed("a"))
    assert story.state == "RUNNING"

    story.when(failed("b"))
    assert story.state == "FAILED"


def test_a_failure_under_rollback_rolls_back():
    story = given(
        workflow(service("a", **undo()), service("b", "a"), service("c", "a"), on_failure="rollback"), completed("a")
    )

    assert story.when(failed("b")) == [
        "TaskFailed", "RollbackStarted", "TaskCancelled", "StageCancelled", "CompensationScheduled",
    ]  # fmt: skip
    assert story.states == {"a": "COMPENSATING", "b": "FAILED", "c": "CANCELLED"}


def test_an_operator_who_fails_a_task_spends_all_its_attempts():
    story = given(workflow(service("a", **retry(9))))

    assert story.when(operator_fails("a")) == ["TaskFailed", "WorkflowFailed"]
    assert story.messages() == ["StartTask a#1", "CancelTask a#1"]
    assert story["a"].error == {"code": "failed_by_operator", "message": "why", "details": None}


# --- the time of a whole instance ---------------------------------------------------------------------------------

SLOW = workflow(service("a"), service("b", "a"), timeout_seconds=100)


def test_an_instance_that_took_too_long_fails_and_its_tasks_go_on():
    story = given(SLOW)

    assert story.later(100) == ["WorkflowTimedOut"]
    assert story.state == "FAILED"
    assert story.when(completed("a")) == ["TaskCompleted", "TaskScheduled"]
    assert story.when(completed("b")) == ["TaskCompleted", "StageCompleted", "WorkflowCompleted"]
    assert story.state == "COMPLETED"


def test_a_late_instance_does_not_recover_by_a_retry():
    story = given(SLOW, failed("a"))
    assert story.later(100) == ["WorkflowTimedOut"]

    assert story.when(pending("a")) == ["TaskScheduled"]
    assert story.state == "FAILED"


def test_a_resume_accepts_the_delay():
    story = given(SLOW)
    story.later(100)

    assert story.when(RESUME) == ["WorkflowResumed"]
    assert story.state == "RUNNING"
    assert story.later(10_000) == []


def test_a_resume_of_a_late_instance_with_a_failed_task_leaves_it_failed():
    story = given(SLOW, failed("a"))
    story.later(100)

    assert story.when(RESUME) == ["WorkflowResumed", "WorkflowFailed"]


def test_a_resume_of_an_instance_that_only_failed_is_refused():
    story = given(SLOW, failed("a"))
    story.when(RESUME)

    assert story.refused == "wrong_state"


def test_an_instance_that_took_too_long_rolls_back_under_that_policy():
    story = given(workflow(service("a", **undo()), service("b", "a"), on_failure="rollback", timeout_seconds=100))
    story.when(completed("a"))

    assert story.later(100) == [
        "WorkflowTimedOut", "RollbackStarted", "TaskCancelled", "StageCancelled", "CompensationScheduled",
    ]  # fmt: skip


def test_an_instance_is_not_late_after_its_end():
    story = given(SLOW, completed("a"), completed("b"))
    assert story.later(1000) == []

    story.when(replayed("a"))
    assert story.later(1000) == []


def test_time_that_ran_out_while_suspended_takes_effect_at_the_resume():
    story = given(SLOW, SUSPEND)
    assert story.later(100) == []

    assert story.when(RESUME) == ["WorkflowResumed", "WorkflowTimedOut"]


def test_a_resume_after_a_suspension_accepts_a_delay_that_was_known():
    story = given(SLOW)
    story.later(100)
    story.when(SUSPEND)

    assert story.when(RESUME) == ["WorkflowResumed"]
    assert story.state == "RUNNING"
