"""A decision becomes rows, log, outbox, clocks: collected for a whole batch and written set-wise.

Note [Progress is no event]
~~~~~~~~~~~~~~~~~~~~~~~~~~~
How far the work is (a percentage, a sentence) is said often and decides nothing: a row beside the task is replaced,
under the instance's lock, and those who look at the instance are told. The log does not grow by it, and the fold does
not know it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from workflows import failpoints
from workflows.definitions.schema import WorkflowDefinition
from workflows.engine import outgoing
from workflows.engine.codec import SHAPE
from workflows.engine.commands import BeginTask
from workflows.engine.events import Event
from workflows.engine.lifecycle import InstanceState
from workflows.engine.snapshot import Snapshot
from workflows.models import DeadlineKind, StageInstance, TaskInstance
from workflows.models.fields import dump
from workflows.models.writes import Database
from workflows.runtime import fresh, line, tables, tracing
from workflows.runtime.appliers import Rows, apply
from workflows.runtime.fresh import FreshMessage
from workflows.runtime.identity import message_id
from workflows.runtime.listeners import Heard
from workflows.runtime.loading import definition_after
from workflows.runtime.projection import attempt_of, instance_columns, search_columns
from workflows.runtime.stopped_clocks import STOPPED


class Recorded:
    """What one instance went through in this transaction: its rows, its snapshot before and now, what it sent."""

    def __init__(
        self,
        *,
        id: uuid.UUID,
        template_id: uuid.UUID,
        version: int,
        definition: WorkflowDefinition,
        before: Snapshot | None,
    ) -> None:
        self.id, self.template_id, self.version = id, template_id, version
        self.definition = definition_after(definition, before)
        self.before = before
        self.now = before
        self.rows = Rows(id, self.definition, before)
        self.events: list[Event] = []
        self.queues: set[str] = set()
        self.heard: list[Heard] = []

    @property
    def created(self) -> bool:
        """This will tell whether it began in this transaction."""
        return self.before is None


class Recorder:
    """Collects what the decisions of one transaction write, and writes it."""

    def __init__(self, database: Database, at: dt.datetime) -> None:
        self.at = at
        self._database = database
        self._log: list[tuple[Any, ...]] = []
        self._outbox: list[tuple[Any, ...]] = []
        self._handled: list[tuple[Any, ...]] = []
        self.fresh: list[FreshMessage] = []
        self.unsent = False
        self._in_line: set[tuple[uuid.UUID, int, bool, int]] = set()
        self.touched: dict[uuid.UUID, Recorded] = {}
        self.heard: dict[uuid.UUID, tuple[Recorded, list[str]]] = {}
        self._progress: dict[tuple[uuid.UUID, int, bool], tuple[Any, ...]] = {}
        self.earliest_deadline: dt.datetime | None = None

    def record(self, work: Recorded, events: Sequence[Event], now: Snapshot, *, actor: str, cause: str | None) -> None:
        """This will take down what happened: rows move, the log grows, messages are written down to be sent."""
        if not events:
            return
        if now.grown is not None:
            # At once, for all of the events: what has grown stands behind what was there before.
            work.definition = work.rows.definition = now.grown
        sequence = now.last_sequence - len(events)
        at, log = self.at, self._log
        for event in events:
            sequence += 1
            failpoints.hit("transition")
            apply(work.rows, event, at)
            log.append(
                (
                    work.id,
                    sequence,
                    event.name,
                    SHAPE,
                    at,
                    actor,
                    cause,
                    event.stage_name,
                    event.task_name,
                    event.attempt,
                    dump(event.data) if event.data else "{}",
                )
            )
        work.now = now
        work.events.extend(events)
        self.touched[work.id] = work
        for message in outgoing.messages(work.definition, now, events):
            self._send(work, message)

    def heard_of(self, work: Recorded, about: BeginTask) -> bool:
        """This will keep how far the work is, if that was said, in place of what was said before.

        See Note [Progress is no event].
        """
        said = about.progress
        if said is None:
            return False
        position = work.definition.task_positions[about.stage_name, about.task_name]
        assert work.now is not None
        attempt = attempt_of(work.now.tasks[position], compensation=about.compensation).attempt
        row = (attempt, said["percent"], said["message"], self.at)
        self._progress[work.id, position, about.compensation] = row
        self.heard.setdefault(work.id, (work, []))[1].append(work.definition.tasks[position].key)
        return True

    def handled(self, work: Recorded, *, event_id: str, digest: str) -> None:
        """This will remember a message id, so that it does not count twice."""
        self._handled.append((work.id, event_id, digest, self.at))

    def write(self) -> None:
        """This will write everything, as the last thing of the transaction."""
        database, touched = self._database, self.touched.values()
        failpoints.hit("before_write")
        created = [work for work in touched if work.created]
        if created:
            database.insert(tables.INSTANCE, [_new_instance(work) for work in created])
            database.insert(tables.STAGE, [row for work in created for row in _new_stages(work)])
        changed = [work for work in touched if not work.created]
        if new := [row for work in touched for row in _new_tasks(work)]:
            database.insert(tables.TASK, new)
        if plugins := [row for work in touched for row in work.rows.plugins]:
            database.insert(tables.PLUGIN, plugins)
        self._update_instances(changed)
        database.update(tables.STAGE, _STAGE_SET, _BY_POSITION, _moved(changed, _stages, _stage_cells))
        database.update(tables.TASK, _TASK_SET, _BY_POSITION, _moved(changed, _tasks, _task_cells))
        self._write_search()
        self._write_humans()
        failpoints.hit("instances_written")
        database.insert(tables.EVENT, self._log)
        failpoints.hit("log_written")
        database.insert(tables.OUTBOX, self._outbox)
        failpoints.hit("outbox_written")
        database.insert(tables.HANDLED, self._handled)
        failpoints.hit("inbox_written")
        self._write_deadlines()
        if self._progress:
            database.delete(tables.PROGRESS, ("instance_id", "position", "compensation"), list(self._progress))
            database.insert(tables.PROGRESS, [(*key, *row) for key, row in self._progress.items()])
        failpoints.hit("before_commit")
        database.flush()

    def _send(self, work: Recorded, message: outgoing.Outgoing) -> None:
        key = message_id(
            work.id,
            event_name=message.event_name,
            position=message.position,
            attempt=message.attempt,
            compensation=message.compensation,
        )
        task = work.definition.tasks[message.position]
        payload = dump({**message.body, "message_id": str(key), "instance_id": str(work.id)})
        trace = tracing.of_attempt(
            work.id,
            work.now.trace if work.now is not None else "",
            position=message.position,
            attempt=message.attempt,
            compensation=message.compensation,
        )
        told = str(trace) if trace is not None else ""
        work.queues.add(message.queue)
        state, sent_at = "PENDING", None
        if outgoing.is_called(message.queue):
            # No broker has a part in it: it is there for whoever makes the calls.
            state, sent_at, next_try_at = "SENT", self.at, self.at
        elif line.holds(message.queue, message.event_name, message.body):
            self.unsent, state, next_try_at = True, "HELD", self.at
            self._in_line.add((work.id, message.position, message.compensation, message.attempt))
        elif fresh.messages.granted and outgoing.is_first(message.event_name, message.attempt):
            self.fresh.append(FreshMessage(work.id, key, message.queue, payload, told))
            next_try_at = self.at + fresh.HEAD_START
        else:
            self.unsent = True
            next_try_at = self.at
        self._outbox.append(
            (
                key,
                work.id,
                message.event_name,
                message.queue,
                message.position,
                task.stage_name,
                task.task_name,
                message.attempt,
                payload,
                state,
                self.at,
                sent_at,
                0,
                next_try_at,
                "",
                told,
            )
        )

    def _update_instances(self, changed: Sequence[Recorded]) -> None:
        # What has not changed is not written: SQLite writes every index that an UPDATE names, changed or not.
        alike: dict[tuple[str, ...], list[Sequence[Any]]] = {}
        for work in changed:
            before, now = work.before, work.now
            assert before is not None
            assert now is not None
            values = instance_columns(work.definition, now)
            names: tuple[str, ...] = _INSTANCE_ALWAYS
            if any(values[name] != getattr(before, name) for name in _INSTANCE_TURNED):
                names += _INSTANCE_TURNED
                values["state"] = work.rows.instance.state
            if before.context is not now.context:
                names += ("context",)
            row = (*_instance_cells(names)(values), work.id, before.last_sequence)
            alike.setdefault(names, []).append(row)
        for names, rows in alike.items():
            self._database.update(tables.INSTANCE, names, ("id", "old_last_sequence"), rows)

    def _write_search(self) -> None:
        new: list[Sequence[Any]] = []
        moved: list[Sequence[Any]] = []
        for work in self.touched.values():
            if not (fields := work.definition.search):
                continue
            before, now = work.before, work.now
            assert now is not None
            if before is None:
                new.extend((work.id, name, *cells) for name, cells in search_columns(fields, now.context).items())
            elif before.context is not now.context:
                was = search_columns(fields, before.context)
                found = search_columns(fields, now.context)
                moved.extend((*cells, work.id, name) for name, cells in found.items() if cells != was[name])
        self._database.insert(tables.SEARCH, new)
        self._database.update(tables.SEARCH, ("text", "number", "boolean"), ("instance_id", "name"), moved)

    def _write_humans(self) -> None:
        new: list[Sequence[Any]] = []
        moved: list[Sequence[Any]] = []
        for work in self.touched.values():
            for key, row in work.rows.humans.items():
                if key in work.rows.new_humans:
                    new.append(_new_human_cells(row.__dict__))
                else:
                    moved.append((*_human_cells(row.__dict__), key, work.rows.humans_before[key]))
        self._database.insert(tables.HUMAN_TASK, new)
        self._database.update(tables.HUMAN_TASK, _HUMAN_SET, ("id", "old_state"), moved)

    def _write_deadlines(self) -> None:
        gone: list[tuple[Any, ...]] = []
        armed: list[tuple[Any, ...]] = []
        for work in self.touched.values():
            goes_on = _goes_on(work)
            tasks = range(len(work.definition.tasks)) if goes_on else tuple(work.rows.tasks)
            before, now = _clocks(tasks, work.before), _clocks(tasks, work.now)
            if goes_on:
                # What fell due meanwhile has no row any more: all anew (deadlines, Note [A deadline goes off once]).
                gone.extend((work.id, *key) for key in before.keys() | now.keys())
                before = {}
            for key, clock in before.items():
                if now.get(key) != clock:
                    gone.append((work.id, *key))
            for key, clock in now.items():
                if before.get(key) != clock:
                    attempt, due_at = clock
                    if (work.id, *key[1:], attempt) in self._in_line and key[0] == DeadlineKind.TASK_TIMEOUT:
                        armed.append((work.id, *key, attempt, due_at + STOPPED))
                        continue
                    armed.append((work.id, *key, *clock))
                    if self.earliest_deadline is None or clock[1] < self.earliest_deadline:
                        self.earliest_deadline = clock[1]
        self._database.delete(tables.DEADLINE, ("instance_id", "kind", "position", "compensation"), gone)
        self._database.insert(tables.DEADLINE, armed)


_INSTANCE_ALWAYS = ("business_status", "active_stage", "failed_tasks", "last_sequence", "updated_at")
_INSTANCE_TURNED = ("state", "health", "finished_at")
_STAGE_SET = ("state", "activated_at", "finished_at")
_TASK_SET = (
    "state",
    "attempt",
    "queue",
    "offered_at",
    "assigned_to",
    "claimed_by",
    "outcome",
    "output",
    "error",
    "due_at",
    "scheduled_at",
    "started_at",
    "finished_at",
)
_HUMAN_SET = (
    "state",
    "assigned_to",
    "assigned_kind",
    "claimed_by",
    "decided_by",
    "outcome",
    "data",
    "comment",
    "closed_at",
)
_BY_POSITION = ("instance_id", "position", "old_state")
_JSON = frozenset({"output", "error", "data", "context"})

Cells = Callable[[Mapping[str, Any]], Sequence[Any]]


def _cells(names: Sequence[str]) -> Cells:
    """This will make what reads these columns from a row's values, as they are written: JSON and states as text."""
    pick = itemgetter(*names)
    written = [(place, dump if name in _JSON else str) for place, name in enumerate(names) if name in {*_JSON, "state"}]

    def cells(values: Mapping[str, Any]) -> Sequence[Any]:
        row = [*pick(values)]
        for place, write in written:
            if row[place] is not None:
                row[place] = write(row[place])
        return row

    return cells


