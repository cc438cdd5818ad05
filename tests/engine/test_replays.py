"""Replay and return: what is reset, what keeps its state, what runs again."""

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
    operator_skips,
    pending,
    replayed,
    retry,
    service,
    stage,
    stage_replayed,
    started,
    step,
    undo,
    workflow,
)  # fmt: skip

WIDE = workflow(
    stage("S", service("a"), service("b", "a"), service("c", "b"), service("x"), service("y", "x")),
    stage("T", service("d"), service("e", "d")),
    stage("U", service("f")),
)
TO_T = (completed("a"), completed("b"), completed("c"), completed("x"), completed("y"))


def test_a_replay_resets_the_task_its_descendants_and_the_later_stages_then_runs_it():
    story = given(WIDE, *TO_T, completed("T/d"))

    assert story.when(replayed("b")) == [
        "ReplayRequested",
        "TaskReset", "TaskReset", "TaskReset", "TaskReset",
        "StageReset", "StageReset", "StageActivated", "TaskScheduled",
    ]  # fmt: skip
    assert story.states == {
        "a": "COMPLETED", "b": "SCHEDULED", "c": "PENDING", "x": "COMPLETED", "y": "COMPLETED",
        "d": "PENDING", "e": "PENDING", "f": "PENDING",
    }  # fmt: skip
    assert story.stages == {"S": "ACTIVE", "T": "PENDING", "U": "PENDING"}


def test_live_attempts_are_withdrawn_by_a_replay():
    story = given(WIDE, *TO_T)

    story.when(replayed("c"))

    assert story.messages(since=6) == ["CancelTask d#1", "StartTask c#2"]


def test_other_tasks_of_the_stage_keep_their_state_and_their_attempt():
    story = given(WIDE, completed("a"), started("x"))

    story.when(replayed("a"))

    assert (story["x"].state, story["x"].attempt) == ("STARTED", 1)
    assert story["b"].state == "PENDING"
    assert story.messages(since=3) == ["CancelTask b#1", "StartTask a#2"]


def test_what_depends_on_it_runs_again_after_it():
    story = given(WIDE, *TO_T, replayed("b"))

    assert story.when(completed("b")) == ["TaskCompleted", "TaskScheduled"]
    assert story.when(completed("c")) == ["TaskCompleted", "StageCompleted", "StageActivated", "TaskScheduled"]
    assert story["T/d"].attempt == 2


def test_a_replay_reopens_a_completed_instance():
    story = given(workflow(service("a"), service("b")), completed("a"), completed("b"))
    assert story.state == "COMPLETED"

    happened = story.when(replayed("a"))

    assert happened == ["ReplayRequested", "TaskReset", "StageReset", "StageActivated", "TaskScheduled"]
    assert (story.state, story.now.finished_at) == ("RUNNING", None)
    assert story.when(completed("a")) == ["TaskCompleted", "StageCompleted", "WorkflowCompleted"]


def test_a_replay_of_a_failed_instance_makes_it_run_when_the_failed_task_was_reset():
    story = given(workflow(service("a"), service("b", "a")), completed("a"), failed("b"))

    assert story.when(replayed("a")) == [
        "ReplayRequested", "TaskReset", "TaskReset", "WorkflowRecovered", "TaskScheduled",
    ]  # fmt: skip


def test_a_replay_beside_a_failed_task_leaves_the_instance_failed():
    story = given(workflow(service("a"), service("b")), completed("a"), failed("b"), replayed("a"))

    assert story.state == "FAILED"


@pytest.mark.parametrize("how", [SUSPEND, CANCEL, ROLL_BACK])
def test_a_replay_is_refused_in_every_other_state(how):
    story = given(workflow(service("a", **undo()), service("b")), completed("a"), how)
    code = {SUSPEND: "instance_suspended", CANCEL: "instance_closed", ROLL_BACK: "wrong_state"}[how]
    for command in (replayed("a"), stage_replayed("S")):
        story.when(command)
        assert story.refused == code


def test_only_what_is_done_is_replayed():
    story = given(
        workflow(
            service("a"),
            service("b", "a"),
            service("f"),
            service("w", **retry(2, 60)),
            service("g", on_failure="continue"),
        )
    )
    story.when(failed("f"))
    story.when(failed("w"))
    for task, code in (("a", "wrong_state"), ("b", "not_its_turn"), ("f", "wrong_state"), ("w", "wrong_state")):
        story.when(replayed(task))
        assert story.refused == code, task
    story.when(failed("g"))
    assert story.when(replayed("g"))[-1] == "TaskScheduled"


def test_a_skipped_task_may_be_replayed():
    story = given(workflow(service("a"), service("b")), operator_skips("a"))

    assert story.when(replayed("a")) == ["ReplayRequested", "TaskReset", "TaskScheduled"]


def test_a_stage_must_have_been_reached():
    story = given(WIDE)
    story.when(stage_replayed("T"))
    assert story.refused == "not_its_turn"
    story.when(stage_replayed("NOWHERE"))
    assert story.refused == "unknown_task"


