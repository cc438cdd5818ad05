"""The vocabulary and the table of moves: everything that is known in one place is known in the others."""

import datetime as dt

import pytest

from tests import law
from tests.builders import ROLL_BACK, completed, definition_of, failed, given, retry, service, stage, undo, workflow
from workflows.engine import commands, decide, events, evolve, lifecycle
from workflows.engine.codec import SHAPE, decode
from workflows.engine.decision import Rejected
from workflows.engine.draft import Draft
from workflows.runtime import appliers
from workflows.runtime.refusals import STATUS, is_recorded

NAMES = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
CONTRACT = [
    "WorkflowStarted",
    "WorkflowFailed",
    "WorkflowRecovered",
    "WorkflowSuspended",
    "WorkflowResumed",
    "WorkflowTimedOut",
    "WorkflowCompleted",
    "WorkflowCancelled",
    "StageActivated",
    "StageCompleted",
    "StageSkipped",
    "StageCancelled",
    "StageReset",
    "TaskScheduled",
    "TaskStarted",
    "TaskCompleted",
    "TaskFailed",
    "RetryScheduled",
    "TaskSkipped",
    "TaskCancelled",
    "TaskReset",
    "TaskClaimed",
    "TaskReleased",
    "TaskReassigned",
    "TaskCommented",
    "TaskReturned",
    "ReplayRequested",
    "RollbackStarted",
    "CompensationScheduled",
    "CompensationCompleted",
    "CompensationFailed",
    "CompensationSkipped",
    "RollbackFailed",
    "RollbackCompleted",
    "InputRefused",
]


def test_engine_and_rows_know_every_event():
    assert evolve.KNOWN == NAMES
    assert appliers.KNOWN == NAMES


def test_the_names_of_the_contract_are_there():
    assert set(CONTRACT) <= NAMES


def test_no_name_is_longer_than_its_column():
    assert max(map(len, NAMES)) <= 40


def test_every_command_has_its_rule():
    concrete = {
        kind
        for kind in vars(commands).values()
        if isinstance(kind, type)
        and kind.__module__ == commands.__name__
        and kind.__name__ not in ("OnTask", "OnHumanTask")
    }

    assert set(decide._RULES) == concrete - {commands.StartWorkflow}


def test_what_ends_an_instance_is_left_by_a_replay_only():
    leaving = {(a, b) for a, b in law.INSTANCE_EDGES if a in ("COMPLETED", "ROLLED_BACK", "CANCELLED")}

    assert leaving == {("COMPLETED", "RUNNING")}
    assert {str(state) for state in lifecycle.ENDED} == {"COMPLETED", "ROLLED_BACK", "CANCELLED"}


def test_every_state_is_reached_and_every_state_of_the_contract_is_there():
    assert {b for _, b in law.INSTANCE_EDGES} | {"RUNNING"} == set(lifecycle.InstanceState)
    assert {b for _, b in law.STAGE_EDGES} == set(lifecycle.StageState)
    assert {b for _, b in law.TASK_EDGES} == set(lifecycle.TaskState)


def test_the_states_are_those_of_the_contract():
    assert set(lifecycle.InstanceState) == {
        "RUNNING", "FAILED", "SUSPENDED", "ROLLING_BACK", "ROLLED_BACK", "ROLLBACK_FAILED", "COMPLETED", "CANCELLED",
    }  # fmt: skip
    assert set(lifecycle.StageState) == {"PENDING", "ACTIVE", "COMPLETED", "SKIPPED", "CANCELLED"}
    assert set(lifecycle.TaskState) == {
        "PENDING", "SCHEDULED", "STARTED", "WAITING", "COMPLETED", "FAILED", "SKIPPED", "CANCELLED", "COMPENSATING",
        "COMPENSATED", "COMPENSATION_FAILED",
    }  # fmt: skip


def test_every_409_is_recorded_and_nothing_else():
    assert all(is_recorded(code) == (status == 409) for code, status in STATUS.items())


def test_an_event_survives_the_log():
    story = given(workflow(service("a", **retry(2, 10), **undo()), service("b", "a")), failed("a"))
    story.later(10)
    story.when(completed("a", output={"n": 1.5}))
    story.when(ROLL_BACK)

    for _, event in story.log:
        read = decode(
            story.definition, name=event.name, shape=SHAPE, stage_name=event.stage_name, task_name=event.task_name,
            attempt=event.attempt, data=event.data,
        )  # fmt: skip
        assert read == event


def test_a_refusal_changes_nothing_but_the_history():
    story = given(workflow(service("a"), service("b", "a")))
    before = story.now
    rejected = Rejected("not_its_turn", "Not yet.")

    accepted = decide.refuse(
        story.definition, before, rejected, said={"x": 1}, stage_name="S", task_name="b", attempt=4, at=story.at
    )

    assert [event.name for event in accepted.events] == ["InputRefused"]
    assert accepted.events[0].data == {"code": "not_its_turn", "reason": "Not yet.", "input": {"x": 1}}
    assert accepted.snapshot == before._replace(last_sequence=before.last_sequence + 1)


def test_folding_nothing_gives_nothing():
    assert evolve.fold(definition_of(workflow(service("a"))), [], instance_id="I") is None


def test_an_event_that_nobody_knows_stops_the_fold():
    story = given(workflow(service("a")))
    with pytest.raises(KeyError):
        evolve.catch_up(story.definition, story.now, [(story.at, events.Event("TaskExploded"))])


# --- cost ---------------------------------------------------------------------------------------------------------


def _touched(monkeypatch, story, command):
    """Count how many tasks one command makes anew."""
    made = []
    put, replace = Draft.put, evolve.Task._replace
    monkeypatch.setattr(Draft, "put", lambda self, position, new: made.append(position) or put(self, position, new))
    monkeypatch.setattr(evolve.Task, "_replace", lambda self, **changes: made.append(None) or replace(self, **changes))
    definition, before = story.definition, story.now
    answer = decide.decide(definition, before, command, at=story.at + dt.timedelta(seconds=1), world=story.world)
    monkeypatch.undo()
    same = sum(one is other for one, other in zip(before.tasks, answer.snapshot.tasks, strict=True))
    return len(made), len(before.tasks) - same


def test_an_event_in_a_stage_of_5000_tasks_touches_the_task_and_its_children(monkeypatch):
    wide = workflow(
        stage("S", *(service(f"t{n}") for n in range(4_998)), service("child", "t1"), service("last", "t1", "t2"))
    )
    accepted = decide.start(
        definition_of(wide), commands.StartWorkflow("R"), instance_id="I", started_by="ada", version=1,
        at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), world=None,
    )  # fmt: skip

    class Wide:
        definition, now, at, world = (
            definition_of(wide),
            accepted.snapshot,
            dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
            None,
        )

    for command in (completed("t1"), failed("t77"), commands.SkipTask("S", "t5", reason="why")):
        made, changed = _touched(monkeypatch, Wide, command)
        assert made <= 12
        assert changed <= 3