_stage_cells, _task_cells, _human_cells = _cells(_STAGE_SET), _cells(_TASK_SET), _cells(_HUMAN_SET)
_new_instance_cells, _new_human_cells = _cells([*tables.INSTANCE.columns]), _cells([*tables.HUMAN_TASK.columns])
_instance_cells = lru_cache(_cells)


def _moved(
    changed: Sequence[Recorded],
    rows_of: Callable[[Recorded], Iterator[tuple[StageInstance | TaskInstance, str]]],
    cells: Cells,
) -> list[Sequence[Any]]:
    return [(*cells(row.__dict__), work.id, row.position, before) for work in changed for row, before in rows_of(work)]


def _stages(work: Recorded) -> Iterator[tuple[StageInstance | TaskInstance, str]]:
    assert work.before is not None
    for position, row in work.rows.stages.items():
        yield row, str(work.before.stages[position].state)


def _tasks(work: Recorded) -> Iterator[tuple[StageInstance | TaskInstance, str]]:
    assert work.before is not None
    known = len(work.before.tasks)
    for position, row in work.rows.tasks.items():
        if position < known:
            yield row, str(work.before.tasks[position].state)


def _new_instance(work: Recorded) -> Sequence[Any]:
    assert work.now is not None
    now, definition = work.now, work.definition
    values = {
        **instance_columns(definition, now),
        "id": work.id,
        "template_id": work.template_id,
        "workflow_name": definition.workflow_name,
        "component_name": definition.component_name,
        "version": work.version,
        "business_ref_no": now.business_ref_no,
        "started_by": now.started_by,
        "created_at": now.created_at,
    }
    return _new_instance_cells(values)


