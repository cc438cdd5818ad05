"""Rollback: one compensation at a time, newest completion first; what its results and operators do to it."""

import pytest

from tests.builders import (
    CANCEL,
    RESUME,
    ROLL_BACK,
    SUSPEND,
    claimed,
    commented,
    completed,
    decided,
    failed,
    given,
    human,
    not_undone,
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
    undone,
    workflow,
)  # fmt: skip

TRIP = workflow(
    stage("S", service("a", **undo("undo_a")), service("b", **undo("undo_b")), service("n")),
    stage("T", service("c", **undo("undo_c")), service("d")),
)
ONE = workflow(service("a", extra="task", both="task", **undo("undo_a", both="undo", why=7)), service("z", "a"))
DONE = (completed("a", output={"charge": 1}), ROLL_BACK)


def by_person(**more):
    return workflow(service("a", compensate={"assigned_to": "finance", **more}), service("z", "a"))


def test_compensations_go_one_at_a_time_in_reverse_order_of_completion_over_all_stages():
    story = given(TRIP, completed("b"), completed("n"), completed("a"), completed("T/c"))

    assert story.when(ROLL_BACK) == ["RollbackStarted", "TaskCancelled", "StageCancelled", "CompensationScheduled"]
    assert story.when(undone("T/c")) == ["CompensationCompleted", "CompensationScheduled"]
    assert story.when(undone("a")) == ["CompensationCompleted", "CompensationScheduled"]
    assert story.when(undone("b")) == ["CompensationCompleted", "RollbackCompleted"]
    assert story.messages(since=5) == [
        "CancelTask d#1",
        "CompensateTask c#1",
        "CompensateTask a#1",
        "CompensateTask b#1",
    ]
    assert story.states == {
        "a": "COMPENSATED",
        "b": "COMPENSATED",
        "n": "COMPLETED",
        "c": "COMPENSATED",
        "d": "CANCELLED",
    }
    assert story.state == "ROLLED_BACK"


def test_nothing_to_undo_is_rolled_back_at_once():
    story = given(workflow(service("a"), service("b", **undo())), completed("a"))

    assert story.when(ROLL_BACK) == ["RollbackStarted", "TaskCancelled", "StageCancelled", "RollbackCompleted"]
    assert story.now.finished_at == story.at


@pytest.mark.parametrize("before", [[], [failed("b")], [SUSPEND], [failed("b"), SUSPEND]])
def test_a_rollback_begins_from_running_failed_and_suspended(before):
    assert given(TRIP, *before, ROLL_BACK).state == "ROLLED_BACK"


def test_a_second_rollback_is_refused():
    story = given(ONE, *DONE)
    story.when(ROLL_BACK)
    assert story.refused == "wrong_state"
    story.when(not_undone("a"))
    story.when(ROLL_BACK)
    assert story.refused == "wrong_state"
    story.when(operator_skips("a"))
    story.when(ROLL_BACK)
    assert story.refused == "instance_closed"


def test_open_tasks_and_stages_are_cancelled_claimed_ones_too():
    story = given(workflow(human("h", task_queue="bell"), service("b"), service("c", "b"), failed_one := service("f")))
    story.when(claimed("h"))
    story.when(failed(failed_one["task_name"]))
    story.when(ROLL_BACK)

    assert story.states == {"h": "CANCELLED", "b": "CANCELLED", "c": "CANCELLED", "f": "FAILED"}
    assert story.messages(since=3) == ["CancelTask h#1", "CancelTask b#1"]


def test_the_compensate_task_carries_what_it_needs():
    story = given(ONE, pending("a"), *DONE)
    sent = story.sent[-1]

    assert (sent.event_name, sent.queue, sent.attempt) == ("CompensateTask", "undo_a", 1)
    assert sent.body == {
        "business_ref_no": "REF",
        "component_name": "COMPONENT",
        "event_name": "CompensateTask",
        "stage_name": "S",
        "task_name": "a",
        "task_type": "SERVICE",
        "workflow_name": "Workflow",
        "attempt": 1,
        "compensation": True,
        "output": {"charge": 1},
        "undoes_attempt": 2,
        "context": {"charge": 1},
        "extra": "task",
        "both": "undo",
        "why": 7,
    }


def test_a_task_is_undone_once_for_its_newest_completed_attempt():
    story = given(ONE, completed("a", output={"n": 1}), replayed("a"), completed("a", output={"n": 2}), ROLL_BACK)

    assert story.sent[-1].body["undoes_attempt"] == 2
    assert story.sent[-1].body["output"] == {"n": 2}
    story.when(undone("a"))
    assert story.state == "ROLLED_BACK"


