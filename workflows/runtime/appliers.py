"""What each event does to the rows. The only code that makes a row move."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workflows.definitions.schema import TaskKind, WorkflowDefinition
from workflows.engine import events as e
from workflows.engine.events import Event
from workflows.engine.lifecycle import LIVE, UNDOING, InstanceState, TaskState
from workflows.engine.snapshot import Snapshot, Stage, Task
from workflows.models import HumanTask, StageInstance, TaskInstance, WorkflowInstance
from workflows.runtime.identity import human_task_id
from workflows.runtime.projection import (
    attempt_of,
    plugin_columns,
    queue_of,
    stage_columns,
    task_columns,
    undo_queue_of,
)


class Rows:
    """The rows of one instance that a decision moves: each is made from the snapshot before it, on first use.

    They are not read from the database: the locked instance's snapshot says what they hold, and the set-wise write
    that follows names the state it expects, so a row that disagrees stops the transaction.
    """

    def __init__(self, instance_id: uuid.UUID, definition: WorkflowDefinition, before: Snapshot | None) -> None:
        self.id, self.definition, self.before = instance_id, definition, before
        state = before.state if before else InstanceState.RUNNING
        self.instance = WorkflowInstance.at_hand({"id": instance_id, "state": state, "finished_at": None})
        self.stages: dict[int, StageInstance] = {}
        self.tasks: dict[int, TaskInstance] = {}
        self.humans: dict[uuid.UUID, HumanTask] = {}
        self.humans_before: dict[uuid.UUID, str] = {}
        self.assigned_before: dict[uuid.UUID, tuple[str, str | None]] = {}
        self.new_humans: set[uuid.UUID] = set()
        self.plugins: list[Sequence[Any]] = []

    def stage(self, name: str | None) -> StageInstance:
        """This will give the row of a stage."""
        assert name is not None
        position = self.definition.stage_positions[name]
        row = self.stages.get(position)
        if row is None:
            was = self.before.stages[position] if self.before is not None else Stage()
            columns = stage_columns(was)
            row = self.stages[position] = StageInstance.at_hand(
                {"instance_id": self.id, "position": position, **columns}
            )
        return row

    def task(self, position: int | None) -> TaskInstance:
        """This will give the row of a task."""
        assert position is not None
        row = self.tasks.get(position)
        if row is None:
            known = self.before is not None and position < len(self.before.tasks)
            was = self.before.tasks[position] if self.before is not None and known else Task()
            columns = task_columns(self.definition.tasks[position], was)
            row = self.tasks[position] = TaskInstance.at_hand({"instance_id": self.id, "position": position, **columns})
        return row

    def human(self, position: int, *, attempt: int, compensation: bool) -> HumanTask:
        """This will give the open human task that stands for an attempt."""
        key = human_task_id(self.id, position=position, attempt=attempt, compensation=compensation)
        row = self.humans.get(key)
        if row is None:
            assert self.before is not None, "a human task has no row before its scheduling"
            was = attempt_of(self.before.tasks[position], compensation=compensation)
            withdrawn = self.before.tasks[position].withdrawn and not compensation
            state = TaskState.CANCELLED if withdrawn else was.state
            self.humans_before[key] = str(state)
            self.assigned_before[key] = (was.assigned_kind, was.assigned_to)
            row = self.humans[key] = HumanTask.at_hand(
                {
                    "id": key,
                    "instance_id": self.id,
                    "state": state,
                    "assigned_to": was.assigned_to,
                    "assigned_kind": was.assigned_kind,
                    "claimed_by": was.claimed_by,
                    **_UNDECIDED,
                }
            )
        return row

    def new_human(self, row: HumanTask) -> None:
        """This will put a new human task into an inbox."""
        self.humans[row.id] = row
        self.new_humans.add(row.id)


def apply(rows: Rows, event: Event, at: dt.datetime) -> None:
    """This will move the rows as the event says. `TransitionNotAllowed` here is a bug: the engine had said yes."""
    applier = _APPLIERS[event.name]
    if applier is not None:
        applier(rows, event, at)


# --- the instance and its stages ------------------------------------------------------------------


def _instance(move: str, *, timed: bool = False) -> Callable[[Rows, Event, dt.datetime], None]:
    def applier(rows: Rows, event: Event, at: dt.datetime) -> None:
        getattr(rows.instance, move)(**({"at": at} if timed else {}))

    return applier


def _stage(move: str, *, timed: bool = True) -> Callable[[Rows, Event, dt.datetime], None]:
    def applier(rows: Rows, event: Event, at: dt.datetime) -> None:
        getattr(rows.stage(event.stage_name), move)(**({"at": at} if timed else {}))

    return applier


def _phase_started(rows: Rows, event: Event, at: dt.datetime) -> None:
    if "again" not in event.data:
        stage = rows.definition.stages[rows.definition.stage_positions[event.stage_name or ""]]
        phase = stage.frozen(event.data["phase"])
        assert phase is not None
        rows.plugins.extend((rows.id, *row.values(), at) for row in plugin_columns(rows.definition, stage, phase))


def _replay_requested(rows: Rows, event: Event, at: dt.datetime) -> None:
    if rows.instance.state == "COMPLETED":
        rows.instance.mark_reopened()


# --- tasks ----------------------------------------------------------------------------------------


def _task_scheduled(rows: Rows, event: Event, at: dt.datetime) -> None:
    row, definition = rows.task(event.position), rows.definition.tasks[row_position(event)]
    person = definition.kind is TaskKind.HUMAN
    if person and row.state in LIVE:  # a nudge: the attempt before it is superseded
        _human(rows, event, row.attempt).mark_withdrawn(at=at)
    due_at = at + dt.timedelta(seconds=definition.due_in_seconds) if definition.due_in_seconds is not None else None
    attempt = event.attempt or 0
    row.mark_scheduled(
        at=at,
        attempt=attempt,
        queue=queue_of(definition),
        assigned_to=event.data.get("assigned_to"),
        due_at=due_at,
    )
    if person:
        _offer(rows, event, at, attempt=attempt, compensation=False, due_at=due_at)


def _task_started(rows: Rows, event: Event, at: dt.datetime) -> None:
    if event.data.get("compensation"):
        if _by_person(rows, event):
            human = _human(rows, event, event.attempt, compensation=True)
            human.mark_started()
        return
    row = rows.task(event.position)
    row.mark_started(at=at, claimed_by=row.claimed_by)
    if _by_person(rows, event):
        _human(rows, event, event.attempt).mark_started()


def _task_claimed(rows: Rows, event: Event, at: dt.datetime) -> None:
    compensation, by = bool(event.data.get("compensation")), event.data["by"]
    if not compensation:
        rows.task(event.position).mark_started(at=at, claimed_by=by)
    _human(rows, event, event.attempt, compensation=compensation).mark_claimed(by=by)


def _task_given(rows: Rows, event: Event, at: dt.datetime) -> None:
    compensation = bool(event.data.get("compensation"))
    human = _human(rows, event, event.attempt, compensation=compensation)
    assigned_to = event.data.get("assigned_to", human.assigned_to)
    if not compensation:
        rows.task(event.position).mark_released(assigned_to=assigned_to)
    human.mark_released(assigned_to=assigned_to, assigned_kind=event.data.get("assigned_kind", human.assigned_kind))


def _task_completed(rows: Rows, event: Event, at: dt.datetime) -> None:
    row, data = rows.task(event.position), event.data
    open_ = row.state in LIVE or "late" in data
    keep = row.keep_result if row.state in UNDOING else row.mark_completed
    keep(
        at=at,
        output=data.get("output"),
        outcome=data.get("outcome"),
        claimed_by=data.get("by", row.claimed_by),
    )
    if open_ and _by_person(rows, event):
        _human(rows, event, event.attempt).mark_completed(
            at=at,
            by=data.get("by"),
            outcome=data.get("outcome"),
            data=data.get("output"),
            comment=data.get("comment", ""),
        )


def _task_failed(rows: Rows, event: Event, at: dt.datetime) -> None:
    row, data = rows.task(event.position), event.data
    live = row.state in LIVE
    row.mark_failed(at=at, error=data["error"], outcome=data.get("outcome"), claimed_by=data.get("by", row.claimed_by))
    if live and _by_person(rows, event):
        _human(rows, event, event.attempt).mark_failed(
            at=at,
            by=data.get("by"),
            outcome=data.get("outcome"),
            data=data.get("data"),
            comment=data.get("comment", ""),
        )


def _task_returned(rows: Rows, event: Event, at: dt.datetime) -> None:
    row, data = rows.task(event.position), event.data
    row.outcome, row.claimed_by = data["outcome"], data["by"]
    _human(rows, event, event.attempt).mark_withdrawn(
        at=at, by=data["by"], outcome=data["outcome"], data=data["data"], comment=data.get("comment", "")
    )


def _retry_scheduled(rows: Rows, event: Event, at: dt.datetime) -> None:
    if event.data.get("compensation"):
        rows.task(event.position).queue = ""
    else:
        rows.task(event.position).mark_waiting()


def _task_skipped(rows: Rows, event: Event, at: dt.datetime) -> None:
    row = rows.task(event.position)
    if row.state in LIVE and _by_person(rows, event):
        _human(rows, event, row.attempt).mark_skipped(at=at)
    row.mark_skipped(at=at)


def _task_cancelled(rows: Rows, event: Event, at: dt.datetime) -> None:
    row = rows.task(event.position)
    _withdraw(rows, event, row, at)
    row.mark_cancelled(at=at)


def _task_reset(rows: Rows, event: Event, at: dt.datetime) -> None:
    row = rows.task(event.position)
    _withdraw(rows, event, row, at)
    row.mark_reset()


def _signal_awaited(rows: Rows, event: Event, at: dt.datetime) -> None:
    row = rows.task(event.position)
    if event.data.get("compensation"):
        row.queue = ""
    else:
        row.mark_awaiting_signal(at=at)


def _step_woken(rows: Rows, event: Event, at: dt.datetime) -> None:
    position = row_position(event)
    row, definition = rows.task(position), rows.definition.tasks[position]
    if event.data.get("compensation"):
        row.queue = undo_queue_of(definition)
    else:
        row.mark_woken(queue=queue_of(definition))


# --- undoing --------------------------------------------------------------------------------------


def _compensation_scheduled(rows: Rows, event: Event, at: dt.datetime) -> None:
    position = row_position(event)
    row = rows.task(position)
    person = _by_person(rows, event, compensation=True)
    if superseded := _open_undoing(rows, event, (event.attempt or 0) - 1):
        superseded.mark_withdrawn(at=at)
    row.mark_compensating(at=at, queue=undo_queue_of(rows.definition.tasks[position]))
    if person:
        _offer(rows, event, at, attempt=event.attempt or 0, compensation=True, due_at=None)


def _compensation_completed(rows: Rows, event: Event, at: dt.datetime) -> None:
    position, data = row_position(event), event.data
    rows.task(position).mark_compensated()
    if human := _open_undoing(rows, event, event.attempt or 0):
        human.mark_completed(
            at=at,
            by=data.get("by"),
            outcome=data.get("outcome"),
            data=data.get("output"),
            comment=data.get("comment", ""),
        )


def _compensation_failed(rows: Rows, event: Event, at: dt.datetime) -> None:
    row, data = rows.task(event.position), event.data
    row.queue = ""
    if data["spent"]:
        row.mark_compensation_failed()
    if human := _open_undoing(rows, event, event.attempt or 0):
        human.mark_failed(
            at=at, by=data.get("by"), outcome=data.get("outcome"), data=None, comment=data.get("comment", "")
        )


def _compensation_skipped(rows: Rows, event: Event, at: dt.datetime) -> None:
    rows.task(event.position).mark_compensation_skipped()
    if human := _open_undoing(rows, event, event.attempt or 0):
        human.mark_skipped(at=at)


# --- helpers --------------------------------------------------------------------------------------


def row_position(event: Event) -> int:
    """This will give the position that an event about a task has."""
    assert event.position is not None
    return event.position


def _by_person(rows: Rows, event: Event, *, compensation: bool | None = None) -> bool:
    definition = rows.definition.tasks[row_position(event)]
    if compensation is None:
        compensation = bool(event.data.get("compensation"))
    if compensation:
        return bool(definition.compensate and definition.compensate.assigned_to)
    return definition.kind is TaskKind.HUMAN


def _open_undoing(rows: Rows, event: Event, attempt: int) -> HumanTask | None:
    """The human task that stands for that attempt to undo, if a person has it and may still decide it."""
    if not _by_person(rows, event, compensation=True):
        return None
    position = row_position(event)
    was = rows.before.tasks[position].compensation if rows.before is not None else None
    was_open = was is not None and was.attempt == attempt and was.state in LIVE
    key = human_task_id(rows.id, position=position, attempt=attempt, compensation=True)
    if key not in rows.humans and not was_open:
        return None
    human = _human(rows, event, attempt, compensation=True)
    return human if human.state in LIVE else None


def _human(rows: Rows, event: Event, attempt: int | None, *, compensation: bool = False) -> HumanTask:
    return rows.human(row_position(event), attempt=attempt or 0, compensation=compensation)


def _withdraw(rows: Rows, event: Event, row: TaskInstance, at: dt.datetime) -> None:
    if row.state in LIVE and _by_person(rows, event):
        human = _human(rows, event, row.attempt)
        if human.state in LIVE:  # a person who sends the work back has closed it already
            human.mark_withdrawn(at=at)


def _offer(
    rows: Rows, event: Event, at: dt.datetime, *, attempt: int, compensation: bool, due_at: dt.datetime | None
) -> None:
    position = row_position(event)
    definition = rows.definition.tasks[position]
    rows.new_human(
        HumanTask.at_hand(
            {
                "id": human_task_id(rows.id, position=position, attempt=attempt, compensation=compensation),
                "instance_id": rows.id,
                "position": position,
                "stage_name": definition.stage_name,
                "task_name": definition.task_name,
                "title": definition.title or definition.task_name,
                "attempt": attempt,
                "compensation": compensation,
                "four_eyes": definition.four_eyes and not compensation,
                "assigned_to": event.data.get("assigned_to"),
                "assigned_kind": event.data.get("assigned_kind", ""),
                "created_at": at,
                "due_at": due_at,
                "state": TaskState.SCHEDULED,
                "claimed_by": None,
                **_UNDECIDED,
            }
        )
    )


_UNDECIDED = {"decided_by": None, "outcome": None, "data": None, "comment": "", "closed_at": None}

_APPLIERS: Mapping[str, Callable[[Rows, Event, dt.datetime], None] | None] = {
    e.WORKFLOW_STARTED: None,  # the row is born RUNNING
    e.WORKFLOW_FAILED: _instance("mark_failed"),
    e.WORKFLOW_RECOVERED: _instance("mark_recovered"),
    e.WORKFLOW_SUSPENDED: _instance("mark_suspended"),
    e.WORKFLOW_RESUMED: _instance("mark_resumed"),
    e.WORKFLOW_TIMED_OUT: _instance("mark_timed_out"),
    e.WORKFLOW_COMPLETED: _instance("mark_completed", timed=True),
    e.WORKFLOW_CANCELLED: _instance("mark_cancelled", timed=True),
    e.SIGNAL_RECEIVED: None,
    e.REPLAY_REQUESTED: _replay_requested,
    e.ROLLBACK_STARTED: _instance("mark_rolling_back"),
    e.ROLLBACK_FAILED: _instance("mark_rollback_failed"),
    e.ROLLBACK_RESUMED: _instance("mark_rollback_resumed"),
    e.ROLLBACK_COMPLETED: _instance("mark_rolled_back", timed=True),
    e.INPUT_REFUSED: None,
    e.STAGE_ACTIVATED: _stage("mark_active"),
    e.STAGE_COMPLETED: _stage("mark_completed"),
    e.STAGE_SKIPPED: _stage("mark_skipped"),
    e.STAGE_CANCELLED: _stage("mark_cancelled"),
    e.STAGE_RESET: _stage("mark_reset", timed=False),
    e.PHASE_STARTED: _phase_started,
    e.TASK_SCHEDULED: _task_scheduled,
    e.TASK_STARTED: _task_started,
    e.TASK_CLAIMED: _task_claimed,
    e.TASK_RELEASED: _task_given,
    e.TASK_REASSIGNED: _task_given,
    e.TASK_COMMENTED: None,
    e.TASK_COMPLETED: _task_completed,
    e.TASK_FAILED: _task_failed,
    e.TASK_RETURNED: _task_returned,
    e.RETRY_SCHEDULED: _retry_scheduled,
    e.TASK_SKIPPED: _task_skipped,
    e.TASK_CANCELLED: _task_cancelled,
    e.TASK_RESET: _task_reset,
    e.SIGNAL_AWAITED: _signal_awaited,
    e.STEP_WOKEN: _step_woken,
    e.COMPENSATION_SCHEDULED: _compensation_scheduled,
    e.COMPENSATION_COMPLETED: _compensation_completed,
    e.COMPENSATION_FAILED: _compensation_failed,
    e.COMPENSATION_SKIPPED: _compensation_skipped,
}

KNOWN = frozenset(_APPLIERS)
"""The names of all events that rows know about; a test compares them with the engine's."""
