"""What people may do: claim, release, reassign, decide, comment; four eyes."""

import pytest

from tests.builders import (
    CANCEL,
    ROLL_BACK,
    claimed,
    commented,
    completed,
    decided,
    failed,
    given,
    human,
    operator_completes,
    operator_skips,
    pending,
    reassigned,
    released,
    replayed,
    retry,
    service,
    started,
    workflow,
)  # fmt: skip

FORM = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
OUTCOMES = [{"name": "approve"}, {"name": "reject", "effect": "fail"}]
ASK = workflow(human("a"), service("b", "a"))


def of(*people, **more):
    return workflow(human("a", **more), service("b", "a"))


# --- claim --------------------------------------------------------------------------------------------------------


def test_a_member_of_the_group_claims_the_task():
    story = given(ASK)

    assert story.when(claimed("a")) == ["TaskClaimed"]
    assert (story["a"].state, story["a"].claimed_by) == ("STARTED", "fred")


def test_once_more_by_the_holder_changes_nothing():
    story = given(ASK, claimed("a"))

    assert story.when(claimed("a")) == []
    assert story.refused is None


def test_a_claim_by_another_is_refused_and_names_the_holder():
    story = given(ASK, claimed("a"))
    story.when(claimed("a", by="fiona"))

    assert story.refused == "already_claimed"
    assert "fred" in story.answer.reason


@pytest.mark.parametrize("command", [claimed, decided, commented, released])
def test_whose_task_it_is_not_may_do_nothing(command):
    story = given(ASK)
    story.when(command("a", by="mona"))

    assert story.refused == "permission_denied"


@pytest.mark.parametrize("command", [claimed, decided])
def test_operators_may_not_claim_or_decide_what_is_not_assigned_to_them(command):
    story = given(ASK)
    story.when(command("a", by="olivia", operator=True))

    assert story.refused == "permission_denied"


def test_a_user_goes_before_a_group():
    story = given(of(to="fred"), claimed("a"))

    assert story["a"].assigned_kind == "user"
    story.when(claimed("a", by="fiona"))
    assert story.refused == "permission_denied"


@pytest.mark.parametrize(
    "how", [decided("a"), operator_skips("a"), operator_completes("a"), completed("a"), failed("a")]
)
def test_what_is_decided_or_withdrawn_is_closed(how):
    story = given(ASK, how)
    for command in (claimed("a"), decided("a"), reassigned("a", "mona")):
        story.when(command)
        assert story.refused == "attempt_closed"


@pytest.mark.parametrize("how", [CANCEL, ROLL_BACK])
def test_in_an_ended_instance_everything_is_closed(how):
    story = given(ASK, claimed("a"), how)
    for command in (claimed("a"), decided("a"), released("a"), reassigned("a", "mona")):
        story.when(command)
        assert story.refused == "instance_closed"


def test_a_person_who_saw_an_older_attempt_finds_it_closed():
    story = given(ASK, pending("a"))
    for command in (claimed, decided, released):
        story.when(command("a", attempt=1))
        assert story.refused == "attempt_closed"


def test_a_person_may_take_what_a_program_has_in_hand():
    story = given(ASK, started("a"))

    assert story.when(claimed("a")) == ["TaskClaimed"]


@pytest.mark.parametrize("command", [claimed, decided, commented, released])
def test_the_task_of_a_service_is_no_task_of_people(command):
    story = given(workflow(human("h"), service("a")))
    for command_ in (command("a"), command("a", by="olivia", operator=True), reassigned("a", "fred")):
        story.when(command_)
        assert story.refused == "unknown_task"
    story.when(command("h", compensation=True, by="olivia", operator=True))
    assert story.refused == "unknown_task"


# --- release, reassign --------------------------------------------------------------------------------------------


def test_the_holder_releases_the_task():
    story = given(ASK, claimed("a"))

    assert story.when(released("a")) == ["TaskReleased"]
    assert (story["a"].state, story["a"].claimed_by) == ("SCHEDULED", None)
    assert story.when(claimed("a", by="fiona")) == ["TaskClaimed"]


def test_an_operator_releases_it_too_but_no_other_member():
    story = given(ASK, claimed("a"))
    story.when(released("a", by="fiona"))
    assert story.refused == "permission_denied"
    story.when(released("a", by="olivia", operator=True))
    assert story.refused is None