@pytest.mark.parametrize("after", [[], [failed("a")], [pending("a")]])
def test_a_task_that_completed_before_a_replay_is_undone_whatever_came_of_the_replay(after):
    story = given(ONE, completed("a", output={"n": 1}), replayed("a"), *after)

    story.when(ROLL_BACK)

    assert story["a"].state == "COMPENSATING"
    assert story.sent[-1].body["undoes_attempt"] == 1
    assert story.sent[-1].body["output"] == {"n": 1}


def test_a_task_that_only_failed_has_nothing_to_undo():
    assert given(ONE, failed("a"), ROLL_BACK).state == "ROLLED_BACK"


def test_a_compensation_completed_by_a_late_worker_is_taken_in_hand_first():
    story = given(ONE, *DONE)

    assert story.when(started("a", compensation=True, worker="w")) == ["TaskStarted"]
    assert story.when(started("a", compensation=True)) == []
    assert story["a"].state == "COMPENSATING"
    assert story["a"].compensation.state == "STARTED"


# --- failures -----------------------------------------------------------------------------------------------------


def test_a_failure_stops_the_rollback():
    story = given(TRIP, completed("a"), completed("b"), ROLL_BACK)

    assert story.when(not_undone("b")) == ["CompensationFailed", "RollbackFailed"]
    assert story.state == "ROLLBACK_FAILED"
    assert story.states["b"] == "COMPENSATION_FAILED"
    assert story.states["a"] == "COMPLETED"


@pytest.mark.parametrize("again", [pending("a"), pending("a", compensation=True), operator_retries("a")])
def test_the_operator_retries_and_the_rollback_goes_on(again):
    story = given(ONE, *DONE, not_undone("a"))

    assert story.when(again) == ["RollbackResumed", "CompensationScheduled"]
    assert story.when(undone("a", attempt=2)) == ["CompensationCompleted", "RollbackCompleted"]
    assert story.messages(since=3) == ["CompensateTask a#1", "CompensateTask a#2"]


def test_undone_by_hand():
    story = given(TRIP, completed("a"), completed("b"), ROLL_BACK, not_undone("b"))

    assert story.when(operator_completes("b")) == ["RollbackResumed", "CompensationCompleted", "CompensationScheduled"]
    assert story.states["b"] == "COMPENSATED"


def test_a_skipped_compensation_leaves_the_effect():
    story = given(TRIP, completed("a"), completed("b"), ROLL_BACK, not_undone("b"))

    assert story.when(operator_skips("b")) == ["RollbackResumed", "CompensationSkipped", "CompensationScheduled"]
    assert story.states["b"] == "COMPLETED"
    story.when(undone("a"))
    assert story.state == "ROLLED_BACK"


@pytest.mark.parametrize(
    ("act", "event", "state"),
    [
        (operator_completes, "CompensationCompleted", "COMPENSATED"),
        (operator_skips, "CompensationSkipped", "COMPLETED"),
    ],
)
def test_both_also_while_compensating_and_the_worker_is_told(act, event, state):
    story = given(ONE, *DONE)

    assert story.when(act("a")) == [event, "RollbackCompleted"]
    assert story["a"].state == state
    assert story.messages(since=3) == ["CompensateTask a#1", "CancelTask a#1"]
    assert story.sent[-1].queue == "undo_a"
    story.when(undone("a"))
    assert story.refused == "instance_closed"


def test_a_compensation_is_not_failed_by_hand():
    story = given(ONE, *DONE)
    story.when(operator_fails("a"))

    assert story.refused == "wrong_state"


def test_compensations_have_one_attempt_by_default():
    assert given(ONE, *DONE, not_undone("a")).state == "ROLLBACK_FAILED"


def test_compensations_may_be_retried_by_policy():
    story = given(workflow(service("a", **undo(**retry(3, 10))), service("z")), *DONE)

    assert story.when(not_undone("a")) == ["CompensationFailed", "RetryScheduled"]
    assert (story.state, story["a"].state) == ("ROLLING_BACK", "COMPENSATING")
    assert story.later(10) == ["CompensationScheduled"]
    story.when(not_undone("a"))
    assert story.later(19) == []
    assert story.later(1) == ["CompensationScheduled"]
    assert story.when(not_undone("a")) == ["CompensationFailed", "RollbackFailed"]
    assert story.when(operator_retries("a")) == ["RollbackResumed", "CompensationScheduled"]
    assert story.when(not_undone("a")) == ["CompensationFailed", "RetryScheduled"]
    assert story.when(pending("a", compensation=True)) == ["CompensationScheduled"]
    assert story.later(1000) == []


