"""Which definition an instance follows after an event: its template's, or what that has grown to.

See growing, Note [A definition grows].
"""

from __future__ import annotations

from workflows.definitions.growing import grown
from workflows.definitions.schema import WorkflowDefinition
from workflows.engine import events as e
from workflows.engine.events import Event


def grown_by(definition: WorkflowDefinition, event: Event) -> WorkflowDefinition:
    """This will give the definition that holds after the event, which most events leave as it is."""
    if event.name != e.PHASE_STARTED or "again" in event.data:
        return definition
    assert event.stage_name is not None
    return grown(
        definition,
        definition.stage_positions[event.stage_name],
        event.data["phase"],
        plugins=event.data["plugins"],
        excluded=event.data["excluded"],
    )
