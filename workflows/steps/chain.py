"""Steps in a line, as Python says it: `begin >> reserve >> charge >> ship`.

What is not a plain step of its own:

    inputstep("Check the address", assigned_to="backoffice", form={…})    a form for people, in the middle
    conditional(lambda state: state["vip"])(call_customer >> send_gift)   steps that may have nothing to do
    focus("order")(reserve >> charge)                                     steps that see one key of the state
    group("Book it", reserve >> charge)                                   many functions as one step, in one transaction
    activity("document-processing")                                       plugins of others, whoever is registered then

Each gives what can stand in a chain, also within one another (but people and waiting steps not within `group`, and
activities within none).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from workflows.definitions.schema import FailurePolicy, RetryPolicy
from workflows.steps.atomicity import by_itself
from workflows.steps.links import Activity, Chain, Input, Link, Step, Wrap, chain
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


def activity(name: str, *, stage: str | None = None) -> Activity:
    """This will let the plugins of an activity do their work here (docs/activities.md): a stage of its own.

    `stage` is the name of that stage; without, it is the activity's.
    """
    return Activity(name, stage or name)


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

    # Not around its undoing: what was done is undone, whatever would be done by now.
    return lambda *steps: _wrapped(chain(steps), wrap, "conditional")


def focus(key: str) -> Callable[..., Chain]:
    """This will have steps see the object under one key of the state (none: an empty one), and write there.

    So does what undoes them: the `output` that it sees is what they left under the key.
    """

    def wrap(run: Perform) -> Perform:
        def perform(task: StepTask) -> Outcome:
            seen = task.context.get(key)
            if seen is None:
                seen = {}
            if not isinstance(seen, dict):
                return Failed("not_an_object", f"The state holds no object under {key!r}.")
            output = None if task.output is None else task.output.get(key)
            outcome = run(replace(task, context=copy_of(seen), output=output))
            return Done({key: {**seen, **outcome.output}}) if isinstance(outcome, Done) else outcome

        return perform

    return lambda *steps: _wrapped(chain(steps), wrap, "focus", undoing=True)


def _wrapped(inner: Chain, wrap: Wrap, what: str, *, undoing: bool = False) -> Chain:
    elements = []
    for element in inner:
        if isinstance(element, Activity):
            raise TypeError(f"{element.title!r} is an activity, a stage of its own; {what}(…) is for steps.")
        if not isinstance(element, Link):
            raise TypeError(f"{element.title!r} is done by people; {what}(…) is for steps. Give it a `when`.")
        back = (*element.wraps_undoing, wrap) if undoing else element.wraps_undoing
        elements.append(replace(element, wraps=(*element.wraps, wrap), wraps_undoing=back))
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

    Its undoing is that of its steps, newest first, but of those that had nothing to do: which these were is kept in the
    state, as `…_skipped`. `name` is its dotted name. None of its steps may wait.
    """
    links = [element for element in chain(steps) if isinstance(element, Link)]
    if len(links) != len(chain(steps).elements):
        raise TypeError(f"{title!r}: people and plugins are waited for; they cannot stand in a group.")
    return remember(
        Step(
            _named(f"{title} (group)"),
            name=name,
            title=title,
            perform=_one_after_another(links, skipped=_skipped(name)),
            retry=retry,
            timeout_seconds=timeout,
            compensate=_undoing_together(title, name, links) if any(link.undo() for link in links) else None,
            on_failure=FailurePolicy(on_failure) if on_failure is not None else None,
        )
    )


def _undoing_together(title: str, name: str, links: Sequence[Link]) -> Step:
    return remember(
        Step(
            _named(name),
            name=f"{name}_undo",
            title=f"Undo: {title}",
            perform=_newest_first(links, skipped=_skipped(name)),
        )
    )


def _named(title: str) -> Callable[..., Any]:
    def whole(*_: Any, **__: Any) -> None:
        raise TypeError(f"{title} runs in a workflow only.")

    whole.__qualname__ = title
    return whole


def _skipped(name: str) -> str:
    return f"{name.rpartition('.')[2]}_skipped"


def _numbered(links: Sequence[Link]) -> list[tuple[str, Link]]:
    return [(f"{number} {link.title}", link) for number, link in enumerate(links, 1)]


def _one_after_another(links: Sequence[Link], *, skipped: str) -> Perform:
    parts = [(told, link.title, link.perform()) for told, link in _numbered(links)]

    def perform(task: StepTask) -> Outcome:
        state: dict[str, Any] = dict(task.context)
        output: dict[str, Any] = {}
        idle: list[str] = []
        for told, title, run in parts:
            try:
                with by_itself():
                    outcome = _part(run, replace(task, context=copy_of(state)))
            except _Idle:
                idle.append(told)
                continue
            if isinstance(outcome, Done):
                state |= outcome.output
                output.update(outcome.output)
            else:
                return _told(title, outcome)
        return Done({**output, skipped: idle} if idle or skipped in task.context else output)

    return perform


def _newest_first(links: Sequence[Link], *, skipped: str) -> Perform:
    parts = [(told, link.title, undo) for told, link in reversed(_numbered(links)) if (undo := link.undo())]

    def perform(task: StepTask) -> Outcome:
        idle = (task.output or {}).get(skipped, ())
        state: dict[str, Any] = dict(task.context)
        for told, title, run in parts:
            outcome = Skipped() if told in idle else run(replace(task, context=copy_of(state)))
            if isinstance(outcome, Done):
                state |= outcome.output
            elif not isinstance(outcome, Skipped):
                return _told(title, outcome)
        return Done()

    return perform


class _Idle(Exception):
    """Leaves the savepoint: a part that had nothing to do has written nothing."""


def _part(run: Perform, task: StepTask) -> Done | Failed | Waiting:
    outcome = run(task)
    if isinstance(outcome, Skipped):
        raise _Idle
    return outcome


def _told(title: str, outcome: Failed | Waiting) -> Failed:
    if isinstance(outcome, Waiting):
        return Failed("waits_in_a_group", f"{title}: a step of a group may not wait.")
    return replace(outcome, message=f"{title}: {outcome.message}")