def test_an_operators_retry_between_attempts_to_undo_begins_a_new_round():
    story = given(workflow(service("a", **undo(**retry(2, 10))), service("z")), *DONE, not_undone("a"))

    story.when(operator_retries("a", compensation=True))
    assert story.when(not_undone("a")) == ["CompensationFailed", "RetryScheduled"]
    story.when(pending("a", compensation=True))
    assert story.when(not_undone("a")) == ["CompensationFailed", "RollbackFailed"]


@pytest.mark.parametrize("nudge", [pending("a"), pending("a", attempt=1), operator_retries("a")])
def test_a_nudge_that_means_the_task_does_not_undo_it_twice(nudge):
    story = given(ONE, *DONE)

    assert story.when(nudge) == []
    assert story.refused == "attempt_closed"
    assert story.messages(since=3) == ["CompensateTask a#1"]


def test_a_compensation_without_delay_is_retried_at_once():
    story = given(workflow(service("a", **undo(**retry(2))), service("z")), *DONE)

    assert story.when(not_undone("a")) == ["CompensationFailed", "CompensationScheduled"]


def test_compensations_may_run_out_of_time():
    story = given(workflow(service("a", **undo(timeout_seconds=30)), service("z")), *DONE)

    assert story.later(29) == []
    assert story.later(1) == ["CompensationFailed", "RollbackFailed"]
    assert story["a"].compensation.error["code"] == "timeout"
    assert story.messages(since=3) == ["CompensateTask a#1"]


def test_a_nudge_of_a_compensation_supersedes_the_old_attempt():
    story = given(ONE, *DONE, pending("a", compensation=True))

    assert story.messages(since=3) == ["CompensateTask a#1", "CompensateTask a#2"]
    story.when(undone("a", attempt=1))
    assert story.refused == "stale_attempt"


def test_a_retry_of_an_undoing_that_was_never_sent_comes_too_early():
    story = given(TRIP, completed("a"), completed("b"), ROLL_BACK)
    story.when(pending("a", compensation=True))
    assert story.refused == "not_its_turn"
    story.when(undone("b"))
    story.when(pending("b", compensation=True))
    assert story.refused == "attempt_closed"


@pytest.mark.parametrize("act", [operator_skips, operator_completes])
def test_operators_act_on_the_undoing_that_is_under_way_only(act):
    story = given(TRIP, completed("a"), completed("b"), ROLL_BACK)
    story.when(act("a", compensation=True))
    assert story.refused == "not_its_turn"
    story.when(act("a"))
    assert story.refused in ("wrong_state", "attempt_closed")


@pytest.mark.parametrize("command", [SUSPEND, RESUME, CANCEL, replayed("a"), stage_replayed("S"), signalled("x")])
def test_nothing_else_is_done_to_an_instance_during_its_rollback(command):
    story = given(ONE, *DONE)
    story.when(command)

    assert story.refused == "wrong_state"


def test_the_business_status_stays_through_a_rollback():
    template = workflow(service("a", business_status="A", **undo()), service("b", "a", business_status="B"))
    story = given(template, *DONE, undone("a"))

    assert story.now.business_status == "A"


def test_a_step_undoes_without_a_message():
    story = given(workflow(service("a", compensate={"step": "steps.undo"}), service("z")), *DONE)

    assert story.messages()[-1] == "CancelTask z#1"
    assert story.when(undone("a")) == ["CompensationCompleted", "RollbackCompleted"]


# --- late completions ---------------------------------------------------------------------------------------------


def test_a_late_completion_is_undone_next():
    story = given(TRIP, completed("a"), ROLL_BACK)
    assert story.states["b"] == "CANCELLED"

    assert story.when(completed("b", output={"late": 1})) == ["TaskCompleted"]
    assert story.last("TaskCompleted").data["late"] is True
    assert story.when(undone("a")) == ["CompensationCompleted", "CompensationScheduled"]
    assert story.states["b"] == "COMPENSATING"
    assert story.sent[-1].body["output"] == {"late": 1}
    story.when(undone("b"))
    assert story.state == "ROLLED_BACK"


