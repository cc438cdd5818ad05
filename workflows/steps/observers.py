"""Observers of steps: guards, which may turn a workflow round, and listeners, which cannot.

    @guard("budget")
    def within_budget(seen: Seen) -> TurnRound | None:
        if seen.before and seen.task.context["amount"] > 1000:
            return TurnRound("That is over the budget.")

Both are called before and after every in-process step, up and down, in the transaction of the step, in the order in
which they are configured: those of the site (STEP_OBSERVERS), then those of the workflow (`observers` in its template).

Note [What a guard may do]
~~~~~~~~~~~~~~~~~~~~~~~~~~
It answers None (go on), a dict (go on, with these keys of the state changed), or TurnRound: the workflow is rolled
back. Anything else, and anything that it raises, turns it, too: a guard that is broken must not let anything pass.
Before a step it turns the workflow without running the step; after a step what the step wrote is undone, and its
success does not count. While the workflow is being undone there is nothing to turn: what a guard says then is written
to the log of the process, and its changes of the state are kept.

A listener's answer is not looked at, and what it raises is logged under its name. What an observer writes is undone
where it raises, and that alone; what it sees is a copy of its own. A step that raised has left its transaction in a
state that nobody knows: after it guards are not asked, and listeners should write nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workflows.steps.atomicity import by_itself
from workflows.steps.outcomes import Done, Outcome, StepTask, Waiting
from workflows.steps.state import copied, copy_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What an observer sees: the step's task, the step's name, and after the step its outcome (before it: None).

    `seconds` is how long the step took. What is put into `later` is called once the step's transaction is committed,
    and never when it is not.
    """

    task: StepTask
    step: str
    outcome: Outcome | None = None
    component: str = ""
    seconds: float = 0.0
    later: list[Callable[[], None]] = field(default_factory=list)

    @property
    def before(self) -> bool:
        """This will tell whether the step has not run yet."""
        return self.outcome is None

    @property
    def down(self) -> bool:
        """This will tell whether the step undoes something."""
        return self.task.compensation


@dataclass(frozen=True, slots=True)
class TurnRound:
    """The workflow is to be rolled back, for this reason."""

    reason: str


Look = Callable[[Seen], Any]


@dataclass(frozen=True, slots=True)
class Observer:
    """A registered observer. `turns`: it is a guard."""

    name: str
    look: Look
    turns: bool


@dataclass(frozen=True, slots=True)
class Turned:
    """A guard has turned the workflow."""

    guard: str
    reason: str


_registered: dict[str, Observer] = {}


class UnknownObserver(LookupError):
    """No code has registered an observer of this name."""


def guard(name: str) -> Callable[[Look], Look]:
    """This will register a function as a guard. Two observers of one name raise ValueError."""
    return _register(name, turns=True)


def listener(name: str) -> Callable[[Look], Look]:
    """This will register a function as a listener. Two observers of one name raise ValueError."""
    return _register(name, turns=False)


def _register(name: str, *, turns: bool) -> Callable[[Look], Look]:
    def register(look: Look) -> Look:
        known = _registered.get(name)
        if known is not None and (known.look.__module__, known.look.__qualname__) != (
            look.__module__,
            look.__qualname__,
        ):
            raise ValueError(f"There are two observers named {name!r}.")
        _registered[name] = Observer(name, look, turns)
        return look

    return register


def chosen(names: Iterable[str]) -> Sequence[Observer]:
    """This will give the observers of these names, each once, in their order. Raises UnknownObserver."""
    try:
        return [_registered[name] for name in dict.fromkeys(names)]
    except KeyError as error:
        raise UnknownObserver(f"There is no observer named {error.args[0]!r}.") from None


