"""The door: batches, duplicates, poison, If-Match, ambiguity, versions, and what a refusal leaves behind."""

import logging
import uuid

import psycopg
import pytest
from django.db import OperationalError

from tests.builders import (
    CANCEL,
    ROLL_BACK,
    claimed,
    completed,
    decided,
    failed,
    human,
    operator_retries,
    operator_skips,
    pending,
    retry,
    service,
    stage,
    started,
    undo,
    undone,
    workflow,
)  # fmt: skip
from tests.runtime.door import everything
from workflows.engine import commands as c
from workflows.models import HandledMessage, LoggedEvent, OutboxMessage, WorkflowInstance
from workflows.runtime import handling
from workflows.runtime.asking import Outcome

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

TWO = workflow(service("a"), service("b", "a"))


def unchanged(ask):
    """Ask; nothing at all may be stored differently afterwards."""
    before = everything()
    answer = ask()
    assert everything() == before
    return answer


def refused(door, ask, code):
    """Ask; exactly one refusal is recorded and nothing else changes."""
    before = everything()
    answer = ask()
    after = everything()
    assert (answer.outcome, answer.code) == (Outcome.REFUSED, code)
    assert answer.reason
    new = after["LoggedEvent"][len(before["LoggedEvent"]) :]
    assert [event["event"] for event in new] == ["InputRefused"]
    assert new[0]["data"]["code"] == code
    assert new[0]["data"]["reason"] == answer.reason
    for name in ("StageInstance", "TaskInstance", "HumanTask", "OutboxMessage", "Deadline", "HandledMessage"):
        assert after[name] == before[name], name
    for was, now in zip(before["WorkflowInstance"], after["WorkflowInstance"], strict=True):
        assert {k for k in was if was[k] != now[k]} <= {"last_sequence", "updated_at"}
    assert answer.instance.last_sequence == new[0]["sequence"]
    return answer


# --- starts -------------------------------------------------------------------------------------------------------


def test_a_start_makes_one_instance_with_all_its_rows(door):
    site = door(workflow(stage("S", service("a"), service("b", "a")), stage("T", human("h"))))

    answer = site.start(context={"n": 1})

    assert (answer.outcome, answer.created) == (Outcome.APPLIED, True)
    assert answer.events == ("WorkflowStarted", "StageActivated", "TaskScheduled")
    assert site.states() == {"a": "SCHEDULED", "b": "PENDING", "h": "PENDING"}
    assert site.messages() == ["StartTask a#1"]
    assert answer.instance.last_sequence == 3


def test_the_same_start_again_is_a_duplicate_and_leaves_no_trace(door):
    site = door(TWO)
    first = site.start()

    again = unchanged(lambda: site.start(context={"other": 1}, version=77, event_id="new"))

    assert (again.outcome, again.instance.id, again.created) == (Outcome.DUPLICATE, first.instance.id, False)


@pytest.mark.parametrize("how", [CANCEL, ROLL_BACK])
def test_a_start_after_the_end_is_a_duplicate_too(door, how):
    site = door(TWO)
    site.start()
    site.ask(how)

    assert unchanged(site.start).outcome is Outcome.DUPLICATE


def test_another_reference_or_component_is_another_instance(door):
    one, two = door(TWO), door(TWO, component="OTHER")

    assert [site.start(ref).created for site in (one, two) for ref in ("1", "2")] == [True] * 4


def test_a_component_with_several_workflows_needs_a_name(door):
    site = door(TWO)
    site.start()
    site.publish({**TWO, "workflow_name": "Second"})

    assert unchanged(lambda: site.start("2")).code == "ambiguous_workflow"
    assert unchanged(site.start).code == "ambiguous_workflow"
    assert site.start("2", workflow="Second").created
    assert site.start("2", workflow="Workflow").created
    assert unchanged(lambda: site.start("3", workflow="Third")).code == "unknown_template"
    assert unchanged(lambda: site.ask(completed("a"), ref="2")).code == "ambiguous_workflow"
    assert site.ask(completed("a"), ref="2", workflow="Second").applied
    assert site.ask(completed("a")).applied  # REF is under one of them only


def test_a_start_takes_the_newest_version_or_the_one_it_names(door):
    site = door(TWO)
    site.publish(workflow(service("other")))

    assert site.start("new").created
    assert site.states("new") == {"other": "SCHEDULED"}
    site.start("old", version=1)
    assert site.states("old") == {"a": "SCHEDULED", "b": "PENDING"}
    assert unchanged(lambda: site.start("none", version=3)).code == "unknown_template"