def _new_stages(work: Recorded) -> Iterator[tuple[Any, ...]]:
    moved = work.rows.stages
    for stage in work.definition.stages:
        row = moved.get(stage.position)
        known = (work.id, stage.position, stage.stage_name, float(stage.stage_order))
        if row is None:
            yield (*known, "PENDING", None, None)
        else:
            yield (*known, str(row.state), row.activated_at, row.finished_at)


def _new_tasks(work: Recorded) -> Iterator[tuple[Any, ...]]:
    """The tasks that have no rows yet: all of an instance that begins, else those that plugins have become."""
    moved, written = work.rows.tasks, len(work.before.tasks) if work.before is not None else 0
    if written == len(work.definition.tasks):
        return
    for task in work.definition.tasks[written:]:
        row = moved.get(task.position)
        known = (
            work.id,
            task.position,
            task.stage_position,
            task.stage_name,
            task.task_name,
            str(task.kind),
        )
        if row is None:
            yield (*known, *_UNTOUCHED)
        else:
            yield (*known, *_task_cells(row.__dict__))


_UNTOUCHED = ("PENDING", 0, "", None, None, None, None, None, None, None, None, None, None)


def _goes_on(work: Recorded) -> bool:
    before, now = work.before, work.now
    return (
        before is not None
        and now is not None
        and before.state == InstanceState.SUSPENDED
        and now.state != InstanceState.SUSPENDED
    )


