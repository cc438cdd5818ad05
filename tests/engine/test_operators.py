"""Operators' skip, complete and fail; cancel."""

import pytest

from tests.builders import (
    CANCEL,
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
    replayed,
    retry,
    service,
    stage,
    started,
    step,
    undo,
    workflow,
)  # fmt: skip

ACTS = [operator_skips, operator_completes, operator_fails]
TWO = workflow(service("a"), service("b", "a"))


@pytest.mark.parametrize(("act", "state"), [(operator_skips, "SKIPPED"), (operator_completes, "COMPLETED")])
@pytest.mark.parametrize("before", [[], [started("a")], [failed("a")]])
def test_skip_and_complete_act_on_live_and_on_failed_tasks(act, state, before):
    story = given(TWO, *before, act("a"))

    assert story.states == {"a": state, "b": "SCHEDULED"}
    assert story.state == "RUNNING"


@pytest.mark.parametrize("act", ACTS)
def test_they_act_on_a_task_between_attempts(act):
    story = given(workflow(service("a", **retry(3, 60)), service("b", "a")), failed("a"), act("a"))

    assert "CancelTask a#1" not in story.messages()
    assert story["a"].retry_at is None
    assert story.later(60) == []


@pytest.mark.parametrize("act", ACTS)
def test_they_act_on_a_step_that_awaits_an_event(act):
    story = given(workflow(step("a"), service("z")), awaits("a", "paid"), act("a"))

    assert story["a"].signal is None


@pytest.mark.parametrize("act", ACTS)
def test_a_live_attempt_is_withdrawn_with_a_cancel_task(act):
    story = given(TWO, act("a"))

    assert "CancelTask a#1" in story.messages()
    assert story.sent[1].body["attempt"] == 1
    assert story.sent[1].queue == "a_queue"


def test_fail_is_not_for_a_failed_task():
    story = given(TWO, failed("a"))
    story.when(operator_fails("a"))

    assert story.refused == "attempt_closed"


@pytest.mark.parametrize("act", ACTS)
def test_they_do_not_act_on_what_is_done_or_not_reached(act):
    story = given(workflow(service("a"), service("b", "a"), service("c", on_failure="continue")))
    story.when(act("b"))
    assert story.refused == "not_its_turn"

    story.when(failed("c"))
    story.when(act("c"))
    assert story.refused == "attempt_closed"

    story.when(completed("a"))
    story.when(act("a"))
    assert story.refused == "attempt_closed"


@pytest.mark.parametrize("act", ACTS)
def test_they_find_an_ended_instance_closed(act):
    story = given(TWO, CANCEL)
    story.when(act("a"))

    assert story.refused == "instance_closed"


@pytest.mark.parametrize("act", [*ACTS, operator_retries])
def test_who_names_an_older_attempt_has_not_seen_the_newest(act):
    story = given(TWO, pending("a"))
    story.when(act("a", attempt=1))
    assert story.refused == "stale_attempt"
    story.when(act("a", attempt=3))
    assert story.refused == "unknown_attempt"
    story.when(act("a", attempt=2))
    assert story.refused is None


@pytest.mark.parametrize("act", ACTS)
def test_an_act_on_the_undoing_does_not_touch_the_task(act):
    story = given(workflow(service("a", **undo())))

    assert story.when(act("a", compensation=True)) == []
    assert story.refused in ("not_its_turn", "wrong_state")
    assert story["a"].state == "SCHEDULED"


def test_complete_takes_an_output_unchecked_by_the_form():
    form = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    story = given(workflow(human("a", form=form)), operator_completes("a", output={"n": "no number"}))

    assert story.now.context == {"n": "no number"}
    assert story.state == "COMPLETED"


def test_complete_of_a_failed_task_counts_for_a_rollback():
    story = given(workflow(service("a", **undo()), service("b", "a")), failed("a"), operator_completes("a"), ROLL_BACK)

    assert story["a"].state == "COMPENSATING"


def test_skipping_does_not_undo_what_an_earlier_run_did():
    story = given(workflow(service("a", **undo()), service("z")), completed("a"), replayed("a"), operator_skips("a"))

    story.when(ROLL_BACK)

    assert story["a"].state == "COMPENSATING"
    assert story["a"].compensation.undoes_attempt == 1


def test_complete_sets_the_business_status_and_skip_does_not():
    assert given(workflow(service("a", business_status="A")), operator_completes("a")).now.business_status == "A"
    assert given(workflow(service("a", business_status="A")), operator_skips("a")).now.business_status is None


def test_an_operator_who_completes_a_task_has_not_decided_it():
    story = given(workflow(human("a"), human("b", "a", four_eyes=True)), operator_completes("a"))

    assert story.now.deciders == ()


# --- cancel -------------------------------------------------------------------------------------------------------


def test_cancel_closes_every_open_task_and_stage_and_effects_stay():
    story = given(
        workflow(
            stage("S", service("a"), service("f"), service("n", when=False), service("b", "a"), service("l")),
            stage("T", service("c")),
        ),
        completed("a"),
        failed("f"),
    )

    assert story.when(CANCEL) == ["TaskCancelled"] * 3 + ["StageCancelled"] * 2 + ["WorkflowCancelled"]
    assert story.states == {
        "a": "COMPLETED", "f": "FAILED", "n": "SKIPPED", "b": "CANCELLED", "l": "CANCELLED", "c": "CANCELLED",
    }  # fmt: skip
    assert story.stages == {"S": "CANCELLED", "T": "CANCELLED"}
    assert story.now.finished_at == story.at


def test_cancel_tells_those_who_have_a_live_attempt_from_a_queue():
    story = given(
        workflow(
            service("a"),
            service("b", **retry(2, 60)),
            human("h"),
            human("bell", task_queue="bell_queue"),
            service("p", "a"),
        ),
        started("a"),
        failed("b"),
        claimed("h"),
    )
    before = len(story.sent)

    story.when(CANCEL)

    assert story.messages(since=before) == ["CancelTask a#1", "CancelTask bell#1"]
    assert [message.queue for message in story.sent[before:]] == ["a_queue", "bell_queue"]


def test_cancel_during_a_rollback_is_refused():
    story = given(workflow(service("a", **undo()), service("b", "a")), completed("a"), ROLL_BACK)
    story.when(CANCEL)

    assert story.refused == "wrong_state"


def test_what_has_ended_is_not_cancelled():
    story = given(TWO, CANCEL)
    story.when(CANCEL)
    assert story.refused == "instance_closed"


def test_every_clock_stops_with_a_cancel():
    story = given(
        workflow(
            service("a", timeout_seconds=5),
            service("b", **retry(2, 9)),
            step("c", timeout_seconds=3),
            timeout_seconds=99,
        )
    )
    story.when(failed("b"))
    story.when(awaits("c", "paid"))
    story.when(CANCEL)

    assert story.clocks() == []
    assert story.later(1000) == []


def test_a_decided_instance_that_was_suspended_can_be_cancelled():
    story = given(workflow(human("a"), service("b", "a")), SUSPEND, decided("a"), CANCEL)

    assert story.states == {"a": "COMPLETED", "b": "CANCELLED"}
