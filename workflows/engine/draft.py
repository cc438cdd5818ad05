"""A snapshot under change: the one mutable thing of the engine, moved by events and by nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from workflows.definitions.schema import FailurePolicy, TaskKind, WorkflowDefinition
from workflows.engine import events as e
from workflows.engine.events import Event
from workflows.engine.lifecycle import LIVE, InstanceState, TaskState
from workflows.engine.snapshot import Snapshot, Stage, Task

# Looked up once: reading a member of an enum costs several times what comparing it does.
_COMPLETED, _SKIPPED, _FAILED = TaskState.COMPLETED, TaskState.SKIPPED, TaskState.FAILED
_PENDING, _WAITING, _COMPENSATION_FAILED = TaskState.PENDING, TaskState.WAITING, TaskState.COMPENSATION_FAILED


class Draft:
    """A snapshot under change: moved by events and by nothing else.

    It copies the rows of tasks once, when the first is touched, so that an event of a large stage costs a memory copy
    and no more; all counts are kept in `put`, the one place where a task changes. `ripe` collects tasks whose last
    parent has become done.
    """

    __slots__ = (
        "_stages",
        "_tasks",
        "active_stage",
        "at",
        "between",
        "blocked",
        "business_ref_no",
        "business_status",
        "context",
        "created_at",
        "deciders",
        "definition",
        "events",
        "failing",
        "finished_at",
        "grown",
        "instance_id",
        "last_sequence",
        "ripe",
        "signals",
        "started_by",
        "state",
        "timed_out",
        "timeout_at",
        "trace",
        "updated_at",
        "with_people",
        "with_services",
    )

    def __init__(
        self,
        definition: WorkflowDefinition,
        snapshot: Snapshot | None,
        *,
        at: dt.datetime,
        instance_id: str = "",
    ) -> None:
        self.at = at
        self.events: list[Event] = []
        self.ripe: list[int] = []
        if snapshot is None:
            snapshot = _unborn(definition, instance_id, at)
        self.grown = snapshot.grown
        self.definition = definition if self.grown is None else self.grown
        self._tasks: tuple[Task, ...] | list[Task] = snapshot.tasks
        self._stages: tuple[Stage, ...] | list[Stage] = snapshot.stages
        (
            self.instance_id,
            self.business_ref_no,
            self.started_by,
            self.state,
            self.business_status,
            self.context,
            self.last_sequence,
            self.created_at,
            self.updated_at,
            self.finished_at,
            self.timeout_at,
            self.timed_out,
            self.active_stage,
            self.blocked,
            self.failing,
            self.with_services,
            self.with_people,
            self.between,
            self.signals,
            self.deciders,
            self.trace,
        ) = snapshot[:21]

    @property
    def tasks(self) -> tuple[Task, ...] | list[Task]:
        """The tasks by position; read only."""
        return self._tasks

    @property
    def stages(self) -> tuple[Stage, ...] | list[Stage]:
        """The stages by position; read only."""
        return self._stages

    def emit(self, event: Event) -> None:
        """This will let the event happen: number it, apply it, keep it."""
        self.apply(event)
        self.events.append(event)

    def on_task(self, name: str, position: int, attempt: int | None, data: Mapping[str, Any] = e.NOTHING) -> None:
        """This will let an event about the task at that position happen."""
        task = self.definition.tasks[position]
        self.emit(Event(name, position, task.stage_name, task.task_name, attempt, data))

    def on_stage(self, name: str, position: int, data: Mapping[str, Any] = e.NOTHING) -> None:
        """This will let an event about the stage at that position happen."""
        self.emit(Event(name, None, self.definition.stages[position].stage_name, data=data))

    def on_instance(self, name: str, data: Mapping[str, Any] = e.NOTHING) -> None:
        """This will let an event about the instance happen."""
        self.emit(Event(name, data=data))

    def apply(self, event: Event) -> None:
        """This will change the draft as the event says."""
        self.last_sequence += 1
        self.updated_at = self.at
        APPLIERS[event.name](self, event)

    def take_ripe(self) -> list[int]:
        """This will hand over the tasks that have become ready since the last call."""
        ripe, self.ripe = self.ripe, []
        return ripe

    def freeze(self) -> Snapshot:
        """This will give the snapshot as it is now."""
        return Snapshot(
            self.instance_id,
            self.business_ref_no,
            self.started_by,
            self.state,
            self.business_status,
            self.context,
            self.last_sequence,
            self.created_at,
            self.updated_at,
            self.finished_at,
            self.timeout_at,
            self.timed_out,
            self.active_stage,
            self.blocked,
            self.failing,
            self.with_services,
            self.with_people,
            self.between,
            self.signals,
            self.deciders,
            self.trace,
            tuple(self._stages),
            tuple(self._tasks),
            self.grown,
        )

    def is_done(self, position: int, task: Task) -> bool:
        """This will tell whether the task counts as done for its children and its stage (contract 3.1)."""
        state = task.state
        if state in (_COMPLETED, _SKIPPED):
            return True
        return state == _FAILED and task.spent and self.definition.tasks[position].on_failure is FailurePolicy.CONTINUE

    def put(self, position: int, new: Task) -> None:
        tasks = self._tasks
        if not isinstance(tasks, list):
            tasks = self._tasks = list(tasks)
        old = tasks[position]
        tasks[position] = new
        definition = self.definition.tasks[position]
        person = definition.kind is TaskKind.HUMAN
        for task, sign in ((old, -1), (new, 1)):
            state = task.state
            if state in LIVE:
                if person:
                    self.with_people += sign
                else:
                    self.with_services += sign
            elif state == _WAITING:
                if task.signal is None:
                    self.between += sign
                else:
                    self.with_services += sign
            elif state == _FAILED:
                self.failing += sign
                if task.spent and definition.on_failure is not FailurePolicy.CONTINUE:
                    self.blocked += sign
            elif state == _COMPENSATION_FAILED:
                self.failing += sign
        was, now = self.is_done(position, old), self.is_done(position, new)
        skipped = (new.state == _SKIPPED) - (old.state == _SKIPPED)
        if was is not now or skipped:
            self._recount(position, definition.stage_position, (was - now), skipped)

    def _recount(self, position: int, stage: int, undone: int, skipped: int) -> None:
        where = self._stages[stage]
        still = self._left(position, stage, where.left, undone) if where.left else where.left
        self.put_stage(
            stage, where._replace(remaining=where.remaining + undone, skipped=where.skipped + skipped, left=still)
        )
        if not undone:
            return
        tasks = self._tasks
        assert isinstance(tasks, list)
        for child in self.definition.tasks[position].children:
            was = tasks[child]
            left = was.waiting_for + undone
            tasks[child] = was._replace(waiting_for=left)
            if not left and was.state == _PENDING:
                self.ripe.append(child)

    def _left(self, position: int, stage: int, left: tuple[int, ...], undone: int) -> tuple[int, ...]:
        phases = self.definition.stages[stage].phases
        return tuple(
            count + undone if phase.first <= position < phase.end else count
            for phase, count in zip(phases, left, strict=True)
        )

    def grow(self, definition: WorkflowDefinition, stage: int) -> None:
        """This will let the instance follow a definition with one more phase of that stage."""
        new = definition.tasks[len(self._tasks) :]
        self.definition = self.grown = definition
        self._tasks = [*self._tasks, *(Task(waiting_for=len(task.parents)) for task in new)]
        where = self._stages[stage]
        self.put_stage(stage, where._replace(remaining=where.remaining + len(new), left=(*where.left, len(new))))

    def put_stage(self, position: int, new: Stage) -> None:
        if not isinstance(self._stages, list):
            self._stages = list(self._stages)
        self._stages[position] = new


APPLIERS: dict[str, Callable[[Draft, Event], None]] = {}
"""What each event does to a draft, by the event's name; filled in by `evolve`."""


def _unborn(definition: WorkflowDefinition, instance_id: str, at: dt.datetime) -> Snapshot:
    return Snapshot(
        instance_id=instance_id,
        business_ref_no="",
        started_by="",
        state=InstanceState.RUNNING,
        business_status=None,
        context={},
        last_sequence=0,
        created_at=at,
        updated_at=at,
        finished_at=None,
        timeout_at=None,
        timed_out=False,
        active_stage=-1,
        blocked=0,
        failing=0,
        with_services=0,
        with_people=0,
        between=0,
        signals=(),
        deciders=(),
        trace="",
        stages=tuple(Stage(remaining=stage.end - stage.first) for stage in definition.stages),
        tasks=tuple(Task(waiting_for=len(task.parents)) for task in definition.tasks),
    )
