"""What a step is: a function with a name, what it is told, what it may answer.

    @step("score_risk")
    def score_risk(task: StepTask) -> Done:
        return Done({"risk_score": task.context["amount"] / 1000})

A template names it: `{"task_name": "score", "task_type": "STEP", "step": "score_risk"}`, or as the undoing of a task:
`"compensate": {"step": "release_limit"}`. Only names that code has registered can be run: a template is data, and data
never picks what to import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StepTask:
    """What a step is told: whose turn it is, the context, and, after a wait, the signal that came and its own memory.

    `output` is that of the task that a compensation undoes.
    """

    instance_id: str
    business_ref_no: str
    stage_name: str
    task_name: str
    attempt: int
    context: Mapping[str, Any]
    compensation: bool = False
    signal: Any = None
    memory: Any = None
    output: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """The step is done; `output` is merged into the context."""

    output: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The step goes on when a Signal of this name comes: it is called again with the payload and its `memory`."""

    signal: str
    memory: Any = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; the task's retry and failure policies apply. What the step wrote is undone."""

    code: str
    message: str = ""
    details: Any = None


StepFunction = Callable[[StepTask], Done | Waiting | Failed]
_registered: dict[str, StepFunction] = {}


class UnknownStep(LookupError):
    """No code has registered a step of this name. Add its module to STEP_MODULES, or correct the template."""


def step(name: str) -> Callable[[StepFunction], StepFunction]:
    """This will register a function as the step of that name; a second one of the same name is a mistake."""

    def register(function: StepFunction) -> StepFunction:
        if _registered.get(name, function) is not function:
            raise ValueError(f"There are two steps named {name!r}.")
        _registered[name] = function
        return function

    return register


def find(name: str) -> StepFunction:
    """This will give the step of that name. Raises UnknownStep."""
    try:
        return _registered[name]
    except KeyError:
        raise UnknownStep(name) from None