def test_a_stage_replay_resets_all_its_tasks_and_all_later_stages():
    story = given(WIDE, *TO_T, completed("T/d"), stage_replayed("S"))

    assert story.states == dict.fromkeys("abcxydef", "PENDING") | {"a": "SCHEDULED", "x": "SCHEDULED"}
    assert story.stages == {"S": "ACTIVE", "T": "PENDING", "U": "PENDING"}


def test_the_active_stage_may_be_replayed():
    story = given(WIDE, completed("a"), started("x"))

    story.when(stage_replayed("S"))

    assert story.messages(since=3) == ["CancelTask b#1", "CancelTask x#1", "StartTask a#2", "StartTask x#2"]


def test_an_empty_stage_may_be_replayed():
    story = given(workflow(stage("EMPTY"), stage("T", service("a"))), completed("T/a"))

    story.when(stage_replayed("EMPTY"))

    assert story.stages == {"EMPTY": "COMPLETED", "T": "ACTIVE"}
    assert story["T/a"].attempt == 2


def test_a_replay_asks_the_condition_again_and_may_skip_the_rest():
    template = workflow(stage("S", service("a", when={"missing": ["stop"]})), stage("T", service("b")))
    story = given(template, completed("a"), completed("T/b", output={"stop": True}))

    assert story.when(stage_replayed("S"))[-4:] == ["TaskSkipped", "StageSkipped", "StageActivated", "TaskScheduled"]


def test_a_replay_clears_clocks_claims_and_signals():
    template = workflow(
        service("a"), human("h", "a", timeout_seconds=10), service("w", "a", **retry(2, 60)), step("s", "a"),
    )  # fmt: skip
    story = given(template, completed("a"), claimed("h"), failed("w"), awaits("s", "paid"))

    story.when(replayed("a"))

    assert story["h"].claimed_by is None
    assert story.clocks() == []
    assert story.later(100) == []


def test_nothing_is_compensated_by_a_replay_and_later_each_task_is_undone_once():
    template = workflow(service("a", **undo()), service("b", "a", **undo()), service("z", "b"))
    story = given(template, completed("a"), completed("b"), replayed("a"), completed("a"))

    story.when(ROLL_BACK)

    assert story["a"].state == "COMPENSATING"  # it completed after b did
    assert [m for m in story.messages() if m.startswith("Comp")] == ["CompensateTask a#1"]
    assert story["a"].compensation.undoes_attempt == 2


# --- return -------------------------------------------------------------------------------------------------------

OUTCOMES = [{"name": "ok"}, {"name": "back", "effect": "return", "return_to": "ask"}]
ASKED = workflow(
    stage("S", human("ask"), service("note", "ask"), human("check", "ask", outcomes=OUTCOMES, task_queue="bell")),
    stage("T", human("sign", outcomes=OUTCOMES, task_queue="bell")),
)


def test_a_decision_that_returns_replays_the_earlier_task():
    story = given(ASKED, decided("ask"), completed("note"))

    assert story.when(decided("check", "back", by="fiona", data={"why": 1}, comment="unclear")) == [
        "TaskClaimed", "TaskReturned", "TaskReset", "TaskReset", "TaskReset", "TaskScheduled",
    ]  # fmt: skip
    assert story.states == {"ask": "SCHEDULED", "note": "PENDING", "check": "PENDING", "sign": "PENDING"}
    told = story.last("TaskReturned").data
    assert (told["outcome"], told["data"], told["comment"]) == ("back", {"why": 1}, "unclear")
    assert story.now.context == {}


def test_the_answered_attempt_itself_is_not_cancelled_but_other_live_ones_are():
    story = given(ASKED, decided("ask"))
    sent = len(story.sent)

    story.when(decided("check", "back"))

    assert story.messages(since=sent) == ["CancelTask note#1"]


def test_a_return_to_an_earlier_stage_opens_it_again():
    story = given(ASKED, decided("ask"), completed("note"), decided("check", "ok"))

    story.when(decided("T/sign", "back"))

    assert story.stages == {"S": "ACTIVE", "T": "PENDING"}
    assert story.states == {"ask": "SCHEDULED", "note": "PENDING", "check": "PENDING", "sign": "PENDING"}
    assert story["T/sign"].outcome == "back"


def test_a_returned_task_comes_back_as_the_next_attempt():
    story = given(ASKED, decided("ask"), decided("check", "back"), decided("ask"))

    assert (story["check"].state, story["check"].attempt, story["check"].outcome) == ("SCHEDULED", 2, None)


def test_a_return_begins_a_new_round():
    template = workflow(human("ask"), service("f", "ask", **retry(2)), human("check", "ask", outcomes=OUTCOMES))
    story = given(template, decided("ask"), failed("f"), decided("check", "back"), decided("ask"))

    assert story.when(failed("f")) == ["TaskFailed", "TaskScheduled"]


def test_a_return_from_a_failed_instance_recovers_it():
    story = given(ASKED, decided("ask"), failed("note"))
    assert story.state == "FAILED"

    story.when(decided("check", "back"))

    assert story.state == "RUNNING"


def test_attempts_never_repeat_through_nudges_replays_and_returns():
    story = given(ASKED, pending("ask"), decided("ask"), decided("check", "back"), decided("ask"), replayed("ask"))

    assert story["ask"].attempt == 4
