"""Runs steps: each in the transaction that records what became of it, so that a crash leaves neither or both."""

from __future__ import annotations

import datetime as dt
import importlib
import logging
import uuid
from collections.abc import Callable
from typing import Any

from workflows import failpoints
from workflows.conf import settings
from workflows.engine.commands import AwaitSignal, CompleteTask, FailTask, OnTask
from workflows.engine.lifecycle import InstanceState, TaskState
from workflows.models import TaskInstance
from workflows.runtime.asking import Asked, Turn, TurnWork
from workflows.runtime.handling import handle
from workflows.runtime.listeners import Committed
from workflows.runtime.projection import STEP_QUEUE
from workflows.runtime.workers import Worker
from workflows.steps.step import Done, StepTask, UnknownStep, Waiting, find

logger = logging.getLogger(__name__)

_BATCH = 50


class StepRunner:
    """Takes steps whose turn has come, oldest first, and runs them. `now` tells the time."""

    def __init__(self, *, now: Callable[[], dt.datetime]) -> None:
        for module in settings.STEP_MODULES:
            importlib.import_module(module)
        self._now = now
        self.worker = Worker(name="steps", work=self.run_due)

    def heard(self, committed: Committed) -> None:
        """This will wake the runner when a commit has brought it work."""
        if committed.steps:
            self.worker.wake()

    def run_due(self) -> float | None:
        """This will run what is there, one transaction each."""
        due = list(
            TaskInstance.objects.filter(
                queue=STEP_QUEUE, state__in=[TaskState.SCHEDULED, TaskState.STARTED, TaskState.COMPENSATING]
            )
            .exclude(instance__state=InstanceState.SUSPENDED)
            .order_by("offered_at", "id")
            .values_list("instance", "stage_name", "task_name", "state")[:_BATCH]
        )
        for instance, stage_name, task_name, state in due:
            run_step(
                instance,
                stage_name=stage_name,
                task_name=task_name,
                compensation=state == TaskState.COMPENSATING,
                at=self._now(),
            )
        return 0 if len(due) == _BATCH else None


def run_step(instance: uuid.UUID, *, stage_name: str, task_name: str, compensation: bool, at: dt.datetime) -> None:
    """This will run one step, if it is still its turn once the instance is locked."""
    turn = Turn(stage_name=stage_name, task_name=task_name, compensation=compensation, work=_perform)
    handle(Asked(command=turn, target=instance, actor="step"), at=at)


def _perform(work: TurnWork) -> OnTask:
    definition, snapshot, task = work.definition, work.snapshot, work.task
    undoing, compensate = task.compensation, definition.compensate
    name = compensate.step if work.compensation and compensate else definition.step
    told = StepTask(
        instance_id=snapshot.instance_id,
        business_ref_no=snapshot.business_ref_no,
        stage_name=definition.stage_name,
        task_name=definition.task_name,
        attempt=undoing.attempt if work.compensation and undoing else task.attempt,
        context=snapshot.context,
        compensation=work.compensation,
        signal=None if work.compensation else task.inbox,
        memory=None if work.compensation else task.memory,
        output=undoing.output if work.compensation and undoing else None,
        extra={**definition.extra, **(compensate.extra if work.compensation and compensate else {})},
    )
    about: dict[str, Any] = {
        "stage_name": told.stage_name,
        "task_name": told.task_name,
        "attempt": told.attempt,
        "compensation": work.compensation,
    }
    try:
        with work.savepoint():
            failpoints.hit("step_begin")
            outcome = find(name or "")(told)
            failpoints.hit("step_end")
            if isinstance(outcome, Done):
                return CompleteTask(**about, output=dict(outcome.output))
            if isinstance(outcome, Waiting) and not work.compensation:
                return AwaitSignal(**about, name=outcome.signal, memory=outcome.memory)
            raise _GaveUp(outcome)
    except _GaveUp as gave_up:
        return FailTask(**about, error=gave_up.error)
    except UnknownStep:
        return FailTask(**about, error={"code": "unknown_step", "message": f"No step {name!r} is registered here."})
    except Exception as error:
        logger.exception("The step %s failed", name)
        return FailTask(**about, error={"code": type(error).__name__, "message": str(error)[:2000]})


class _GaveUp(Exception):
    """Leaves the savepoint, so that what a failed step wrote is undone."""

    def __init__(self, outcome: object) -> None:
        self.error = {
            "code": getattr(outcome, "code", "bad_outcome"),
            "message": getattr(outcome, "message", f"A step answers Done, Waiting or Failed, not {outcome!r}."),
            "details": getattr(outcome, "details", None),
        }
