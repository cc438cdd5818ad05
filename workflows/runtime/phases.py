"""The stage of an activity as people see it: its phases, who takes part in each, and how they stand.

The one place where the state of a task becomes that of a plugin, for API and pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from workflows.definitions.schema import (
    PHASES,
    FailurePolicy,
    FrozenPhase,
    Phase,
    StageDefinition,
    TaskDefinition,
    WorkflowDefinition,
)
from workflows.engine.lifecycle import StageState, TaskState


class PluginState(StrEnum):
    """How a plugin stands. Who was handed the work is IN_PROGRESS, also where nobody has said to have begun."""

    NOT_STARTED = "NOT_STARTED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETE = "COMPLETE"
    ERROR = "ERROR"
    NOT_APPLICABLE = "NOT_APPLICABLE"


class PhaseState(StrEnum):
    """How a phase stands. MANDATORY_COMPLETED: only optional plugins are still at work."""

    NOT_STARTED = "NOT_STARTED"
    IN_PROGRESS = "IN_PROGRESS"
    MANDATORY_COMPLETED = "MANDATORY_COMPLETED"
    COMPLETE = "COMPLETE"
    ERROR = "ERROR"


PLUGIN_STATES: Mapping[TaskState, PluginState] = {
    TaskState.PENDING: PluginState.NOT_STARTED,
    TaskState.SCHEDULED: PluginState.IN_PROGRESS,
    TaskState.STARTED: PluginState.IN_PROGRESS,
    TaskState.WAITING: PluginState.IN_PROGRESS,
    TaskState.COMPLETED: PluginState.COMPLETE,
    TaskState.FAILED: PluginState.ERROR,
    # Its condition did not hold, or somebody found it not needed; withdrawn; undone: it counts for nothing any more.
    TaskState.SKIPPED: PluginState.NOT_APPLICABLE,
    TaskState.CANCELLED: PluginState.NOT_APPLICABLE,
    TaskState.COMPENSATED: PluginState.NOT_APPLICABLE,
    TaskState.COMPENSATING: PluginState.IN_PROGRESS,
    TaskState.COMPENSATION_FAILED: PluginState.ERROR,
}


class Seen(NamedTuple):
    """What is known of a task: its state, its newest error, and what was said last of its progress."""

    state: TaskState
    error: Mapping[str, Any] | None = None
    percent: float | None = None
    message: str = ""


Look = Callable[[int], Seen]
"""By position."""


@dataclass(frozen=True, slots=True)
class ShownPlugin:
    """A plugin; without a `task` it was kept out by its filter policy."""

    name: str
    mandatory: bool
    labels: Mapping[str, str]
    state: PluginState
    message: str = ""
    percent: float | None = None
    task: TaskDefinition | None = None


@dataclass(frozen=True, slots=True)
class ShownPhase:
    """A phase; `warning`: somebody in it failed who holds nobody up."""

    phase: Phase
    state: PhaseState
    plugins: tuple[ShownPlugin, ...] = ()
    warning: bool = False


def phases_of(
    definition: WorkflowDefinition, stage: StageDefinition, *, stage_state: str, look: Look
) -> tuple[ShownPhase, ...]:
    """This will show the three phases of an activity, also those that have not begun."""
    shown = []
    reached = stage_state != StageState.PENDING
    for phase in PHASES:
        frozen = stage.frozen(phase)
        one = _phase(definition, phase, frozen, reached=reached, look=look)
        shown.append(one)
        # A phase begins when the one before it is done; so the first that is not is the last that has begun.
        reached = reached and one.state is PhaseState.COMPLETE
    return tuple(shown)


def _phase(
    definition: WorkflowDefinition, phase: Phase, frozen: FrozenPhase | None, *, reached: bool, look: Look
) -> ShownPhase:
    if frozen is None:
        return ShownPhase(phase, PhaseState.NOT_STARTED)
    tasks = definition.tasks[frozen.first : frozen.end]
    plugins = (*(_plugin(task, look(task.position)) for task in tasks), *_kept_out(frozen))
    warning = any(one.state is PluginState.ERROR and one.task and not _holds_up(one.task) for one in plugins)
    return ShownPhase(phase, _state(plugins) if reached else PhaseState.NOT_STARTED, plugins, warning)


def _state(plugins: tuple[ShownPlugin, ...]) -> PhaseState:
    at_work = [one for one in plugins if one.state in (PluginState.NOT_STARTED, PluginState.IN_PROGRESS)]
    if any(one.state is PluginState.ERROR and one.task and _holds_up(one.task) for one in plugins):
        return PhaseState.ERROR
    if not at_work:
        return PhaseState.COMPLETE
    nobody_must = any(one.mandatory and one.task for one in plugins) and not any(one.mandatory for one in at_work)
    return PhaseState.MANDATORY_COMPLETED if nobody_must else PhaseState.IN_PROGRESS


def _holds_up(task: TaskDefinition) -> bool:
    return task.on_failure is not FailurePolicy.CONTINUE


def _plugin(task: TaskDefinition, seen: Seen) -> ShownPlugin:
    part = task.plugin
    assert part is not None
    state = PLUGIN_STATES[seen.state]
    message, percent = seen.message, seen.percent
    if state is PluginState.ERROR:
        error = seen.error or {}
        message, percent = str(error.get("message") or error.get("code") or ""), None
    return ShownPlugin(part.name, part.mandatory, part.labels, state, message, percent, task)


def _kept_out(frozen: FrozenPhase) -> Iterator[ShownPlugin]:
    for one in frozen.excluded:
        yield ShownPlugin(one.name, one.mandatory, one.labels, PluginState.NOT_APPLICABLE)
