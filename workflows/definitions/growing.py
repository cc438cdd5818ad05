"""What plugins become when a phase of an activity begins: tasks of that instance, in a definition of its own.

Note [A definition grows]
~~~~~~~~~~~~~~~~~~~~~~~~~
Who takes part in a phase is known when it begins, and is written into the history then. From there on the instance
follows a definition that has grown by these tasks: they stand after all that were there before, so that no position
ever changes, and everything that holds for a task holds for them. Instances in which the same plugins take part share
one definition. What has grown once stays: a replay runs the same plugins again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from workflows.definitions.reading import read_stage_tasks
from workflows.definitions.schema import (
    Effect,
    ExcludedPlugin,
    FailurePolicy,
    FrozenPhase,
    Json,
    Phase,
    PluginPart,
    StageDefinition,
    TaskDefinition,
    WorkflowDefinition,
)

MOST_KEPT = 256
"""So many grown definitions are kept for the next instance in which the same plugins take part."""


def grown(
    definition: WorkflowDefinition,
    stage: int,
    phase: str,
    *,
    plugins: Sequence[Mapping[str, Json]],
    excluded: Sequence[Mapping[str, Json]],
) -> WorkflowDefinition:
    """This will give the definition with the tasks of a phase: `plugins` hold name, mandatory, labels and task,
    `excluded` mandatory, labels and the names of those that are alike.
    """
    return _grown(_ById(definition), stage, Phase(phase), json.dumps([plugins, excluded], sort_keys=True))


class _ById:
    """A definition as a key: compared by what it is, not by what it holds, which is much."""

    __slots__ = ("definition",)

    def __init__(self, definition: WorkflowDefinition) -> None:
        self.definition = definition

    def __hash__(self) -> int:
        return id(self.definition)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.definition is self.definition


@lru_cache(maxsize=MOST_KEPT)
def _grown(base: _ById, stage: int, phase: Phase, text: str) -> WorkflowDefinition:
    definition, (plugins, excluded) = base.definition, json.loads(text)
    where = definition.stages[stage]
    tasks = definition.tasks
    new = tuple(_tasks(definition, where, phase, plugins))
    frozen = FrozenPhase(
        phase=phase,
        first=len(tasks),
        end=len(tasks) + len(new),
        excluded=tuple(
            ExcludedPlugin(name, group["mandatory"], group["labels"]) for group in excluded for name in group["names"]
        ),
    )
    # The phases of a stage begin one after the other, and no other stage begins in between: its tasks stay together.
    first = len(tasks) if where.first == where.end else where.first
    wider = replace(where, first=first, end=frozen.end, phases=(*where.phases, frozen))
    stages = (*definition.stages[:stage], wider, *definition.stages[stage + 1 :])
    return replace(definition, stages=stages, tasks=(*tasks, *new))


def _tasks(
    definition: WorkflowDefinition, where: StageDefinition, phase: Phase, plugins: Sequence[Mapping[str, Json]]
) -> Iterator[TaskDefinition]:
    activity = where.activity or where.stage_name
    taken = {task.task_name for task in definition.tasks_of(where.position)}
    listed: list[Mapping[str, Json]] = []
    for one in plugins:
        name = _free(one["name"], taken)
        taken.add(name)
        in_line = phase is not Phase.PARALLEL and listed
        task = {**one["task"], "task_name": name, "parent_task": [listed[-1]["task_name"]] if in_line else []}
        if not one["mandatory"]:
            # Whatever else it says: nobody has to wait for what is optional.
            task["on_failure"] = FailurePolicy.CONTINUE
        listed.append(task)
    stage = {"stage_name": where.stage_name, "tasks": listed}
    read = read_stage_tasks(
        stage, stage_position=where.position, first=len(definition.tasks), policy=definition.on_failure
    )
    for one, made in zip(plugins, read, strict=True):
        yield replace(
            made,
            # A plugin does not know what comes before it: it sends nobody back.
            outcomes=tuple(outcome for outcome in made.outcomes if outcome.effect is not Effect.RETURN),
            extra={**made.extra, "activity": activity, "phase": str(phase)},
            plugin=PluginPart(one["name"], activity, phase, one["mandatory"], one["labels"]),
        )


def _free(name: str, taken: set[str]) -> str:
    """The plugin's name, which the same plugin may bear in another phase."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name} ({count})"
    return found
