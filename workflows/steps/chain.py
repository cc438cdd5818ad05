"""Steps in a line, as Python says it: `begin >> reserve >> charge >> ship`.

What is not a plain step of its own:

    inputstep("Check the address", assigned_to="backoffice", form={…})    a form for people, in the middle
    conditional(lambda state: state["vip"])(call_customer >> send_gift)   steps that may have nothing to do
    focus("order")(reserve >> charge)                                     steps that see one key of the state
    group("Book it", reserve >> charge)                                   many functions as one step, in one transaction

Each gives what can stand in a chain, also within one another (but people and waiting steps not within `group`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from workflows.definitions.schema import FailurePolicy, RetryPolicy
from workflows.steps.links import Chain, Input, Link, Step, Wrap, chain
from workflows.steps.outcomes import Done, Failed, Outcome, Perform, Skipped, StepTask, Waiting
from workflows.steps.state import copy_of
from workflows.steps.step import remember

Predicate = Callable[[dict[str, Any]], bool]


def inputstep(
    title: str,
    *,
    assigned_to: str,
    form: Mapping[str, Any] | None = None,
    outcomes: Sequence[Mapping[str, Any]] | None = None,
    due_in_seconds: float | None = None,
    timeout: float | None = None,
    on_failure: str | None = None,
    **more: Any,
) -> Input:
    """This will give a task for people: what they fill in goes into the state. `form` is a JSON Schema."""
    keys = {
        "assigned_to": assigned_to,
        "form": form,
        "outcomes": None if outcomes is None else list(outcomes),
        "due_in_seconds": due_in_seconds,
        "timeout_seconds": timeout,
        "on_failure": on_failure,
        **more,
    }
    return Input(title, {key: value for key, value in keys.items() if value is not None})


def conditional(predicate: Predicate) -> Callable[..., Chain]:
    """This will have steps run only where `predicate(state)` holds, asked right before each of them.

    A step for which it does not is skipped; one before it in the same chain may have changed the answer.
    """

    def wrap(run: Perform) -> Perform:
        def perform(task: StepTask) -> Outcome:
            # Asked once: a step that has begun to wait goes on.
            if not task.woken and not predicate(copy_of(task.context)):
                return Skipped("The condition does not hold.")
            return run(task)

        return perform

    return lambda *steps: _wrapped(chain(steps), wrap, "conditional")


def focus(key: str) -> Callable[..., Chain]:
    """This will have steps see the object under one key of the state (none: an empty one), and write there."""

    def wrap(run: Perform) -> Perform:
        def perform(task: StepTask) -> Outcome:
            seen = task.context.get(key)
            if seen is None:
                seen = {}
            if not isinstance(seen, dict):
                return Failed("not_an_object", f"The state holds no object under {key!r}.")
            outcome = run(replace(task, context=copy_of(seen)))
            return Done({key: {**seen, **outcome.output}}) if isinstance(outcome, Done) else outcome

        return perform

    return lambda *steps: _wrapped(chain(steps), wrap, "focus")


def _wrapped(inner: Chain, wrap: Wrap, what: str) -> Chain:
    elements = []
    for element in inner:
        if not isinstance(element, Link):
            raise TypeError(f"{element.title!r} is done by people; {what}(…) is for steps. Give it a `when`.")
        elements.append(replace(element, wraps=(*element.wraps, wrap)))
    return Chain(tuple(elements))


def group(
    title: str,
    steps: Step | Chain | Sequence[Any],
    *,
    name: str,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    on_failure: str | None = None,
) -> Step:
    """This will make one step of many: one task, one transaction, tried again as a whole, undone as a whole.

    Its undoing is that of its steps, newest first. `name` is its dotted name. None of its steps may wait.
    """
    links = [element for element in chain(steps) if isinstance(element, Link)]
    if len(links) != len(chain(steps).elements):
        raise TypeError(f"{title!r}: people are waited for; they cannot stand in a group.")
    undoing = [link.step.compensate for link in reversed(links) if link.step.compensate is not None]
    return remember(
        Step(
            _named(f"{title} (group)"),
            name=name,
            title=title,
            perform=_one_after_another([link.perform() for link in links], [link.title for link in links]),
            retry=retry,
            timeout_seconds=timeout,
            compensate=_undoing_together(title, name, undoing) if undoing else None,
            on_failure=FailurePolicy(on_failure) if on_failure is not None else None,
        )
    )


def _undoing_together(title: str, name: str, steps: Sequence[Step]) -> Step:
    perform = _one_after_another([step.perform for step in steps], [step.title for step in steps])
    return remember(Step(_named(name), name=f"{name}_undo", title=f"Undo: {title}", perform=perform))


def _named(title: str) -> Callable[..., Any]:
    def whole(*_: Any, **__: Any) -> None:
        raise TypeError(f"{title} runs in a workflow only.")

    whole.__qualname__ = title
    return whole


def _one_after_another(performs: Sequence[Perform], titles: Sequence[str]) -> Perform:
    def perform(task: StepTask) -> Outcome:
        state: dict[str, Any] = dict(task.context)
        output: dict[str, Any] = {}
        for run, title in zip(performs, titles, strict=True):
            outcome = run(replace(task, context=copy_of(state)))
            if isinstance(outcome, Skipped):
                continue
            if isinstance(outcome, Waiting):
                return Failed("waits_in_a_group", f"{title}: a step of a group may not wait.")
            if isinstance(outcome, Failed):
                return replace(outcome, message=f"{title}: {outcome.message}")
            state |= outcome.output
            output.update(outcome.output)
        return Done(output)

    return perform