def test_running_instances_keep_their_version(door):
    site = door(TWO)
    site.start()
    site.publish(workflow(service("other")))
    site.ask(completed("a"))

    assert site.states() == {"a": "COMPLETED", "b": "SCHEDULED"}


def test_the_context_is_checked_by_the_schema_of_a_new_instance(door):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    site = door({**TWO, "context_schema": schema})

    answer = unchanged(lambda: site.start(context={"n": "x"}))
    assert answer.code == "invalid_body"
    assert answer.errors[0]["pointer"] == "/context/n"
    assert site.start(context={"n": 1}).created
    assert unchanged(lambda: site.start(context={})).outcome is Outcome.DUPLICATE


def test_nobody_is_known_nobody_is_changed(door):
    site = door(TWO)

    assert unchanged(lambda: site.ask(completed("a"))).code == "unknown_instance"
    assert unchanged(lambda: door(component="NONE").ask(completed("a"))).code == "unknown_template"
    assert unchanged(lambda: door(component="NONE").start()).code == "unknown_template"
    assert unchanged(lambda: site.ask(completed("a"), ref=uuid.uuid4())).code == "unknown_instance"


# --- messages that come again -------------------------------------------------------------------------------------


def test_a_message_id_counts_once(door):
    site = door(TWO)
    site.start()
    assert site.ask(completed("a"), event_id="1").applied

    assert unchanged(lambda: site.ask(completed("a"), event_id="1")).outcome is Outcome.DUPLICATE
    assert unchanged(lambda: site.ask(completed("a"), event_id="2")).outcome is Outcome.DUPLICATE
    assert HandledMessage.objects.count() == 1


def test_a_message_id_with_other_content_is_refused(door):
    site = door(TWO)
    site.start()
    site.ask(completed("a"), event_id="1")

    refused(site, lambda: site.ask(completed("b"), event_id="1"), "event_id_reused")


def test_reuse_goes_before_everything_else(door):
    site = door(TWO)
    site.start()
    site.ask(pending("a"), event_id="1")
    site.ask(CANCEL)

    refused(site, lambda: site.ask(completed("a", attempt=1), event_id="1"), "event_id_reused")


def test_a_refused_message_does_not_use_its_id_up(door):
    site = door(TWO)
    site.start()
    refused(site, lambda: site.ask(completed("b"), event_id="1"), "not_its_turn")

    assert site.ask(completed("a"), event_id="1").applied


def test_a_duplicate_by_state_does_not_use_its_id_up(door):
    site = door(workflow(service("a"), service("b")))
    site.start()
    site.ask(completed("a"))
    assert site.ask(completed("a"), event_id="1").outcome is Outcome.DUPLICATE

    assert site.ask(completed("b"), event_id="1").outcome is Outcome.APPLIED


def test_a_message_id_belongs_to_one_instance(door):
    site = door(TWO)
    site.start("1")
    site.start("2")

    assert [site.ask(completed("a"), ref=ref, event_id="x").outcome for ref in ("1", "2")] == [Outcome.APPLIED] * 2


def test_a_repeated_heartbeat_leaves_no_event_but_uses_its_id(door):
    site = door(TWO)
    site.start()
    site.ask(started("a"), event_id="1")
    assert unchanged(lambda: site.ask(started("a"))).outcome is Outcome.APPLIED

    assert site.ask(started("a"), event_id="2").outcome is Outcome.APPLIED
    assert unchanged(lambda: site.ask(started("a"), event_id="2")).outcome is Outcome.DUPLICATE


def test_content_is_compared_whatever_the_order_of_its_keys(door):
    site = door(TWO)
    site.start()
    message = {"event_name": "TaskCompleted", "stage_name": "S", "task_name": "a", "event_id": "1"}
    assert site.say({**message, "output": {"x": {"p": 1, "q": 2}}}).outcome is Outcome.APPLIED

    assert site.say({"output": {"x": {"q": 2, "p": 1.0}}, **message}).outcome is Outcome.DUPLICATE
    assert site.say({"output": {"x": {"q": 2, "p": 3}}, **message}).code == "event_id_reused"


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("commands", "command", "code"),
    [
        ([pending("a")], completed("a", attempt=1), "stale_attempt"),
        ([], completed("a", attempt=2), "unknown_attempt"),
        ([], completed("b"), "not_its_turn"),
        ([failed("a")], completed("a"), "attempt_closed"),
        ([CANCEL], completed("a"), "instance_closed"),
        ([c.SuspendWorkflow()], pending("a"), "instance_suspended"),
        ([], c.ResumeWorkflow(), "wrong_state"),
    ],
)
def test_what_the_state_refuses_is_recorded_and_changes_nothing_else(door, commands, command, code):
    site = door(TWO)
    site.start()
    for one in commands:
        assert site.ask(one).applied

    refused(site, lambda: site.ask(command), code)


