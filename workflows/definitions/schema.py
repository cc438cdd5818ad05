"""What a template says, as frozen values: workflow, stages, tasks, policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

Json = Any
"""A JSON value as the strict parser gives it: None, bool, int, float, str, list or dict."""


class TaskKind(StrEnum):
    """Who does a task: a service behind a queue, a person, or an in-process step."""

    SERVICE = "SERVICE"
    HUMAN = "HUMAN"
    STEP = "STEP"


class Target(StrEnum):
    """What a workflow does to the subscription that it is about."""

    CREATE = "CREATE"
    MODIFY = "MODIFY"
    TERMINATE = "TERMINATE"
    VALIDATE = "VALIDATE"
    RECONCILE = "RECONCILE"
    SYSTEM = "SYSTEM"


class FailurePolicy(StrEnum):
    """What follows when the attempts of a task are spent."""

    HALT = "halt"
    ROLLBACK = "rollback"
    CONTINUE = "continue"


class Effect(StrEnum):
    """What an outcome that a person picks does to the task."""

    COMPLETE = "complete"
    FAIL = "fail"
    RETURN = "return"


class Phase(StrEnum):
    """The three phases of an activity, in their order: one after another, all together, one after another."""

    PRE = "pre"
    PARALLEL = "parallel"
    POST = "post"


PHASES = tuple(Phase)
ACTIVITY_KIND = "activity"
"""What a stage says of itself whose work is done by plugins."""


class ExcludedPlugin(NamedTuple):
    """A plugin of a phase that its filter policy keeps out of this instance: recorded, never waited for."""

    name: str
    mandatory: bool
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PluginPart:
    """What a task is in an activity: which plugin, in which phase; `labels` are what an auditor wants to know."""

    name: str
    activity: str
    phase: Phase
    mandatory: bool
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FrozenPhase:
    """Who takes part in a phase of an instance: the tasks `first … end-1`, and who was kept out."""

    phase: Phase
    first: int
    end: int
    excluded: tuple[ExcludedPlugin, ...] = ()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a task is tried in one round, and how long to wait in between (seconds)."""

    max_attempts: int = 1
    delay_seconds: float = 0
    backoff: float = 2.0
    max_delay_seconds: float = 3600
    jitter: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """One of the answers that a person may give to a human task.

    `return_to` is the name as the template says it, `return_position` the position of the task that it means.
    """

    name: str
    label: str
    effect: Effect = Effect.COMPLETE
    return_to: str | None = None
    return_position: int | None = None


DEFAULT_OUTCOMES = (Outcome(name="complete", label="Complete"),)


@dataclass(frozen=True, slots=True)
class CompensationDefinition:
    """How a completed task is undone in a rollback: by a queue, a step or a person (exactly one of the three).

    `after_failure`: an attempt that failed, or that a rollback withdrew, is undone, too: it may have had its effect.
    `extra` are the fields that travel in its `CompensateTask`, over those of the task.
    """

    task_queue: str | None = None
    step: str | None = None
    assigned_to: str | None = None
    retry: RetryPolicy = RetryPolicy()
    timeout_seconds: float | None = None
    after_failure: bool = False
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """One task of a template.

    `position` counts tasks over the whole workflow, in stage order and then template order; `parents` and
    `children` are positions of tasks of the same stage. The engine addresses tasks by position only. What plugins
    have become comes after all tasks of the template, as it came (see growing, Note [A definition grows]).
    """

    task_name: str
    stage_name: str
    position: int
    stage_position: int
    kind: TaskKind
    parents: tuple[int, ...] = ()
    children: tuple[int, ...] = ()
    task_queue: str | None = None
    step: str | None = None
    assigned_to: str | None = None
    business_status: str | None = None
    title: str | None = None
    description: str | None = None
    form: Mapping[str, Json] | None = None
    outcomes: tuple[Outcome, ...] = ()
    due_in_seconds: float | None = None
    escalate_to: str | None = None
    four_eyes: bool = False
    quorum: Json = None
    retry: RetryPolicy = RetryPolicy()
    timeout_seconds: float | None = None
    on_failure: FailurePolicy = FailurePolicy.HALT
    compensate: CompensationDefinition | None = None
    when: Json = None
    has_when: bool = False
    extra: Mapping[str, Json] = field(default_factory=dict)
    plugin: PluginPart | None = None

    @property
    def key(self) -> str:
        """This will give `STAGE/TASK`, the name that people read."""
        return f"{self.stage_name}/{self.task_name}"

    @property
    def offered_outcomes(self) -> tuple[Outcome, ...]:
        """This will give the declared outcomes, or the one default outcome `complete`."""
        return self.outcomes or DEFAULT_OUTCOMES


@dataclass(frozen=True, slots=True)
class StageDefinition:
    """One stage. `position` is its place in ascending `stage_order`; its tasks are `first … end-1` of the workflow.

    The stage of an `activity` has no tasks in the template: `phases` are those that have begun in an instance.
    """

    stage_name: str
    stage_order: float
    position: int
    first: int
    end: int
    activity: str | None = None
    phases: tuple[FrozenPhase, ...] = ()

    def frozen(self, phase: str) -> FrozenPhase | None:
        """This will say who takes part in a phase; None before it has begun for the first time."""
        return next((one for one in self.phases if one.phase == phase), None)


class SearchKind(StrEnum):
    """What a search field holds."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class SearchField:
    """A place of the context that instances are found by. `kind` is what the schema says of it, None: any."""

    name: str
    path: tuple[str, ...]
    kind: SearchKind | None = None


@dataclass(frozen=True)
class WorkflowDefinition:
    """A parsed template: `stages` ascend by `stage_order`, `tasks` by position; `raw` is the JSON as published.

    Without a `target` it is about no subscription; `products` (empty: all) are those that it is for.
    """

    workflow_name: str
    component_name: str
    stages: tuple[StageDefinition, ...]
    tasks: tuple[TaskDefinition, ...]
    context_schema: Mapping[str, Json] | None = None
    on_failure: FailurePolicy = FailurePolicy.HALT
    timeout_seconds: float | None = None
    observers: tuple[str, ...] = ()
    search: tuple[SearchField, ...] = ()
    raw: Mapping[str, Json] = field(default_factory=dict)
    target: Target | None = None
    runs_out_of_sync: bool = False
    products: tuple[str, ...] = ()

    @cached_property
    def task_positions(self) -> Mapping[tuple[str, str], int]:
        """This will map (stage_name, task_name) to the task's position."""
        return {(task.stage_name, task.task_name): task.position for task in self.tasks}

    @cached_property
    def stage_positions(self) -> Mapping[str, int]:
        """This will map stage_name to the stage's position."""
        return {stage.stage_name: stage.position for stage in self.stages}

    def tasks_of(self, stage: int) -> tuple[TaskDefinition, ...]:
        """This will give the tasks of the stage at that position, in template order."""
        where = self.stages[stage]
        return self.tasks[where.first : where.end]
