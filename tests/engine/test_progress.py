"""What becomes ready when something is done: joins, conditions, stages, the end."""

import pytest

from tests.builders import (
    SUSPEND,
    completed,
    decided,
    failed,
    given,
    human,
    operator_skips,
    replayed,
    service,
    stage,
    step,
    workflow,
)  # fmt: skip

JOIN = workflow(service("c", "a", "b"), service("a"), service("b"))
LINE = workflow(stage("ONE", service("a")), stage("TWO", service("b")))
FALSE = {"==": [1, 2]}
NEVER = {"when": FALSE}


def test_a_start_writes_that_it_started_then_its_stage_then_its_tasks():
    story = given(LINE)

    assert story.history == ["WorkflowStarted", "StageActivated", "TaskScheduled"]
    assert story.messages() == ["StartTask a#1"]


def test_a_task_waits_for_all_of_its_parents():
    story = given(JOIN, completed("a"))

    assert story.states == {"a": "COMPLETED", "b": "SCHEDULED", "c": "PENDING"}
    assert story.when(completed("b")) == ["TaskCompleted", "TaskScheduled"]
    assert story.messages() == ["StartTask a#1", "StartTask b#1", "StartTask c#1"]


def test_tasks_that_become_ready_together_are_scheduled_in_template_order():
    story = given(workflow(service("z", "a"), service("a"), service("m", "a"), service("b", "a")), completed("a"))

    assert story.messages()[1:] == ["StartTask z#1", "StartTask m#1", "StartTask b#1"]


def test_what_is_ready_is_scheduled_after_everything_else_that_the_event_caused():
    story = given(
        workflow(
            stage("ONE", service("a")),
            stage("EMPTY"),
            stage("NONE", service("never", **NEVER)),
            stage("TWO", service("b")),
        )
    )

    assert story.when(completed("ONE/a")) == [
        "TaskCompleted", "StageCompleted",
        "StageActivated", "StageCompleted",
        "StageActivated", "TaskSkipped", "StageSkipped",
        "StageActivated", "TaskScheduled",
    ]  # fmt: skip


def test_stages_run_one_after_the_other_and_the_last_one_completes_the_instance():
    story = given(LINE)

    assert story.when(completed("ONE/a")) == ["TaskCompleted", "StageCompleted", "StageActivated", "TaskScheduled"]
    assert story.when(completed("TWO/b")) == ["TaskCompleted", "StageCompleted", "WorkflowCompleted"]
    assert story.state == "COMPLETED"


def test_stages_run_by_stage_order_whatever_their_place():
    story = given(workflow(stage("LAST", service("z"), stage_order=9.5), stage("FIRST", service("a"), stage_order=-1)))

    assert story.states == {"a": "SCHEDULED", "z": "PENDING"}


def test_a_workflow_of_empty_stages_is_completed_by_its_start():
    story = given(workflow(stage("ONE"), stage("TWO", tasks=[])))

    assert story.history == [
        "WorkflowStarted", "StageActivated", "StageCompleted", "StageActivated", "StageCompleted", "WorkflowCompleted",
    ]  # fmt: skip


def test_a_stage_whose_tasks_were_all_skipped_ends_skipped():
    story = given(workflow(stage("ONE", service("a", **NEVER), service("b")), stage("TWO", service("c"))))

    story.when(operator_skips("ONE/b"))

    assert story.stages["ONE"] == "SKIPPED"


def test_a_stage_with_one_task_completed_ends_completed():
    story = given(workflow(stage("ONE", service("a", **NEVER), service("b")), stage("TWO", service("c"))))

    story.when(completed("ONE/b"))

    assert story.stages["ONE"] == "COMPLETED"


def test_a_workflow_whose_tasks_are_all_skipped_is_completed_by_its_start():
    story = given(workflow(stage("ONE", service("a", **NEVER), service("b", "a", **NEVER)), stage("TWO")))

    assert story.state == "COMPLETED"
    assert story.stages == {"ONE": "SKIPPED", "TWO": "COMPLETED"}


def test_a_skipped_task_counts_as_done_for_its_children():
    story = given(workflow(service("a", **NEVER), service("b", "a"), service("c", "b", **NEVER)))

    assert story.states == {"a": "SKIPPED", "b": "SCHEDULED", "c": "PENDING"}


def test_a_task_failed_under_continue_counts_as_done():
    story = given(workflow(service("a", on_failure="continue"), service("b", "a")))

    assert story.when(failed("a")) == ["TaskFailed", "TaskScheduled"]
    assert story.state == "RUNNING"
    assert story.when(completed("b")) == ["TaskCompleted", "StageCompleted", "WorkflowCompleted"]


