"""Steps that wait for signals, and signals that wait for steps."""

import pytest

from tests.builders import (
    CANCEL,
    ROLL_BACK,
    SUSPEND,
    awaits,
    completed,
    failed,
    given,
    pending,
    service,
    signalled,
    stage,
    step,
    undo,
    workflow,
)  # fmt: skip

STEP = workflow(step("a"), service("b", "a"))


def test_a_step_waits_until_its_signal_comes():
    story = given(STEP)

    assert story.when(awaits("a", "paid", memory={"n": 1})) == ["SignalAwaited"]
    assert (story["a"].state, story["a"].signal, story["a"].memory) == ("WAITING", "paid", {"n": 1})
    assert story.when(signalled("shipped")) == ["SignalReceived"]
    assert story.when(signalled("paid", {"sum": 7})) == ["SignalReceived", "StepWoken"]
    assert (story["a"].state, story["a"].inbox, story["a"].memory) == ("SCHEDULED", {"sum": 7}, {"n": 1})
    assert story.when(completed("a")) == ["TaskCompleted", "TaskScheduled"]


def test_a_signal_that_nobody_waits_for_is_kept_for_the_first_step_that_does():
    story = given(STEP, signalled("paid", 1), signalled("paid", 2))

    assert story.when(awaits("a", "paid")) == ["SignalAwaited", "StepWoken"]
    assert story["a"].inbox == 1
    assert story.when(awaits("a", "paid")) == ["SignalAwaited", "StepWoken"]
    assert story["a"].inbox == 2
    assert story.now.signals == ()


def test_a_signal_is_kept_over_stages():
    template = workflow(stage("S", service("x")), stage("T", step("a")))
    story = given(template, signalled("paid"), completed("x"))

    assert story.when(awaits("T/a", "paid")) == ["SignalAwaited", "StepWoken"]


def test_a_signal_wakes_one_step_the_first():
    story = given(workflow(step("a"), step("b")), awaits("b", "paid"), awaits("a", "paid"), signalled("paid"))

    assert story.states == {"a": "SCHEDULED", "b": "WAITING"}


def test_a_result_may_come_while_the_step_waits():
    assert given(STEP, awaits("a", "paid"), completed("a")).states == {"a": "COMPLETED", "b": "SCHEDULED"}
    assert given(STEP, awaits("a", "paid"), failed("a")).state == "FAILED"


def test_a_superseded_attempt_may_not_wait():
    story = given(STEP, pending("a"))
    story.when(awaits("a", "paid", attempt=1))

    assert story.refused == "attempt_closed"


def test_only_a_step_waits():
    story = given(workflow(service("a")))
    story.when(awaits("a", "paid"))

    assert story.refused == "attempt_closed"


@pytest.mark.parametrize("how", [CANCEL, ROLL_BACK])
def test_a_signal_after_the_end_is_refused(how):
    story = given(STEP, how)
    story.when(signalled("paid"))

    assert story.refused == "instance_closed"


def test_a_waiting_step_is_withdrawn_by_a_rollback_and_its_late_end_is_undone():
    template = workflow(service("x", **undo()), step("a", compensate={"step": "steps.back"}))
    story = given(template, completed("x"), awaits("a", "paid"), ROLL_BACK)

    assert story.when(completed("a")) == ["TaskCompleted"]


def test_a_nudge_forgets_what_an_older_attempt_waited_for():
    story = given(STEP, awaits("a", "paid"), pending("a"))

    assert story.when(signalled("paid")) == ["SignalReceived"]
    assert story.now.signals == (("paid", None),)


def test_a_signal_in_a_suspended_instance_is_kept():
    story = given(STEP, awaits("a", "paid"), SUSPEND)

    assert story.when(signalled("paid")) == ["SignalReceived"]
    assert story["a"].state == "WAITING"


TRIP = workflow(step("hotel", compensate={"step": "trips.cancel", "timeout_seconds": 60}), service("z", "hotel"))
UNDOING = (completed("hotel"), ROLL_BACK)


def test_the_undoing_of_a_step_waits_for_its_signal_too():
    story = given(TRIP, *UNDOING)

    assert story.when(awaits("hotel", "cancelled", compensation=True, memory={"n": 1})) == ["SignalAwaited"]
    undoing = story["hotel"].compensation
    assert (story["hotel"].state, undoing.state, undoing.signal) == ("COMPENSATING", "WAITING", "cancelled")
    assert story.when(signalled("other")) == ["SignalReceived"]
    assert story.when(signalled("cancelled", {"fee": 3})) == ["SignalReceived", "StepWoken"]
    undoing = story["hotel"].compensation
    assert (undoing.state, undoing.inbox, undoing.memory) == ("SCHEDULED", {"fee": 3}, {"n": 1})
    assert story.when(completed("hotel", compensation=True)) == ["CompensationCompleted", "RollbackCompleted"]


def test_a_signal_that_comes_before_the_undoing_waits_is_kept():
    story = given(TRIP, *UNDOING, signalled("cancelled", 1))
    assert story.when(awaits("hotel", "cancelled", compensation=True)) == ["SignalAwaited", "StepWoken"]


def test_the_undoing_that_waits_has_its_time():
    story = given(TRIP, *UNDOING, awaits("hotel", "cancelled", compensation=True))
    assert story.later(60)[:2] == ["CompensationFailed", "RollbackFailed"]
    # Whoever comes late finds that nobody waits.
    assert story.when(signalled("cancelled")) == ["SignalReceived"]


def test_only_the_live_undoing_of_a_step_may_wait():
    by_a_service = workflow(step("hotel", **undo()), service("z", "hotel"))
    for story in (given(TRIP, completed("hotel")), given(by_a_service, *UNDOING)):
        assert story.when(awaits("hotel", "x", compensation=True)) == []
        assert story.refused == "attempt_closed"
