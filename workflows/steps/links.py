"""What can stand in a chain, and the chain itself: `begin >> reserve >> charge`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import Any

from workflows.definitions.schema import FailurePolicy, RetryPolicy
from workflows.steps.outcomes import Perform, StepFunction

CANNOT_UNDO = "A step that is called back cannot undo another: let that answer Waiting, and wait for a signal."


class Step:
    """A registered step. Called, it is just its function, which is how tests of its work call it.

    `perform` is what the runner calls. `a >> b` is a chain: see `workflows.steps.chain`. `is_called_back`: it gives an
    address away, and waits until that is called.
    """

    is_called_back = False

    def __init__(
        self,
        function: StepFunction,
        *,
        name: str,
        title: str,
        perform: Perform,
        retry: RetryPolicy | None = None,
        timeout_seconds: float | None = None,
        compensate: Step | None = None,
        after_failure: bool = False,
        on_failure: FailurePolicy | None = None,
    ) -> None:
        self.function, self.name, self.title, self.perform = function, name, title, perform
        self.retry, self.timeout_seconds = retry, timeout_seconds
        self.compensate, self.after_failure, self.on_failure = compensate, after_failure, on_failure
        update_wrapper(self, function)

    def __call__(self, *values: Any, **named: Any) -> Any:
        """This will call the function."""
        return self.function(*values, **named)

    def __rshift__(self, after: Step | Chain | Element) -> Chain:
        """This will give the chain of this step and what follows it."""
        return begin >> self >> after

    def __repr__(self) -> str:
        return f"<step {self.name}>"


Wrap = Callable[[Perform], Perform]


@dataclass(frozen=True, slots=True)
class Link:
    """One step in a chain, with what is wrapped around it here, and around its undoing, from the inside out."""

    step: Step
    wraps: tuple[Wrap, ...] = ()
    wraps_undoing: tuple[Wrap, ...] = ()

    @property
    def title(self) -> str:
        """This will give what people read."""
        return self.step.title

    def perform(self) -> Perform:
        """This will give what is run: the step with all that is wrapped around it."""
        return _wrapped(self.step.perform, self.wraps)

    def undo(self) -> Perform | None:
        """This will give what undoes it, likewise; None where nothing does."""
        compensate = self.step.compensate
        return _wrapped(compensate.perform, self.wraps_undoing) if compensate is not None else None


def _wrapped(run: Perform, wraps: Sequence[Wrap]) -> Perform:
    for wrap in wraps:
        run = wrap(run)
    return run


@dataclass(frozen=True, slots=True)
class Input:
    """A human task in a chain. `keys` are those of a HUMAN task of a template."""

    title: str
    keys: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Activity:
    """The place in a chain where others hook in: the plugins that an activity has when its turn comes."""

    name: str
    stage: str

    @property
    def title(self) -> str:
        """This will give what people read."""
        return self.name


Element = Link | Input | Activity


@dataclass(frozen=True, slots=True)
class Chain:
    """Elements in their order. `>>` gives a longer one; a chain never changes."""

    elements: tuple[Element, ...] = ()

    def __rshift__(self, after: Step | Chain | Element) -> Chain:
        """This will give this chain with what follows it."""
        return Chain(self.elements + chain(after).elements)

    def __iter__(self) -> Iterator[Element]:
        return iter(self.elements)


begin = Chain()
"""The empty chain, to begin with."""


def chain(what: Step | Chain | Element | Sequence[Any]) -> Chain:
    """This will give a chain of whatever can stand in one. Raises TypeError."""
    if isinstance(what, Chain):
        return what
    if isinstance(what, Step):
        return Chain((Link(what),))
    if isinstance(what, Link | Input | Activity):
        return Chain((what,))
    if isinstance(what, list | tuple):
        return Chain(tuple(element for one in what for element in chain(one)))
    raise TypeError(f"{what!r} is no step: decorate it with @step(…).")