def test_a_stage_of_a_task_failed_under_continue_ends_completed():
    story = given(workflow(service("a", on_failure="continue"), service("b", **NEVER)), failed("a"))

    assert story.stages == {"S": "COMPLETED"}
    assert story.state == "COMPLETED"


def test_a_condition_is_judged_when_the_turn_has_come_with_that_moments_output():
    when = {"when": {">": [{"var": "amount"}, 10]}}
    story = given(workflow(service("a"), service("big", "a", **when)), context={"amount": 5})

    story.when(completed("a", output={"amount": 50}))

    assert story["big"].state == "SCHEDULED"


def test_a_condition_is_judged_once():
    when = {"when": {"missing": ["late"]}}
    story = given(workflow(service("a"), service("b", **when), service("c", "b")))

    story.when(completed("a", output={"late": 1}))

    assert story["b"].state == "SCHEDULED"


def test_a_condition_is_judged_again_after_a_replay():
    when = {"when": {"missing": ["amount"]}}
    story = given(workflow(service("a"), service("b", "a", **when), service("c", "b")), completed("a"), completed("b"))
    story.when(completed("c", output={"amount": 1}))
    assert story.state == "COMPLETED"

    story.when(replayed("b"))

    assert story["b"].state == "SKIPPED"
    assert story["c"].state == "SCHEDULED"


def test_a_task_without_when_is_not_asked():
    story = given(workflow(service("a", when=True), service("b", when=False)))

    assert story.states == {"a": "SCHEDULED", "b": "SKIPPED"}


def test_outputs_are_merged_by_top_level_keys_and_the_last_writer_wins():
    story = given(workflow(service("a"), service("b"), service("c")), context={"kept": 1, "deep": {"x": 1}})

    story.when(completed("b", output={"deep": {"y": 2}, "n": 1}))
    story.when(completed("a", output={"n": None}))

    assert story.now.context == {"kept": 1, "deep": {"y": 2}, "n": None}


def test_a_message_carries_the_context_of_the_moment_it_is_made():
    story = given(workflow(service("a"), service("b"), service("c", "a")), context={"n": 1})
    story.when(completed("a", output={"n": 2}))
    story.when(completed("b", output={"n": 3}))

    assert [message.body["context"] for message in story.sent] == [{"n": 1}, {"n": 1}, {"n": 2}]


def test_the_business_status_is_null_until_a_task_sets_it_and_stays_through_a_skip():
    story = given(workflow(service("a"), service("b", business_status="B"), service("c", business_status="C")))
    assert story.now.business_status is None

    story.when(completed("a"))
    story.when(completed("b"))
    story.when(operator_skips("c"))

    assert story.now.business_status == "B"


def test_the_business_status_stays_through_a_replay():
    story = given(workflow(service("a", business_status="A"), service("b", "a", business_status="B")))
    story.when(completed("a"))
    story.when(completed("b"))

    story.when(replayed("a"))

    assert story.now.business_status == "B"


def test_a_human_task_with_a_queue_sends_its_message_and_one_without_sends_none():
    story = given(workflow(human("a", task_queue="bell"), human("b"), step("c")))

    assert story.messages() == ["StartTask a#1"]
    assert story.sent[0].body["assigned_to"] == "finance"


@pytest.mark.parametrize("count", [1, 2, 7])
def test_everything_that_is_ready_is_scheduled_at_once(count):
    story = given(
        workflow(*(service(f"t{n}") for n in range(count)), service("last", *(f"t{n}" for n in range(count))))
    )

    for n in reversed(range(count)):
        assert story["last"].state == "PENDING"
        story.when(completed(f"t{n}"))

    assert story["last"].state == "SCHEDULED"


def test_a_diamond_is_joined_once():
    story = given(workflow(service("a"), service("l", "a"), service("r", "a"), service("j", "l", "r")), completed("a"))

    story.when(completed("l"))
    story.when(completed("r"))
    story.when(completed("l"))

    assert story.refused == "duplicate"
    assert story.messages().count("StartTask j#1") == 1


def test_nothing_follows_while_suspended():
    story = given(LINE, SUSPEND)

    assert story.when(completed("ONE/a")) == ["TaskCompleted"]
    assert story.stages == {"ONE": "ACTIVE", "TWO": "PENDING"}


def test_a_person_nobody_knows_leaves_the_task_unassigned():
    story = given(workflow(human("a", to="nobody-at-all"), human("b", to=None)))

    assert (story["a"].state, story["a"].assigned_to) == ("SCHEDULED", None)
    assert story["b"].assigned_to is None
    story.when(decided("a"))
    assert story.refused == "permission_denied"