def test_a_late_completion_while_the_rollback_stands_is_undone_when_it_goes_on():
    story = given(TRIP, completed("a"), ROLL_BACK, not_undone("a"))

    assert story.when(completed("b")) == ["TaskCompleted"]
    assert story.when(operator_skips("a")) == ["RollbackResumed", "CompensationSkipped", "CompensationScheduled"]
    assert story.states["b"] == "COMPENSATING"


def test_a_late_completion_of_a_task_without_compensate_is_over():
    story = given(ONE, *DONE)
    assert story.states["z"] == "CANCELLED"
    story.when(completed("z"))

    assert story.refused == "attempt_closed"


def test_a_late_completion_is_only_for_the_attempt_that_the_rollback_withdrew():
    story = given(workflow(service("a", **undo()), service("b", "a", **undo()), service("c", **undo())), pending("c"))
    story.when(completed("a"))
    story.when(failed("b"))
    story.when(ROLL_BACK)
    for command, code in (
        (completed("c", attempt=1), "stale_attempt"),
        (failed("c"), "attempt_closed"),
        (completed("b"), "attempt_closed"),
        (completed("c", attempt=2), None),
        (completed("c"), "duplicate"),
    ):
        story.when(command)
        assert story.refused == code


def test_a_completion_after_the_end_of_the_rollback_comes_too_late():
    story = given(TRIP, ROLL_BACK)
    story.when(completed("a"))

    assert story.refused == "instance_closed"


def test_a_task_between_attempts_was_not_withdrawn():
    story = given(workflow(service("a", **undo()), service("b", **undo(), **retry(2, 60))), completed("a"), failed("b"))
    story.when(ROLL_BACK)
    story.when(completed("b"))

    assert story.refused == "attempt_closed"


def test_a_late_completion_of_a_person_is_a_message_too():
    story = given(workflow(service("a", **undo()), human("h", **undo())), completed("a"), claimed("h"), ROLL_BACK)

    assert story.when(completed("h")) == ["TaskCompleted"]
    story.when(undone("a"))
    assert story["h"].state == "COMPENSATING"


def replayed_and_rolled_back():
    """The first attempt of `a` is being undone; the rollback withdrew the second."""
    return given(ONE, completed("a", output={"n": 1}), replayed("a"), ROLL_BACK)


def test_a_late_completion_while_an_older_attempt_is_being_undone_is_undone_after_it():
    story = replayed_and_rolled_back()

    assert story.when(completed("a", output={"n": 2})) == ["TaskCompleted"]
    assert story["a"].state == "COMPENSATING"
    assert story.when(undone("a", attempt=1)) == ["CompensationCompleted", "CompensationScheduled"]
    assert story["a"].state == "COMPENSATING"
    assert story.sent[-1].body["undoes_attempt"] == 2
    assert story.sent[-1].body["output"] == {"n": 2}
    assert story.when(undone("a", attempt=2)) == ["CompensationCompleted", "RollbackCompleted"]


def test_a_late_completion_after_an_older_attempt_was_undone_is_undone_too():
    template = workflow(service("b", **undo()), service("a", **undo()), service("z"))
    story = given(template, completed("b"), completed("a"), replayed("a"), ROLL_BACK, undone("a"))
    assert story.states["a"] == "COMPENSATED"

    assert story.when(completed("a")) == ["TaskCompleted"]
    assert story["a"].state == "COMPLETED"
    assert story.when(undone("b")) == ["CompensationCompleted", "CompensationScheduled"]
    assert story.sent[-1].body["undoes_attempt"] == 2


def test_a_late_completion_while_the_undoing_of_an_older_attempt_has_failed_waits_for_it():
    story = replayed_and_rolled_back()
    story.when(not_undone("a"))

    assert story.when(completed("a")) == ["TaskCompleted"]
    assert story["a"].state == "COMPENSATION_FAILED"
    assert story.when(operator_skips("a")) == ["RollbackResumed", "CompensationSkipped", "CompensationScheduled"]
    assert story.sent[-1].body["undoes_attempt"] == 2


def test_a_retry_of_the_undoing_still_undoes_the_attempt_that_it_was_about():
    story = replayed_and_rolled_back()
    story.when(not_undone("a"))
    story.when(completed("a", output={"n": 2}))
    story.when(pending("a"))

    assert story.sent[-1].body["undoes_attempt"] == 1
    assert story.sent[-1].body["output"] == {"n": 1}