def ask(observers: Sequence[Observer], seen: Seen) -> tuple[Mapping[str, Any], Turned | None]:
    """This will ask them all: what they change of the state, and the first guard that turns the workflow, if one does.

    Guards after that one are not asked; listeners always are.
    """
    changes: dict[str, Any] = {}
    turned: Turned | None = None
    for observer in observers:
        if not observer.turns:
            _tell(observer, seen)
        elif turned is None:
            said = _judged(observer, seen)
            if isinstance(said, Turned) and not seen.down:
                turned = said
            elif isinstance(said, Turned):
                logger.warning("guard %s: %s; it is being undone already", said.guard, said.reason)
            else:
                changes |= said
    return changes, turned


def _apart(seen: Seen) -> Seen:
    """The same, for one observer alone: whatever it does with it changes nothing for the step, or for others."""
    task, outcome = replace(seen.task, context=copy_of(seen.task.context)), seen.outcome
    if isinstance(outcome, Done):
        outcome = Done(copy_of(outcome.output))
    elif isinstance(outcome, Waiting):
        outcome = replace(outcome, memory=copied(outcome.memory))
    return replace(seen, task=task, outcome=outcome)


def tell(observers: Sequence[Observer], seen: Seen) -> None:
    """This will tell the listeners among them, and ask no guard."""
    for observer in observers:
        if not observer.turns:
            _tell(observer, seen)


def failed(name: str) -> None:
    """This will count a failure of the observer of that name, where somebody counts."""
    for count in _counting:
        count(name)


_counting: list[Callable[[str], None]] = []


def count_failures_with(count: Callable[[str], None]) -> None:
    """This will have the name of each observer that fails told from now on."""
    if count not in _counting:
        _counting.append(count)


def _tell(observer: Observer, seen: Seen) -> None:
    try:
        with by_itself():
            observer.look(_apart(seen))
    except (Exception, SystemExit):
        failed(observer.name)
        logger.exception("listener %s failed at %s; the step goes on", observer.name, seen.step)


def _judged(observer: Observer, seen: Seen) -> Mapping[str, Any] | Turned:
    try:
        with by_itself():
            said = observer.look(_apart(seen))
    except (Exception, SystemExit) as error:
        failed(observer.name)
        logger.exception("guard %s failed at %s", observer.name, seen.step)
        return Turned(observer.name, f"The guard failed: {type(error).__name__}: {error}")
    if said is None:
        return {}
    if isinstance(said, Mapping):
        return said
    if isinstance(said, TurnRound):
        return Turned(observer.name, said.reason)
    failed(observer.name)
    return Turned(observer.name, f"The guard answered {said!r:.100}, which is neither None, a dict nor TurnRound.")


# --- Shipped ------------------------------------------------------------------------------------------------------


@listener("log")
def log_steps(seen: Seen) -> None:
    """Write a line for each step that ran."""
    if seen.outcome is not None:
        logger.info(
            "step %s %s: %s",
            seen.step,
            "down" if seen.down else "up",
            type(seen.outcome).__name__,
            extra={"instance": seen.task.instance_id, "task": seen.task.task_name, "attempt": seen.task.attempt},
        )


@listener("changes")
def log_changes(seen: Seen) -> None:
    """Write which keys of the state each step changed; no values, which may be nobody's business."""
    output = getattr(seen.outcome, "output", None)
    if output:
        logger.info(
            "step %s changed %s", seen.step, ", ".join(sorted(output)), extra={"instance": seen.task.instance_id}
        )


_plugged: dict[str, Look] = {}


def plug(name: str, look: Look | None) -> None:
    """This will have `prometheus` or `opentelemetry` listen with this function; None: with none any more.

    For wiring. The names are known in every process, since templates use them; the libraries are not.
    """
    if look is None:
        _plugged.pop(name, None)
    else:
        _plugged[name] = look


@listener("prometheus")
def count_steps(seen: Seen) -> None:
    """Count the step, in a process that serves metrics."""
    if (look := _plugged.get("prometheus")) is not None:
        look(seen)


@listener("opentelemetry")
def trace_steps(seen: Seen) -> None:
    """Write a span of the step, on a site that writes spans."""
    if (look := _plugged.get("opentelemetry")) is not None:
        look(seen)