def _clocks(tasks: Iterable[int], snapshot: Snapshot | None) -> dict[tuple[str, int, bool], tuple[int, dt.datetime]]:
    """The clocks that a snapshot wants, of these tasks: (kind, position, compensation) -> (attempt, due)."""
    clocks: dict[tuple[str, int, bool], tuple[int, dt.datetime]] = {}
    if snapshot is None:
        return clocks
    if snapshot.timeout_at is not None:
        clocks[DeadlineKind.INSTANCE_TIMEOUT.value, -1, False] = (0, snapshot.timeout_at)
    known = len(snapshot.tasks)
    for position in tasks:
        if position >= known:
            continue
        task = snapshot.tasks[position]
        if task.timeout_at is not None:
            clocks[DeadlineKind.TASK_TIMEOUT.value, position, False] = (task.attempt, task.timeout_at)
        if task.retry_at is not None:
            clocks[DeadlineKind.RETRY.value, position, False] = (task.attempt, task.retry_at)
        undoing = task.compensation
        if undoing is not None:
            if undoing.timeout_at is not None:
                clocks[DeadlineKind.TASK_TIMEOUT.value, position, True] = (undoing.attempt, undoing.timeout_at)
            if undoing.retry_at is not None:
                clocks[DeadlineKind.RETRY.value, position, True] = (undoing.attempt, undoing.retry_at)
    return clocks
