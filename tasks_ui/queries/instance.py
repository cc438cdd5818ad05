"""One instance with its stages and tasks, as plain values."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks_ui import words
from tasks_ui.words import Sign
from workflows.definitions.schema import FailurePolicy, TaskDefinition, WorkflowDefinition
from workflows.engine.lifecycle import ENDED, ROLLING, InstanceState, TaskState
from workflows.runtime.phases import ShownPhase
from workflows.runtime.whereabouts import Doing, doing

OPEN = (TaskState.SCHEDULED, TaskState.STARTED)
"""The states of a task that somebody or something is doing."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task: what the template says of it, and how it stands."""

    definition: TaskDefinition
    kind: str
    title: str
    sign: Sign
    state: str
    attempt: int
    queue: str
    assigned_to: str | None
    claimed_by: str | None
    outcome: str | None
    error: Mapping[str, Any]
    due_at: dt.datetime | None
    scheduled_at: dt.datetime | None
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    retry_at: dt.datetime | None
    human_task: uuid.UUID | None
    done: bool
    fact: str
    percent: float | None = None
    message: str = ""

    @property
    def role(self) -> str:
        """This will say what it is in an activity: its phase, and whether it is optional."""
        part = self.definition.plugin
        return "" if part is None else f"{part.phase}" if part.mandatory else f"{part.phase}, optional"

    @property
    def progress(self) -> str:
        """This will say how far the work is, in a few words."""
        percent = "" if self.percent is None else f"{self.percent:.0f} %"
        return " · ".join(part for part in (percent, self.message) if part)

    @property
    def node(self) -> str:
        """This will give STAGE/TASK."""
        return self.definition.key

    @property
    def position(self) -> int:
        """This will give the task's place in the workflow."""
        return self.definition.position

    @property
    def took(self) -> dt.timedelta | None:
        """This will tell how long the newest attempt took from its sending."""
        if self.finished_at is None or self.scheduled_at is None:
            return None
        return self.finished_at - self.scheduled_at

    @property
    def attempts_allowed(self) -> int:
        """This will tell how many attempts one round has."""
        return self.definition.retry.max_attempts

    @property
    def kind_word(self) -> str:
        """This will name who does it."""
        return words.KIND_WORDS.get(self.kind, self.kind.capitalize())

    @property
    def kind_icon(self) -> str:
        """This will give the icon of who does it."""
        return words.KIND_ICONS.get(self.kind, "service")

    @property
    def holds_up(self) -> bool:
        """This will tell whether the instance waits for it when it has failed."""
        return self.definition.on_failure is not FailurePolicy.CONTINUE

    @property
    def unhealthy(self) -> bool:
        """This will tell whether it has failed, or its undoing has."""
        return self.state in (TaskState.FAILED, TaskState.COMPENSATION_FAILED)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage with its tasks."""

    name: str
    position: int
    state: str
    sign: Sign
    note: str
    tasks: tuple[Task, ...]
    done: bool
    hidden: int = 0
    activity: str = ""
    phases: tuple[ShownPhase, ...] = ()


@dataclass(slots=True)
class Instance:
    """All that the page shows of an instance."""

    id: uuid.UUID
    reference: str
    workflow: str
    component: str
    version: int
    template_id: uuid.UUID
    state: str
    health: str
    sign: Sign
    business_status: str | None
    context: Mapping[str, Any]
    started_by: str
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None
    sequence: int
    last_sequence: int
    definition: WorkflowDefinition
    frozen: bool
    now: dt.datetime
    timed_out: bool = False
    stages: list[Stage] = field(default_factory=list)

    @property
    def tasks(self) -> Iterable[Task]:
        """This will give the tasks in the order of the workflow."""
        return (task for stage in self.stages for task in stage.tasks)

    @property
    def by_node(self) -> dict[str, Task]:
        """This will give the tasks by STAGE/TASK."""
        return {task.node: task for task in self.tasks}

    @property
    def titles(self) -> dict[str, str]:
        """This will give the tasks' titles by STAGE/TASK."""
        return {task.node: task.title for task in self.tasks}

    @property
    def ended(self) -> bool:
        """This will tell whether it is over."""
        return self.state in ENDED

    @property
    def rolling(self) -> bool:
        """This will tell whether it is, or was, rolled back."""
        return self.state in ROLLING or self.state == InstanceState.ROLLED_BACK

    @property
    def doing(self) -> list[Doing]:
        """This will give what is being done, undone or waited for."""
        return doing(self.definition, self.state, ((task.position, task.state, task.attempt) for task in self.tasks))

    @property
    def needs_someone(self) -> bool:
        """This will tell whether its badge says so."""
        return self.state in (InstanceState.FAILED, InstanceState.ROLLBACK_FAILED)

    @property
    def age(self) -> dt.timedelta:
        """This will tell how long it has been going on, or went on."""
        return (self.finished_at or self.now) - self.created_at

    @property
    def counts(self) -> dict[str, int]:
        """This will count the tasks by what the heading says."""
        states = Counter(task.state for task in self.tasks)
        return {
            "all": states.total(),
            "done": states[TaskState.COMPLETED] + states[TaskState.COMPENSATED],
            "skipped": states[TaskState.SKIPPED],
            "failed": states[TaskState.FAILED] + states[TaskState.COMPENSATION_FAILED],
        }
