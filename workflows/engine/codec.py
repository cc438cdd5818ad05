"""An event and its place in the log.

Released shapes are never edited: a new one gets a new number, and old ones are lifted here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workflows.definitions.schema import WorkflowDefinition
from workflows.engine.events import Event
from workflows.engine.growth import grown_by

SHAPE = 1
"""The number of the shape in which events are written now."""

_LIFTS: Mapping[tuple[str, int], Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {}
"""(event name, old shape) -> data in the next shape."""


def decode(
    definition: WorkflowDefinition,
    *,
    name: str,
    shape: int,
    stage_name: str | None,
    task_name: str | None,
    attempt: int | None,
    data: Mapping[str, Any],
) -> Event:
    """This will give the event that a row of the log stands for."""
    while shape < SHAPE:
        lift = _LIFTS.get((name, shape))
        data = lift(data) if lift else data
        shape += 1
    position = None
    if stage_name is not None and task_name is not None:
        position = definition.task_positions.get((stage_name, task_name))
    return Event(name, position, stage_name, task_name, attempt, data)


class Reader:
    """Reads a history, event by event: `definition` grows with it, so that tasks of plugins are known by name."""

    def __init__(self, definition: WorkflowDefinition) -> None:
        self.definition = definition

    def read(
        self,
        name: str,
        shape: int,
        stage_name: str | None,
        task_name: str | None,
        attempt: int | None,
        data: Mapping[str, Any],
    ) -> Event:
        """This will give the event that the next row of the log stands for."""
        event = decode(
            self.definition,
            name=name,
            shape=shape,
            stage_name=stage_name,
            task_name=task_name,
            attempt=attempt,
            data=data,
        )
        self.definition = grown_by(self.definition, event)
        return event
