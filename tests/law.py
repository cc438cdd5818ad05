"""What holds for every instance after every event, told a second time and independently: counts, moves, messages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from workflows.definitions.schema import FailurePolicy, TaskKind, WorkflowDefinition
from workflows.engine import lifecycle
from workflows.engine.events import Event
from workflows.engine.lifecycle import InstanceState, Move, StageState, TaskState
from workflows.engine.outgoing import Outgoing
from workflows.engine.snapshot import Snapshot, Task


def _edges(states: Any) -> frozenset[tuple[str, str]]:
    own = {str(state) for state in states}
    return frozenset(
        (str(source), str(move.target))
        for name, move in vars(lifecycle).items()
        if isinstance(move, Move) and type(move.target) is states and "HUMAN_TASK" not in name
        for source in move.source
        if str(source) in own
    )


INSTANCE_EDGES = _edges(InstanceState)
STAGE_EDGES = _edges(StageState)
TASK_EDGES = _edges(TaskState)

AFTER_THE_END = {"InputRefused", "ReplayRequested", "TaskCommented"}
"""What may still be written into the history of an instance that has ended."""


def check_step(
    definition: WorkflowDefinition,
    before: Snapshot,
    event: Event,
    after: Snapshot,
    *,
    said: Sequence[tuple[dt.datetime, Event]] = (),
) -> None:
    """Check that an event moved only along the edges of the table, and that everything counted is right after it."""
    told = f"{event.name} of {event.stage_name}/{event.task_name}"
    definition = after.grown or definition
    more = len(after.tasks) - len(before.tasks)
    assert more == (len(event.data.get("plugins", ())) if event.name == "PhaseStarted" else 0), told
    assert after.last_sequence == before.last_sequence + 1
    if before.state in lifecycle.ENDED:
        assert event.name in AFTER_THE_END, f"{told} after the end"
    _moved(told, before.state, after.state, INSTANCE_EDGES)
    for was, now in zip(before.stages, after.stages, strict=True):
        _moved(told, was.state, now.state, STAGE_EDGES)
    for position, (one, other) in enumerate(zip(before.tasks, after.tasks, strict=not more)):
        if one is other:
            continue
        _moved(told, one.state, other.state, TASK_EDGES)
        # Attempts count without gaps, and never back; the same for those of the undoing.
        assert other.attempt in (one.attempt, one.attempt + 1), told
        assert _undoings(other) in (_undoings(one), _undoings(one) + 1), told
        if other.state != one.state or other.attempt != one.attempt:
            assert event.position == position, f"{told} moved another task"
    check_counts(definition, after, told)


def _undoings(task: Task) -> int:
    return task.compensation.attempt if task.compensation else 0


def _moved(told: str, before: str, after: str, edges: frozenset[tuple[str, str]]) -> None:
    assert before == after or (str(before), str(after)) in edges, f"{told}: {before} → {after} is no legal move"


def is_done(definition: WorkflowDefinition, snapshot: Snapshot, position: int) -> bool:
    """Tell whether a task counts as done for its children and its stage."""
    task = snapshot.tasks[position]
    if task.state in ("COMPLETED", "SKIPPED"):
        return True
    policy = definition.tasks[position].on_failure
    return task.state == "FAILED" and task.spent and policy is FailurePolicy.CONTINUE


def check_counts(definition: WorkflowDefinition, snapshot: Snapshot, told: str = "") -> None:
    """Count again, from scratch, what a snapshot counts as it goes."""
    definition = snapshot.grown or definition
    tasks = list(zip(definition.tasks, snapshot.tasks, strict=True))
    done = [is_done(definition, snapshot, task.position) for task in definition.tasks]
    for stage, state in zip(definition.stages, snapshot.stages, strict=True):
        inside = range(stage.first, stage.end)
        assert state.remaining == sum(not done[n] for n in inside), f"{told}: remaining of {stage.stage_name}"
        left = tuple(sum(not done[n] for n in range(phase.first, phase.end)) for phase in stage.phases)
        assert state.left == left, f"{told}: what is left of the phases of {stage.stage_name}"
        assert state.skipped == sum(snapshot.tasks[n].state == "SKIPPED" for n in inside), told
    for task, state in tasks:
        assert state.waiting_for == sum(not done[parent] for parent in task.parents), f"{told}: {task.key} waits for"
    live = [(task, state) for task, state in tasks if state.state in ("SCHEDULED", "STARTED")]
    waiting = [(task, state) for task, state in tasks if state.state == "WAITING"]
    expected = {
        "blocked": sum(s.state == "FAILED" and s.spent and not done[t.position] for t, s in tasks),
        "failing": sum(s.state in ("FAILED", "COMPENSATION_FAILED") for _, s in tasks),
        "with_people": sum(t.kind is TaskKind.HUMAN for t, _ in live),
        "with_services": sum(t.kind is not TaskKind.HUMAN for t, _ in live)
        + sum(s.signal is not None for _, s in waiting),
        "between": sum(s.signal is None for _, s in waiting),
    }
    assert {name: getattr(snapshot, name) for name in expected} == expected, told
    active = [n for n, stage in enumerate(snapshot.stages) if stage.state == "ACTIVE"]
    assert len(active) <= 1, told
    if active and snapshot.state not in ("ROLLING_BACK", "CANCELLED"):
        assert snapshot.active_stage == active[0], told
    for task, state in tasks:
        assert 0 <= state.done_attempt <= state.attempt, told
        if state.state in ("SCHEDULED", "STARTED", "WAITING"):
            assert state.attempt >= 1, told
        if state.state not in ("SCHEDULED", "STARTED", "WAITING"):
            assert state.timeout_at is None, f"{told}: a clock ticks for {task.key}, which is {state.state}"
            assert state.retry_at is None, told
            assert state.signal is None, told
    undoing = [task for task, state in tasks if state.state == "COMPENSATING"]
    assert len(undoing) <= 1, f"{told}: several compensations at once"


def check_at_rest(definition: WorkflowDefinition, snapshot: Snapshot) -> None:
    """Check what holds between two commands: the instance is what its tasks say, and nothing that is ready was left."""
    definition = snapshot.grown or definition
    states = [task.state for task in snapshot.tasks]
    open_ = {"SCHEDULED", "STARTED", "WAITING"}
    match snapshot.state:
        case "RUNNING" | "FAILED":
            assert (snapshot.state == "FAILED") == bool(snapshot.blocked or snapshot.timed_out)
            assert snapshot.active_stage >= 0
            for task, state in zip(definition.tasks, snapshot.tasks, strict=True):
                phase = snapshot.stages[task.stage_position].phase
                its_turn = task.plugin is None or task.plugin.phase == phase
                ready = state.state == "PENDING" and not state.waiting_for and its_turn
                assert not (ready and task.stage_position == snapshot.active_stage), f"{task.key} was left behind"
                assert state.state != "FAILED" or state.spent
                if task.stage_position > snapshot.active_stage:
                    assert state.state == "PENDING", f"{task.key} is {state.state} before its stage"
            check_phases(definition, snapshot)
            for stage in definition.stages:
                state = snapshot.stages[stage.position].state
                if stage.position < snapshot.active_stage:
                    assert state in ("COMPLETED", "SKIPPED")
                elif stage.position > snapshot.active_stage:
                    assert state == "PENDING"
        case "COMPLETED":
            assert all(stage.state in ("COMPLETED", "SKIPPED") for stage in snapshot.stages)
            assert all(not stage.remaining for stage in snapshot.stages)
        case "CANCELLED":
            assert not open_.intersection(states)
            assert "PENDING" not in states
        case "ROLLED_BACK":
            assert not open_.intersection(states)
            assert all(
                not (state.done_attempt and task.compensate)
                for task, state in zip(definition.tasks, snapshot.tasks, strict=True)
            ), "something that was done was not undone"
        case "ROLLING_BACK":
            assert states.count("COMPENSATING") == 1
            assert not open_.intersection(states)
        case "ROLLBACK_FAILED":
            assert "COMPENSATION_FAILED" in states
            assert "COMPENSATING" not in states
            assert not open_.intersection(states)


def check_phases(definition: WorkflowDefinition, snapshot: Snapshot) -> None:
    """Check that the active stage of an activity is in the phase that its plugins say."""
    stage, now = definition.stages[snapshot.active_stage], snapshot.stages[snapshot.active_stage]
    if stage.activity is None:
        return
    for phase in stage.phases:
        done = all(is_done(definition, snapshot, n) for n in range(phase.first, phase.end))
        if phase.phase == now.phase:
            assert not done, f"{stage.stage_name} stays in a phase that is over"
            break
        assert done, f"{stage.stage_name} has left {phase.phase} too early"
    else:
        raise AssertionError(f"{stage.stage_name} is ACTIVE in no phase")


def check_messages(definition: WorkflowDefinition, events: Iterable[Event], messages: Sequence[Outgoing]) -> None:
    """Check that what is sent follows from what happened, one to one."""
    expected = []
    for event in events:
        if event.position is None:
            continue
        task = definition.tasks[event.position]
        undo_queue = task.compensate.task_queue if task.compensate else None
        if event.name == "TaskScheduled" and task.task_queue:
            expected.append(("StartTask", task.task_queue, event.position, event.attempt))
        if event.name == "CompensationScheduled" and undo_queue:
            expected.append(("CompensateTask", undo_queue, event.position, event.attempt))
        if "withdrew" in event.data:
            queue = undo_queue if event.name.startswith("Compensation") else task.task_queue
            if queue:
                expected.append(("CancelTask", queue, event.position, event.data["withdrew"]))
    assert [(one.event_name, one.queue, one.position, one.attempt) for one in messages] == expected
