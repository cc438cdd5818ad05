"""Where an instance is: which way it goes, since when and why, and what is being done just now."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from workflows.definitions.schema import FailurePolicy, TaskDefinition, WorkflowDefinition
from workflows.engine import events as e
from workflows.engine.lifecycle import ENDED, LIVE, ROLLING, UNDOING, InstanceState, TaskState
from workflows.models import LoggedEvent
from workflows.runtime.masking import masked

MOST = 20
"""So many tasks at once are named; a stage may have thousands."""

_UP = frozenset({*LIVE, TaskState.WAITING, TaskState.FAILED})


class Direction(StrEnum):
    """Which way an instance goes, or went last."""

    FORWARD = "forward"
    UNDOING = "undoing"


@dataclass(frozen=True, slots=True)
class Turn:
    """Why and when an instance was turned round; `error` is that of the task whose attempts were spent."""

    at: dt.datetime
    sequence: int
    by: str
    reason: str
    actor: str
    guard: str | None = None
    error: Mapping[str, Any] | None = None
    task: str | None = None

    @property
    def message(self) -> str:
        """This will say in one line why."""
        return str((self.error or {}).get("message") or self.reason)


@dataclass(frozen=True, slots=True)
class Doing:
    """A task that is being done, undone or waited for: `place` of `places` in its stage, and the function behind it."""

    definition: TaskDefinition
    state: str
    attempt: int
    place: int
    places: int

    @property
    def undoing(self) -> bool:
        """This will tell whether it is on its way back."""
        return self.state in UNDOING

    @property
    def function(self) -> str | None:
        """This will name what does it: a step, a queue, or whom it is given to."""
        how = self.definition.compensate if self.undoing else self.definition
        return None if how is None else getattr(how, "step", None) or how.task_queue or how.assigned_to


def direction_of(state: str) -> Direction:
    """This will tell which way an instance in that state goes."""
    turned = state in ROLLING or state == InstanceState.ROLLED_BACK
    return Direction.UNDOING if turned else Direction.FORWARD


def turn_of(instance_id: uuid.UUID, *, template: uuid.UUID, until: int) -> Turn | None:
    """This will tell why it was turned round last, as it may be shown (two queries at most)."""
    log = LoggedEvent.objects.filter(instance=instance_id, sequence__lte=until).order_by("-sequence")
    row = log.filter(event=e.ROLLBACK_STARTED).values("occurred_at", "sequence", "actor", "data").first()
    if row is None:
        return None
    said = row["data"] or {}
    spent: Mapping[str, Any] = {}
    if said.get("by") == "policy":
        # The reason names the task, or says that the instance took too long.
        failed = log.filter(event=e.TASK_FAILED, sequence__lt=row["sequence"]).values("stage_name", "task_name", "data")
        for one in failed[:MOST]:
            if str(said["reason"]).startswith(f"{one['stage_name']}/{one['task_name']} failed"):
                spent = one
                break
    return Turn(
        at=row["occurred_at"],
        sequence=row["sequence"],
        by=str(said.get("by") or "policy"),
        reason=str(said.get("reason") or ""),
        actor=row["actor"],
        guard=said.get("guard"),
        error=masked((spent.get("data") or {}).get("error"), template=template),
        task=f"{spent['stage_name']}/{spent['task_name']}" if spent else None,
    )


def doing(definition: WorkflowDefinition, state: str, tasks: Iterable[tuple[int, str, int]]) -> list[Doing]:
    """This will give what is going on in an instance in that state, of the positions, states, attempts of its tasks."""
    if state in ENDED:
        return []
    going = _UP if direction_of(state) is Direction.FORWARD else UNDOING
    found = []
    for position, how, attempt in tasks:
        task = definition.tasks[position]
        if how in going and not (how == TaskState.FAILED and task.on_failure is FailurePolicy.CONTINUE):
            stage = definition.stages[task.stage_position]
            place, places = position - stage.first + 1, stage.end - stage.first
            found.append(Doing(task, str(how), attempt, place, places))
            if len(found) == MOST:
                break
    return found
