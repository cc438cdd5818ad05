"""A result's way: the order in which a message about a task is judged."""

import pytest

from tests.builders import (
    CANCEL,
    ROLL_BACK,
    SUSPEND,
    completed,
    failed,
    given,
    not_undone,
    operator_completes,
    operator_fails,
    operator_skips,
    pending,
    replayed,
    retry,
    service,
    stage,
    started,
    undo,
    undone,
    workflow,
)  # fmt: skip

ONE = workflow(service("a"), service("b", "a"))
RETRIED = workflow(service("a", **retry(3, 60)))
UNDONE = workflow(service("a", **undo()), service("b", "a"))


def judge(story, command):
    happened = story.when(command)
    assert not (story.refused and happened)
    return story.refused


# --- attempts -----------------------------------------------------------------------------------------------------


def test_the_attempt_is_0_before_the_first_scheduling():
    assert given(ONE)["b"].attempt == 0


def test_attempts_count_every_scheduling_for_ever():
    story = given(workflow(service("a", **retry(2))), failed("a"), pending("a"), failed("a"))
    story.when(pending("a"))
    assert story["a"].attempt == 4
    story.when(completed("a"))
    story.when(replayed("a"))

    assert story["a"].attempt == 5


def test_a_result_for_an_older_attempt_is_stale():
    assert judge(given(ONE, pending("a")), completed("a", attempt=1)) == "stale_attempt"


def test_a_result_for_an_attempt_that_never_was_is_unknown():
    assert judge(given(ONE), completed("a", attempt=2)) == "unknown_attempt"


def test_a_result_for_the_first_attempt_of_a_task_not_reached_is_unknown():
    assert judge(given(ONE), completed("b", attempt=1)) == "unknown_attempt"


def test_without_an_attempt_the_current_one_is_meant():
    story = given(ONE, pending("a"))

    assert story.when(completed("a")) == ["TaskCompleted", "TaskScheduled"]
    assert story.last("TaskCompleted").attempt == 2


def test_stale_goes_before_the_end_of_the_instance():
    assert judge(given(ONE, pending("a"), CANCEL), completed("a", attempt=1)) == "stale_attempt"


def test_unknown_goes_before_the_end_of_the_instance():
    assert judge(given(ONE, CANCEL), failed("a", attempt=7)) == "unknown_attempt"


def test_unknown_goes_before_not_its_turn():
    assert judge(given(ONE), failed("b", attempt=1)) == "unknown_attempt"


# --- duplicates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", [None, 1])
def test_the_same_result_again_is_a_duplicate_whatever_its_output(attempt):
    story = given(ONE, completed("a", output={"n": 1}))

    assert judge(story, completed("a", attempt=attempt, output={"n": 2})) == "duplicate"
    assert story.now.context == {"n": 1}


def test_the_same_failure_again_is_a_duplicate():
    assert judge(given(ONE, failed("a")), failed("a", code="other")) == "duplicate"


def test_a_duplicate_stays_one_after_the_instance_ended():
    story = given(workflow(service("a")), completed("a"))
    assert story.state == "COMPLETED"

    assert judge(story, completed("a")) == "duplicate"


def test_a_duplicate_failure_stays_one_between_attempts():
    assert judge(given(RETRIED, failed("a")), failed("a")) == "duplicate"


@pytest.mark.parametrize("act", [operator_completes, operator_skips])
def test_a_failure_told_again_stays_a_duplicate_though_an_operator_has_dealt_with_the_task_since(act):
    assert judge(given(ONE, failed("a"), act("a")), failed("a")) == "duplicate"
    assert judge(given(ONE, failed("a"), act("a")), completed("a")) == "attempt_closed"
    assert judge(given(RETRIED, failed("a"), operator_fails("a")), failed("a")) == "duplicate"


@pytest.mark.parametrize("act", [operator_completes, operator_skips])
def test_a_failure_to_undo_told_again_stays_a_duplicate_though_an_operator_has_dealt_with_it_since(act):
    story = given(workflow(service("a", **undo())), completed("a"), replayed("a"), ROLL_BACK, not_undone("a"), act("a"))

    assert judge(story, not_undone("a")) == "duplicate"


def test_a_duplicate_stays_one_after_a_cancel_and_after_a_rollback():
    assert judge(given(ONE, completed("a"), CANCEL), completed("a")) == "duplicate"
    assert judge(given(UNDONE, completed("a"), ROLL_BACK, undone("a")), completed("a")) == "duplicate"


def test_a_result_of_an_attempt_that_a_replay_took_back_is_a_duplicate_until_the_next_attempt():
    story = given(workflow(stage("S", service("a")), stage("T", service("b"))), completed("a"), completed("T/b"))
    story.when(replayed("a"))

    assert story["T/b"].state == "PENDING"
    assert judge(story, completed("T/b")) == "duplicate"
    assert judge(story, failed("T/b")) == "not_its_turn"


# --- the end ------------------------------------------------------------------------------------------------------


def test_a_late_result_of_an_ended_instance_is_refused():
    story = given(ONE, CANCEL)

    assert judge(story, completed("a")) == "instance_closed"
    assert judge(story, failed("a")) == "instance_closed"
    assert judge(story, started("a")) == "instance_closed"
    assert judge(story, completed("b")) == "instance_closed"


