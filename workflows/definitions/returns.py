"""Where an outcome with the effect `return` goes back to.

`return_to` names an earlier HUMAN task: `task`, or `STAGE/task` where the short name could mean several. The short name
means an ancestor in the same stage if there is one of this name, else the nearest earlier stage that has such a task.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workflows.definitions.outline import Outline, OutlinedStage, OutlinedTask
from workflows.definitions.schema import Effect, TaskKind


class Returns:
    """Finds the targets of a template's returns; what it costs grows with the template, not with its square."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._families: dict[int, _Family] = {}
        self._people: dict[str, list[OutlinedTask]] = {}
        for stage in outline:
            for task in stage.tasks:
                if task.kind == TaskKind.HUMAN and task.name is not None:
                    self._people.setdefault(task.name, []).append(task)

    def target(self, task: OutlinedTask, *, return_to: str) -> OutlinedTask | None:
        """This will give the task that `return_to` means, seen from this task; None where it means none."""
        stage_name, _, name = return_to.rpartition("/")
        own = self._outline[task.stage]
        if stage_name in ("", own.name):
            if task.stage not in self._families:
                self._families[task.stage] = _family_of(own)
            ancestor = self._families[task.stage].ancestor(task, name)
            if ancestor is not None:
                return ancestor
        return max(
            (
                candidate
                for candidate in self._people.get(name, ())
                if self._order(candidate) < self._order(task)
                and stage_name in ("", self._outline[candidate.stage].name)
            ),
            key=self._order,
            default=None,
        )

    def _order(self, task: OutlinedTask) -> float:
        order = self._outline[task.stage].order
        return math.inf if order is None else order


@dataclass(frozen=True, slots=True)
class _Family:
    """Who comes before whom in one stage, as far as its returns ask: a bit for each HUMAN task that one names."""

    named: Mapping[str, OutlinedTask]
    bits: Mapping[str, int]
    above: Mapping[int, int]

    def ancestor(self, task: OutlinedTask, name: str) -> OutlinedTask | None:
        bit = self.bits.get(name, 0)
        # A task on a circle has no entry in `above`; the circle is the fault to tell, so the name passes.
        return self.named[name] if bit & self.above.get(task.index, bit) else None


def _family_of(stage: OutlinedStage) -> _Family:
    named = {task.name: task for task in reversed(stage.tasks) if task.name is not None}
    wanted = dict.fromkeys(name for task in stage.tasks for name in _names_returned_to(task))
    people = [name for name in wanted if name in named and named[name].kind == TaskKind.HUMAN]
    bits = {name: 1 << index for index, name in enumerate(people)}
    above: dict[int, int] = {}
    for task in _parents_first(stage, named):
        above[task.index] = 0
        for _, parent in task.parents:
            if parent in named:
                above[task.index] |= above[named[parent].index] | bits.get(parent, 0)
    return _Family(named=named, bits=bits, above=above)


def _names_returned_to(task: OutlinedTask) -> Iterator[str]:
    for _, outcome in task.outcomes:
        if outcome.get("effect") == Effect.RETURN and isinstance(outcome.get("return_to"), str):
            yield outcome["return_to"].rpartition("/")[2]


def _parents_first(stage: OutlinedStage, named: Mapping[str, OutlinedTask]) -> Iterator[OutlinedTask]:
    """The tasks such that parents come first; those on a circle or below one are left out."""
    children: dict[int, list[OutlinedTask]] = {}
    waits_for = [0] * len(stage.tasks)
    for task in stage.tasks:
        for _, parent in task.parents:
            if parent in named:
                children.setdefault(named[parent].index, []).append(task)
                waits_for[task.index] += 1
    ready = [task for task in stage.tasks if not waits_for[task.index]]
    while ready:
        task = ready.pop()
        yield task
        for child in children.get(task.index, ()):
            waits_for[child.index] -= 1
            if not waits_for[child.index]:
                ready.append(child)
