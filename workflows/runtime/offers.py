"""Which version of which workflow a start begins."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from workflows.engine.decision import Rejected
from workflows.models.writes import Database
from workflows.runtime.asking import Reference
from workflows.runtime.identity import read_uuid

_NEWEST = (
    "SELECT t.id, t.workflow_name, t.version FROM {keys} JOIN workflows_workflowtemplate t"
    " ON t.component_name = k.a WHERE t.version = (SELECT max(s.version) FROM workflows_workflowtemplate s"
    " WHERE s.component_name = t.component_name AND s.workflow_name = t.workflow_name)"
)
_NAMED = (
    "SELECT t.id, t.workflow_name, t.version FROM {keys} JOIN workflows_workflowtemplate t"
    " ON t.component_name = k.a AND t.version = k.b"
)


@dataclass(frozen=True, slots=True)
class Offer:
    """A template version that a start may use."""

    id: uuid.UUID
    workflow_name: str
    version: int


class Offers:
    """The published versions, looked up once for each component of a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, int | None], list[Offer]] = {}

    def newest(self, component_name: str) -> list[Offer]:
        """This will give the newest version of each workflow of the component."""
        return self._look_up(component_name, None)

    def pick(self, target: Reference, *, version: int | None) -> Offer | Rejected:
        """This will give the version that a start of that reference means, or say why it can not be told."""
        offers = self.newest(target.component_name)
        if target.workflow_name is not None:
            offers = [offer for offer in offers if offer.workflow_name == target.workflow_name]
        if not offers:
            named = f" {target.workflow_name!r}" if target.workflow_name is not None else ""
            return Rejected("unknown_template", f"Component {target.component_name!r} has no workflow{named}.")
        if len(offers) > 1:
            names = ", ".join(sorted(offer.workflow_name for offer in offers))
            return Rejected("ambiguous_workflow", f"The component has several workflows ({names}): name one.")
        if version is None or version == offers[0].version:
            return offers[0]
        for offer in self._look_up(target.component_name, version):
            if offer.workflow_name == offers[0].workflow_name:
                return offer
        return Rejected("unknown_template", f"{offers[0].workflow_name} has no version {version}.")

    def _look_up(self, component_name: str, version: int | None) -> list[Offer]:
        key = (component_name, version)
        if key not in self._known:
            if version is None:
                rows = self._database.rows(_NEWEST, [(component_name,)], ("text",))
            else:
                rows = self._database.rows(_NAMED, [key], ("text", "int"))
            self._known[key] = [Offer(read_uuid(row[0]) or row[0], row[1], row[2]) for row in rows]
        return self._known[key]