def test_the_opposite_result_after_the_end_finds_the_instance_closed():
    assert judge(given(workflow(service("a")), completed("a")), failed("a")) == "instance_closed"


# --- its turn, its attempt ----------------------------------------------------------------------------------------


def test_a_result_for_a_pending_task_comes_too_early():
    for command in (completed("b"), failed("b"), started("b")):
        assert judge(given(ONE), command) == "not_its_turn"


def test_a_result_between_attempts_is_over():
    story = given(RETRIED, failed("a"))

    assert story["a"].state == "WAITING"
    assert judge(story, completed("a")) == "attempt_closed"


def test_the_first_result_wins():
    assert judge(given(ONE, completed("a")), failed("a")) == "attempt_closed"
    assert judge(given(ONE, failed("a")), completed("a")) == "attempt_closed"


def test_a_completion_after_a_time_out_is_over():
    story = given(workflow(service("a", timeout_seconds=10)))
    story.later(10)

    assert judge(story, completed("a")) == "attempt_closed"


@pytest.mark.parametrize("act", [operator_skips, operator_completes, operator_fails])
def test_a_result_after_an_operator_withdrew_the_attempt_is_over(act):
    story = given(ONE, act("a"))

    assert judge(story, completed("a")) == "attempt_closed"
    assert judge(story, failed("a")) == "attempt_closed"


def test_a_result_for_a_task_skipped_by_its_condition_is_over():
    story = given(workflow(service("a", when=False), service("b")))

    assert judge(story, completed("a")) == "attempt_closed"


def test_an_unknown_task_is_told():
    story = given(ONE)

    assert judge(story, completed("a", attempt=1)) is None
    assert judge(story, completed("nothing")) == "unknown_task"
    assert judge(story, completed("T/a")) == "unknown_task"


# --- results of a compensation ------------------------------------------------------------------------------------


def test_a_compensation_result_before_its_compensation_was_sent_comes_too_early():
    story = given(UNDONE, completed("a"))

    assert judge(story, undone("a")) == "not_its_turn"
    assert judge(story, not_undone("a")) == "not_its_turn"
    assert judge(story, started("a", compensation=True)) == "not_its_turn"


def test_a_compensation_result_is_judged_against_the_attempts_of_the_compensation():
    story = given(UNDONE, pending("a"), pending("a"), completed("a", attempt=3), ROLL_BACK)

    assert judge(story, undone("a", attempt=3)) == "unknown_attempt"
    assert judge(story, undone("a", attempt=1)) is None
    assert story.state == "ROLLED_BACK"
    assert judge(story, undone("a", attempt=1)) == "duplicate"
    assert judge(story, not_undone("a")) == "instance_closed"
    assert judge(story, undone("a", attempt=2)) == "unknown_attempt"


def test_an_older_attempt_to_undo_is_stale():
    story = given(UNDONE, completed("a"), ROLL_BACK, not_undone("a"), pending("a"))

    assert judge(story, undone("a", attempt=1)) == "stale_attempt"
    assert judge(story, not_undone("a", attempt=1)) == "stale_attempt"


def test_after_a_failure_to_undo_the_opposite_is_over_and_the_same_a_duplicate():
    story = given(UNDONE, completed("a"), ROLL_BACK, not_undone("a"))

    assert judge(story, undone("a")) == "attempt_closed"
    assert judge(story, not_undone("a")) == "duplicate"


def test_a_plain_result_during_a_rollback_is_over():
    story = given(UNDONE, completed("a"), ROLL_BACK)

    assert judge(story, completed("b")) == "attempt_closed"
    assert judge(story, failed("b")) == "attempt_closed"
    assert judge(story, started("b")) == "attempt_closed"
    assert judge(story, completed("a")) == "duplicate"


# --- TaskStarted --------------------------------------------------------------------------------------------------


def test_a_worker_takes_the_task_and_says_so_again_as_a_heartbeat():
    story = given(workflow(service("a", timeout_seconds=60)))

    assert story.when(started("a", worker="w1")) == ["TaskStarted"]
    assert story["a"].state == "STARTED"
    assert story.when(started("a", worker="w1"), after=30) == []
    assert story.refused is None
    assert "TaskFailed" in story.later(30)


def test_a_result_is_kept_with_its_attempt():
    story = given(ONE, started("a"))
    story.when(completed("a", output={}))
    assert story["a"].output == {}

    story.when(replayed("a"))
    assert story["a"].output is None


def test_the_error_is_the_newest_failure_until_one_succeeds():
    story = given(workflow(service("a", **retry(3))), failed("a", "first"))
    assert story["a"].error == {"code": "first", "message": None, "details": None}
    story.when(started("a"))
    assert story["a"].error["code"] == "first"
    story.when(failed("a", "second"))
    assert story["a"].error["code"] == "second"

    story.when(completed("a"))

    assert story["a"].error is None


def test_a_result_is_accepted_while_suspended_or_failed():
    assert judge(given(ONE, SUSPEND), completed("a")) is None
    assert judge(given(workflow(service("a"), service("b")), failed("a")), completed("b")) is None