@pytest.mark.parametrize("more", [{}, {"by": "olivia", "operator": True}])
def test_what_nobody_holds_is_not_released(more):
    story = given(ASK)
    story.when(released("a", **more))

    assert story.refused == "not_claimed"


def test_a_reassignment_ends_a_claim_and_the_old_holder_has_no_say():
    story = given(ASK, claimed("a"))

    assert story.when(reassigned("a", "mona")) == ["TaskReassigned"]
    assert (story["a"].assigned_to, story["a"].assigned_kind, story["a"].claimed_by) == ("mona", "user", None)
    assert story["a"].state == "SCHEDULED"
    story.when(decided("a"))
    assert story.refused == "permission_denied"
    story.when(decided("a", by="mona"))
    assert story.refused is None


def test_only_operators_reassign():
    story = given(ASK, claimed("a"))
    story.when(reassigned("a", "mona", by="fred", operator=False))

    assert story.refused == "permission_denied"


def test_an_unknown_name_is_no_assignee():
    story = given(ASK)
    story.when(reassigned("a", "nobody"))

    assert story.refused == "invalid_body"
    assert story.answer.errors[0]["pointer"] == "/assigned_to"


def test_an_unassigned_task_is_given_to_somebody():
    story = given(of(to="unknown"), reassigned("a", "managers"))

    assert (story["a"].assigned_to, story["a"].assigned_kind) == ("managers", "group")


def test_a_new_attempt_is_assigned_as_the_template_says():
    story = given(ASK, reassigned("a", "mona"), pending("a"))

    assert story["a"].assigned_to == "finance"


# --- decide -------------------------------------------------------------------------------------------------------


def test_a_decision_claims_in_passing():
    story = given(ASK)

    assert story.when(decided("a")) == ["TaskClaimed", "TaskCompleted", "TaskScheduled"]
    assert story["a"].claimed_by == "fred"


def test_a_decision_on_what_another_holds_is_refused():
    story = given(ASK, claimed("a"))
    story.when(decided("a", by="fiona"))

    assert story.refused == "already_claimed"


def test_with_the_effect_complete_the_data_is_the_output_of_the_task():
    story = given(of(form=FORM), decided("a", data={"n": 3}, comment="fine"))

    assert story["a"].output == {"n": 3}
    assert story.now.context == {"n": 3}
    assert story.last("TaskCompleted").data == {
        "output": {"n": 3},
        "outcome": "complete",
        "by": "fred",
        "comment": "fine",
    }


def test_the_outcome_may_be_left_out_when_none_are_declared_only():
    story = given(of(outcomes=OUTCOMES))
    story.when(decided("a"))
    assert (story.refused, story.answer.errors[0]["pointer"]) == ("invalid_body", "/outcome")
    assert story.answer.errors[0]["code"] == "required"
    assert story.when(decided("a", "approve"))[-1] == "TaskScheduled"
    assert story["a"].outcome == "approve"


def test_an_unknown_outcome_is_told():
    story = given(of(outcomes=OUTCOMES))
    story.when(decided("a", "maybe"))

    assert (story.answer.errors[0]["pointer"], story.answer.errors[0]["code"]) == ("/outcome", "bad_value")


def test_the_form_is_checked_with_pointers_and_refused_input_changes_nothing():
    story = given(of(form=FORM))
    assert story.when(decided("a", data={"n": "three"})) == []
    assert [error["pointer"] for error in story.answer.errors] == ["/data/n"]
    story.when(decided("a"))
    assert story.answer.errors[0]["pointer"] == "/data/n"
    assert story.answer.errors[0]["code"] == "required"
    assert story["a"].claimed_by is None


def test_the_form_binds_people_not_messages():
    story = given(of(form=FORM), completed("a", output={"anything": 1}))

    assert story["a"].state == "COMPLETED"


def test_with_the_effect_fail_a_comment_is_required_and_becomes_the_error():
    story = given(of(outcomes=OUTCOMES, form=FORM, **retry(5)))
    story.when(decided("a", "reject", comment="  "))
    assert story.answer.errors[0]["pointer"] == "/comment"

    assert story.when(decided("a", "reject", comment="no way", data={"n": "x"})) == [
        "TaskClaimed", "TaskFailed", "WorkflowFailed",
    ]  # fmt: skip
    assert story["a"].error == {"code": "reject", "message": "no way", "details": None}
    assert story["a"].outcome == "reject"
    assert story.last("TaskFailed").data["data"] == {"n": "x"}
    assert story.now.context == {}