def test_what_is_unknown_or_forbidden_leaves_no_trace(door):
    site = door(workflow(human("h", outcomes=[{"name": "ok"}])))
    site.start()

    assert unchanged(lambda: site.ask(completed("nothing"))).code == "unknown_task"
    assert unchanged(lambda: site.ask(claimed("h", by="mona"))).code == "permission_denied"
    assert unchanged(lambda: site.ask(decided("h"))).code == "invalid_body"


def test_a_claim_by_another_is_recorded(door):
    site = door(workflow(human("h")))
    site.start()
    site.ask(claimed("h"))

    refused(site, lambda: site.ask(claimed("h", by="fiona")), "already_claimed")
    refused(site, lambda: site.ask(decided("h", by="fiona")), "already_claimed")


def test_the_history_says_what_was_refused_who_asked_and_why(door):
    site = door(TWO)
    site.start()
    site.say({"event_name": "TaskCompleted", "stage_name": "S", "task_name": "b", "attempt": 7, "output": {"n": 1}})

    event = LoggedEvent.objects.get(event="InputRefused")
    assert (event.stage_name, event.task_name, event.attempt, event.actor) == ("S", "b", 7, "bot")
    assert event.data["input"]["output"] == {"n": 1}


def test_if_match_is_judged_before_the_state_and_leaves_no_trace(door):
    site = door(TWO)
    site.start()

    assert unchanged(lambda: site.ask(CANCEL, if_match=2)).code == "precondition_failed"
    assert unchanged(lambda: site.ask(completed("b"), if_match=2)).code == "precondition_failed"
    assert unchanged(lambda: site.ask(completed("none"), if_match=2)).code == "unknown_task"
    assert site.ask(CANCEL, if_match=3).applied


# --- batches ------------------------------------------------------------------------------------------------------


def test_each_entry_of_a_batch_sees_what_earlier_ones_did(door):
    site = door(TWO)

    answers = site.batch(
        c.StartWorkflow("REF"),
        c.StartWorkflow("REF"),
        completed("b"),
        completed("a"),
        completed("a"),
        completed("b"),
        completed("b", attempt=2),
    )

    assert [(a.outcome, a.code) for a in answers] == [
        ("applied", None), ("duplicate", None), ("refused", "not_its_turn"), ("applied", None), ("duplicate", None),
        ("applied", None), ("refused", "unknown_attempt"),
    ]  # fmt: skip
    assert [a.instance.last_sequence for a in answers] == [3, 3, 4, 6, 6, 9, 10]
    assert site.state() == "COMPLETED"


def test_a_message_id_counts_once_within_a_batch(door):
    site = door(TWO)
    site.start()

    answers = site.batch(
        site.asked(completed("a"), event_id="1"), site.asked(completed("a"), event_id="1"),
        site.asked(completed("b"), event_id="1"),
    )  # fmt: skip

    assert [(a.outcome, a.code) for a in answers] == [
        ("applied", None), ("duplicate", None), ("refused", "event_id_reused"),
    ]  # fmt: skip


def test_a_start_again_is_a_duplicate_whatever_it_brings_and_leaves_no_trace(door):
    site = door(TWO)
    site.batch(site.asked(c.StartWorkflow("REF", {"n": 1}), event_id="1"))
    before = LoggedEvent.objects.count()

    (again,) = site.batch(site.asked(c.StartWorkflow("REF", {"n": 2}), event_id="1"))

    assert again.outcome is Outcome.DUPLICATE
    assert LoggedEvent.objects.count() == before


def test_a_batch_over_many_instances_is_one_transaction(door):
    site = door(TWO)
    site.batch(*(site.asked(c.StartWorkflow(f"R{n}"), ref=f"R{n}") for n in range(30)))

    answers = site.batch(*(site.asked(completed(task), ref=f"R{n}") for task in "ab" for n in range(30)))

    assert all(answer.outcome is Outcome.APPLIED for answer in answers)
    assert set(WorkflowInstance.objects.values_list("state", flat=True)) == {"COMPLETED"}