# --- undone by people ---------------------------------------------------------------------------------------------


def test_a_person_undoes_and_the_task_stays_compensating_while_claimed():
    story = given(by_person(), *DONE)
    assert story["a"].compensation.assigned_to == "finance"

    assert story.when(claimed("a", compensation=True)) == ["TaskClaimed"]
    assert story["a"].state == "COMPENSATING"
    assert story.when(released("a", compensation=True)) == ["TaskReleased"]
    assert story.when(reassigned("a", "mona", compensation=True)) == ["TaskReassigned"]
    assert story.when(commented("a", by="mona", compensation=True)) == ["TaskCommented"]
    happened = story.when(decided("a", by="mona", compensation=True, comment="paid back"))
    assert happened == ["TaskClaimed", "CompensationCompleted", "RollbackCompleted"]
    assert story["a"].state == "COMPENSATED"


def test_an_undoing_has_one_outcome():
    story = given(by_person(), *DONE)
    story.when(decided("a", "reject", compensation=True))
    assert story.refused == "invalid_body"
    story.when(decided("a", "complete", compensation=True))
    assert story.refused is None


def test_a_person_finds_an_undoing_closed_that_an_operator_skipped():
    story = given(by_person(), completed("a"), ROLL_BACK, operator_skips("a"))
    story.when(decided("a", compensation=True))

    assert story.refused == "instance_closed"


def test_a_nudge_of_an_undoing_by_a_person_takes_the_claim_away():
    story = given(by_person(), *DONE, claimed("a", compensation=True), operator_retries("a", compensation=True))

    assert story["a"].compensation.claimed_by is None
    story.when(decided("a", compensation=True, attempt=1))
    assert story.refused == "attempt_closed"


def test_a_person_who_takes_too_long_stops_the_rollback():
    story = given(by_person(timeout_seconds=60), *DONE)

    assert story.later(60) == ["CompensationFailed", "RollbackFailed"]


def test_a_failed_instance_is_resumed_by_no_resume_once_it_is_being_undone():
    story = given(ONE, *DONE, not_undone("a"))
    story.when(RESUME)

    assert story.refused == "wrong_state"


def test_steps_in_hand_are_withdrawn():
    story = given(workflow(service("a", **undo()), step("s"), service("z", "s")), completed("a"), ROLL_BACK)

    assert story["s"].withdrawn


CAREFUL = workflow(
    service("a", **undo("undo_a")), service("b", "a", on_failure="rollback", **undo("undo_b", after_failure=True))
)


def test_what_failed_is_undone_first_where_it_may_have_had_its_effect():
    story = given(CAREFUL, completed("a"))

    assert story.when(failed("b"))[-2:] == ["StageCancelled", "CompensationScheduled"]
    assert story.messages()[-1] == "CompensateTask b#1"
    assert story.sent[-1].body["effect"] == "possible"
    assert (story.sent[-1].body["undoes_attempt"], story.sent[-1].body["output"]) == (1, None)
    assert story.when(undone("b")) == ["CompensationCompleted", "CompensationScheduled"]
    assert "effect" not in story.sent[-1].body
    assert story.when(undone("a")) == ["CompensationCompleted", "RollbackCompleted"]


def test_what_a_rollback_withdrew_is_undone_first_where_it_may_have_had_its_effect():
    story = given(CAREFUL, completed("a"), ROLL_BACK)
    assert story.messages()[-2:] == ["CancelTask b#1", "CompensateTask b#1"]
    assert story.sent[-1].body["effect"] == "possible"


def test_an_attempt_that_failed_before_one_that_succeeded_is_undone_once_with_that():
    careful = workflow(service("a", retry={"max_attempts": 2}, **undo("undo_a", after_failure=True)), service("z", "a"))
    story = given(careful, failed("a"), completed("a"), ROLL_BACK)
    assert "effect" not in story.sent[-1].body
    assert story.sent[-1].body["undoes_attempt"] == 2
    assert story.when(undone("a")) == ["CompensationCompleted", "RollbackCompleted"]


def test_a_second_attempt_to_undo_knows_what_the_first_one_knew():
    careful = workflow(
        service("a", on_failure="rollback", **undo("undo_a", after_failure=True, retry={"max_attempts": 2}))
    )
    story = given(careful, failed("a"), not_undone("a"))
    assert [message.body.get("effect") for message in story.sent if message.event_name == "CompensateTask"] == [
        "possible", "possible"
    ]  # fmt: skip
