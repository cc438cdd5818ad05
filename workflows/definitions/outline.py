"""The parts of a template that may be faulty, as far as they can be made out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from workflows.definitions.schema import Json


@dataclass(frozen=True, slots=True)
class OutlinedTask:
    """A task; what is not of the right type is left out."""

    pointer: str
    stage: int
    index: int
    name: str | None
    kind: str | None
    parents: tuple[tuple[int, str], ...]
    outcomes: tuple[tuple[int, Mapping[str, Json]], ...]


@dataclass(frozen=True, slots=True)
class OutlinedStage:
    """A stage, as it stands in the list of stages."""

    pointer: str
    name: str | None
    order: float | None
    tasks: tuple[OutlinedTask, ...]


Outline = tuple[OutlinedStage, ...]


def outline_of(template: Json) -> Outline:
    """This will give the stages and tasks that can be made out, in the order of the document."""
    stages = _list(template.get("stages")) if isinstance(template, dict) else []
    return tuple(
        OutlinedStage(
            pointer=f"/stages/{stage_index}",
            name=_text(stage.get("stage_name")),
            order=_number(stage.get("stage_order")),
            tasks=tuple(
                OutlinedTask(
                    pointer=f"/stages/{stage_index}/tasks/{index}",
                    stage=position,
                    index=task_position,
                    name=_text(task.get("task_name")),
                    kind=_text(task.get("task_type")),
                    parents=_texts(task.get("parent_task")),
                    outcomes=_objects(task.get("outcomes")),
                )
                for task_position, (index, task) in enumerate(_objects(stage.get("tasks")))
            ),
        )
        for position, (stage_index, stage) in enumerate(_objects(stages))
    )


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _objects(value: Json) -> tuple[tuple[int, Mapping[str, Json]], ...]:
    return tuple((index, entry) for index, entry in enumerate(_list(value)) if isinstance(entry, dict))


def _texts(value: Json) -> tuple[tuple[int, str], ...]:
    return tuple((index, entry) for index, entry in enumerate(_list(value)) if isinstance(entry, str))


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Json) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) else None