def test_a_database_that_is_away_is_no_commands_fault(door, monkeypatch):
    site = door(TWO)
    site.start()

    def decide(*_, **__):
        raise OperationalError("gone") from psycopg.OperationalError("the connection is closed")

    monkeypatch.setattr(handling, "decide", decide)
    with pytest.raises(OperationalError):
        site.batch(completed("a"), completed("b"))
    monkeypatch.undo()

    assert [answer.outcome for answer in site.batch(completed("a"), completed("b"))] == ["applied", "applied"]


def test_a_poison_command_costs_the_others_nothing(door, monkeypatch, caplog):
    site = door(TWO)
    site.start()
    real = handling.decide

    def decide(definition, snapshot, command, **more):
        if isinstance(command, c.SendSignal):
            raise RuntimeError("a bug")
        return real(definition, snapshot, command, **more)

    monkeypatch.setattr(handling, "decide", decide)
    with caplog.at_level(logging.CRITICAL):
        answers = site.batch(completed("a"), c.SendSignal("poison"), completed("b"))

    assert [a.outcome for a in answers] == ["applied", "refused", "applied"]
    assert answers[1].code == "internal_error"
    assert site.state() == "COMPLETED"


def test_a_lone_poison_command_raises_and_changes_nothing(door, monkeypatch):
    site = door(TWO)
    site.start()
    before = everything()
    monkeypatch.setattr(handling, "decide", lambda *_, **__: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        site.ask(completed("a"))

    assert everything() == before


def test_a_row_that_disagrees_with_the_log_stops_the_transaction(door, caplog):
    from workflows.models import TaskInstance

    site = door(TWO)
    site.start()
    rows = TaskInstance.objects.filter(task_name="a")
    rows.update(state="COMPLETED")  # somebody wrote round the door
    before = everything()

    with pytest.raises(Exception, match="as the log says|state that the log says"):
        site.ask(completed("a"))

    assert everything() == before
    rows.update(state="SCHEDULED")


def test_nothing_asked_nothing_answered(door):
    assert handling.handle() == []


def test_an_operator_and_a_service_in_one_batch(door):
    site = door(workflow(service("a", **retry(1)), service("b", "a")))
    site.start()

    site.batch(failed("a"), operator_retries("a"), failed("a"), operator_skips("a"), completed("b"))

    assert site.state() == "COMPLETED"
    assert site.messages() == ["StartTask a#1", "StartTask a#2", "StartTask b#1"]


def test_a_whole_life_in_one_batch(door):
    """Rows are moved many times and written once."""
    site = door(
        workflow(
            stage("S", human("h"), service("a", "h", **undo())),
            stage("T", human("k", compensate={"assigned_to": "finance"}), service("z")),
        )
    )

    answers = site.batch(
        c.StartWorkflow("REF"), claimed("h"), pending("h"), decided("h"), completed("a"), decided("T/k"), ROLL_BACK,
        pending("T/k", compensation=True), pending("T/k", compensation=True), claimed("T/k", compensation=True), decided("T/k", compensation=True), undone("a"),
    )  # fmt: skip

    assert [answer.code for answer in answers] == [None] * 12
    assert site.state() == "ROLLED_BACK"
    assert OutboxMessage.objects.count() == 4


def test_an_undoing_by_a_person_is_superseded_across_batches_too(door):
    site = door(workflow(service("a", compensate={"assigned_to": "finance"}), service("z")))
    site.start()
    site.batch(completed("a"), ROLL_BACK)
    site.batch(claimed("a", compensation=True))
    site.batch(operator_retries("a", compensation=True), operator_retries("a", compensation=True))
    site.batch(operator_skips("a"))

    assert site.state() == "ROLLED_BACK"


def test_the_clock_of_an_attempt_that_came_and_went_in_one_batch_is_not_armed(door):
    site = door(workflow(service("a", timeout_seconds=10, **retry(3, 5)), service("z", "a", timeout_seconds=7)))
    site.start()
    site.batch(failed("a"), pending("a"), failed("a"), pending("a"), completed("a"))

    assert site.later(100) == 1
    assert site.states() == {"a": "COMPLETED", "z": "FAILED"}