def test_a_rejected_task_follows_its_failure_policy():
    story = given(of(outcomes=OUTCOMES, on_failure="continue"), decided("a", "reject", comment="no"))

    assert story["b"].state == "SCHEDULED"


def test_a_second_decision_finds_the_attempt_closed():
    story = given(ASK, decided("a"))
    for by in ("fred", "fiona"):
        story.when(decided("a", by=by))
        assert story.refused == "attempt_closed"


def test_a_quorum_changes_nothing_yet():
    story = given(of(quorum=2), decided("a"))

    assert story["a"].state == "COMPLETED"


def test_a_message_of_a_service_completes_a_human_task_and_a_claim_stays_shown():
    story = given(ASK, claimed("a"), completed("a"))

    assert (story["a"].state, story["a"].claimed_by) == ("COMPLETED", "fred")


def test_a_person_who_takes_too_long_fails_the_task():
    story = given(of(timeout_seconds=60), claimed("a"))

    assert story.later(60) == ["TaskFailed", "WorkflowFailed"]
    story.when(decided("a"))
    assert story.refused == "attempt_closed"


def test_due_in_seconds_sets_the_due_moment_and_fails_nothing():
    story = given(of(due_in_seconds=60))

    assert (story["a"].due_at - story.at).total_seconds() == 60
    assert story.later(100) == []


# --- comment ------------------------------------------------------------------------------------------------------


def test_a_comment_is_kept_and_moves_nothing():
    story = given(ASK)

    assert story.when(commented("a", "call them")) == ["TaskCommented"]
    assert story.last("TaskCommented").data == {"by": "fred", "comment": "call them"}
    assert story["a"].state == "SCHEDULED"


def test_an_operator_and_those_who_took_part_may_comment_also_after_the_end():
    story = given(workflow(human("a", to="fred"), human("b", "a")), decided("a"), CANCEL)

    assert story.when(commented("b", by="olivia", operator=True)) == ["TaskCommented"]
    assert story.when(commented("a")) == ["TaskCommented"]


# --- four eyes ----------------------------------------------------------------------------------------------------

EYES = workflow(human("a"), human("b", "a", four_eyes=True), human("c", "b"))


@pytest.mark.parametrize("command", [claimed, decided])
def test_four_eyes_keep_out_who_decided_an_earlier_human_task(command):
    story = given(EYES, decided("a"))
    story.when(command("b"))
    assert story.refused == "four_eyes"
    story.when(command("b", by="fiona"))
    assert story.refused is None


@pytest.mark.parametrize("command", [claimed, decided])
def test_four_eyes_keep_out_who_started_the_instance(command):
    story = given(EYES, decided("a", by="fiona"), by="fred")
    story.when(command("b"))

    assert story.refused == "four_eyes"


def test_without_four_eyes_the_same_person_may_decide_everything():
    story = given(EYES, decided("a"), decided("b", by="fiona"), decided("c"))

    assert story.state == "COMPLETED"


def test_who_decided_the_same_task_before_a_replay_may_decide_it_again():
    story = given(EYES, decided("a", by="fiona"), decided("b"), replayed("b"))

    assert story.when(decided("b"))[:2] == ["TaskClaimed", "TaskCompleted"]


def test_a_claim_alone_is_no_decision():
    story = given(EYES, claimed("a"), released("a"), decided("a", by="fiona"))

    assert story.when(claimed("b")) == ["TaskClaimed"]


def test_who_rejected_or_sent_back_an_earlier_task_has_decided_it():
    outcomes = [*OUTCOMES, {"name": "back", "effect": "return", "return_to": "z"}]
    template = workflow(
        human("z"), human("a", "z", outcomes=outcomes, on_failure="continue"), human("b", "a", four_eyes=True)
    )
    story = given(template, decided("z", by="fiona"), decided("a", "back"), decided("z", by="fiona"))
    story.when(operator_completes("a"))
    story.when(decided("b"))
    assert story.refused == "four_eyes"
