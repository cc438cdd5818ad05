"""Registers steps: functions with a title and policies.

    @step("Score the risk", retry=Retry(max_attempts=3), compensate=release_limit)
    def score_risk(state: dict) -> dict:
        return {"risk_score": state["amount"] / 1000}

A step is registered under the dotted name of its function, or under a name that it is given. A template names it:
`{"task_name": "score", "task_type": "STEP", "step": "shop.flows.score_risk"}`, or as the undoing of a task:
`"compensate": {"step": "shop.flows.release_limit"}`. Only names that code has registered can be run: a template is
data, and data never picks what to import.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from workflows.definitions.schema import FailurePolicy, RetryPolicy
from workflows.steps.links import CANNOT_UNDO, Step
from workflows.steps.outcomes import Done, Failed, Outcome, Perform, Skipped, StepFunction, StepTask, Waiting

Retry = RetryPolicy
FOR_EVER = 1_000_000
"""So many attempts are for ever."""


class UnknownStep(LookupError):
    """No code has registered a step of this name.

    Put it into the `flows` module of an installed app, add its module to STEP_MODULES, or correct the template.
    """


_registered: dict[str, Step] = {}


def step(
    title: str = "",
    *,
    name: str | None = None,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    compensate: Step | None = None,
    after_failure: bool = False,
    on_failure: str | None = None,
) -> Callable[[StepFunction], Step]:
    """This will register a function as a step.

    The function takes what it wants by name: `state` (the instance's context, a copy that is its own), `task` (a
    StepTask), and any key of the state; it answers a dict, whose keys replace those of the state, or None, Done,
    Waiting, Failed or Skipped. What it raises fails the attempt, and undoes what it wrote.

    `timeout` is seconds for an attempt, its waiting included; `compensate` is the step that undoes this one when the
    instance is rolled back, `after_failure` also where it failed or was waiting and may have had an effect outside;
    `on_failure` is `halt`, `rollback` or `continue`. Two steps of one name raise ValueError, an undoing that is called
    back TypeError.
    """
    if compensate is not None and compensate.is_called_back:
        raise TypeError(f"{compensate.title!r}: {CANNOT_UNDO}")

    def register(function: StepFunction) -> Step:
        made = Step(
            function,
            name=name or name_of(function),
            title=title or function.__name__.replace("_", " ").capitalize(),
            perform=performing(function),
            retry=retry,
            timeout_seconds=timeout,
            compensate=compensate,
            after_failure=after_failure,
            on_failure=FailurePolicy(on_failure) if on_failure is not None else None,
        )
        return remember(made)

    return register


def retrystep(title: str = "", *, every: float = 60.0, **more: Any) -> Callable[[StepFunction], Step]:
    """This will register a step that waits `every` seconds after a failure and is then tried again, for ever."""
    policy = RetryPolicy(max_attempts=FOR_EVER, delay_seconds=every, backoff=1.0, max_delay_seconds=every, jitter=False)
    return step(title, retry=policy, **more)


def remember(made: Step) -> Step:
    """This will register a step under its name. Raises ValueError where another function has it."""
    known = _registered.get(made.name)
    if known is not None and not _same(known.function, made.function):
        raise ValueError(f"There are two steps named {made.name!r}.")
    _registered[made.name] = made
    return made


def _same(one: StepFunction, other: StepFunction) -> bool:
    # A module that is loaded again (by a development server, say) registers the same functions anew.
    return one is other or (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__) != (None, None)


def find(name: str) -> Step:
    """This will give the step of that name. Raises UnknownStep."""
    try:
        return _registered[name]
    except KeyError:
        raise UnknownStep(name) from None


def name_of(function: Callable[..., Any]) -> str:
    """This will give the dotted name of a function of a module. Raises ValueError for any other."""
    if not function.__qualname__.isidentifier():
        raise ValueError(
            f"{function.__qualname__} is not a function of a module; name the step: name='orders.reserve'."
        )
    return f"{function.__module__}.{function.__qualname__}"


class MissingKey(KeyError):
    """A step asks for a key that the state does not hold."""

    def __str__(self) -> str:
        return f"The state has no {self.args[0]!r}."


def performing(function: StepFunction) -> Perform:
    """This will give what calls a function with what its parameters ask for, and reads its answer."""
    wanted = [
        (name, parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]

    def perform(task: StepTask) -> Outcome:
        state = task.context
        values: dict[str, Any] = {}
        for name, default in wanted:
            if name == "state":
                values[name] = state
            elif name == "task":
                values[name] = task
            elif name in state:
                values[name] = state[name]
            elif default is inspect.Parameter.empty:
                raise MissingKey(name)
        return answer_of(function(**values))

    return perform


def answer_of(said: Any) -> Outcome:
    """This will read what a function of a step has answered."""
    if said is None:
        return Done()
    if isinstance(said, Mapping):
        return Done(said)
    if isinstance(said, Done | Waiting | Failed | Skipped):
        return said
    return Failed("bad_outcome", f"A step answers a dict, None, Done, Waiting, Failed or Skipped, not {said!r:.200}.")
