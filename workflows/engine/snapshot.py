"""A running instance as frozen values: all that a decision may look at."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, NamedTuple

from workflows.definitions.schema import WorkflowDefinition
from workflows.engine.lifecycle import InstanceState, StageState, TaskState

COMPLETED_RESULT = "completed"
FAILED_RESULT = "failed"

_RUNNING = InstanceState.RUNNING
_NEEDS_SOMEONE = frozenset({InstanceState.FAILED, InstanceState.ROLLBACK_FAILED})


class Compensation(NamedTuple):
    """The newest undoing of a task.

    `state` is that of an attempt: SCHEDULED, STARTED, WAITING, COMPLETED, FAILED, SKIPPED; `undoes_attempt` is the
    task's attempt that it undoes, `output` what that had put out; `possible`: whether that had its effect is not known.
    `signal`, `inbox`, `memory` and `woken` are as those of a task.
    """

    attempt: int = 0
    state: str = TaskState.SCHEDULED
    failures: int = 0
    result: str | None = None
    error: Mapping[str, Any] | None = None
    undoes_attempt: int = 0
    possible: bool = False
    output: Mapping[str, Any] | None = None
    assigned_to: str | None = None
    assigned_kind: str = ""
    claimed_by: str | None = None
    due_at: dt.datetime | None = None
    scheduled_at: dt.datetime | None = None
    started_at: dt.datetime | None = None
    retry_at: dt.datetime | None = None
    timeout_at: dt.datetime | None = None
    signal: str | None = None
    inbox: Any = None
    memory: Any = None
    woken: bool = False


class Task(NamedTuple):
    """One task of an instance.

    `waiting_for` counts parents that are not done (derived); `failures` counts the failed attempts of this round;
    `result` is what was accepted for the newest attempt; `spent` says that a FAILED task has no attempt left;
    `done_attempt` is the newest attempt that a rollback would undo (0: none): completed, or over without a result where
    that is undone, too; `done_order` is the number of the event that ended it, `done_possible` says that its effect is
    not known; `withdrawn` says that a rollback took its live attempt; `signal` is what a step waits for, `inbox` the
    payload that woke it, `memory` what it wanted to remember, `woken` whether the signal has come.
    """

    state: str = TaskState.PENDING
    attempt: int = 0
    waiting_for: int = 0
    failures: int = 0
    result: str | None = None
    spent: bool = False
    output: Mapping[str, Any] | None = None
    outcome: str | None = None
    error: Mapping[str, Any] | None = None
    assigned_to: str | None = None
    assigned_kind: str = ""
    claimed_by: str | None = None
    due_at: dt.datetime | None = None
    scheduled_at: dt.datetime | None = None
    started_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    retry_at: dt.datetime | None = None
    timeout_at: dt.datetime | None = None
    done_attempt: int = 0
    done_order: int = 0
    done_output: Mapping[str, Any] | None = None
    done_possible: bool = False
    withdrawn: bool = False
    signal: str | None = None
    inbox: Any = None
    memory: Any = None
    woken: bool = False
    compensation: Compensation | None = None


class Stage(NamedTuple):
    """One stage of an instance; `remaining` counts its tasks that are not done, `skipped` those skipped (both
    derived).

    Of an activity, `phase` is the one that has begun last since its activation, `left` counts the tasks of each phase
    that are not done (derived), in the order in which they were frozen.
    """

    state: str = StageState.PENDING
    remaining: int = 0
    skipped: int = 0
    activated_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    phase: str | None = None
    left: tuple[int, ...] = ()


class Snapshot(NamedTuple):
    """An instance after its event number `last_sequence`.

    Derived counts: `blocked` tasks FAILED that hold the instance up, `failing` tasks FAILED or COMPENSATION_FAILED,
    `with_services`, `with_people` and `between` live attempts at services, with people, and tasks between attempts.
    `active_stage` is -1 when none is.
    `deciders` holds (user, position) of each human decision; `signals` what came before anybody waited for it.
    `grown` is the definition that the instance follows once plugins take part in it; None: its template's.
    `trace` is the trace context of whoever started it ("": none).
    """

    instance_id: str
    business_ref_no: str
    started_by: str
    state: str
    business_status: str | None
    context: Mapping[str, Any]
    last_sequence: int
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None
    timeout_at: dt.datetime | None
    timed_out: bool
    active_stage: int
    blocked: int
    failing: int
    with_services: int
    with_people: int
    between: int
    signals: tuple[tuple[str, Any], ...]
    deciders: tuple[tuple[str, int], ...]
    trace: str
    stages: tuple[Stage, ...]
    tasks: tuple[Task, ...]
    grown: WorkflowDefinition | None = None

    @property
    def health(self) -> str:
        """This will give the one word that lists show: the first that holds, failed before anything calmer."""
        state = self.state
        if state in _NEEDS_SOMEONE:
            return "failed"
        if state != _RUNNING:
            return state.lower()
        if self.between:
            return "retrying"
        return "person" if self.with_people and not self.with_services else "running"
