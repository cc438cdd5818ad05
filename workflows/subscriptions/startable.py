"""Which workflows may start on a subscription now, and why not the others. API and pages both ask here."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from workflows.definitions.schema import Target, WorkflowDefinition
from workflows.engine.decision import Rejected
from workflows.engine.rules import subscriptions as rules
from workflows.models import WorkflowTemplate
from workflows.runtime.holding import NAMED, standing_of
from workflows.runtime.loading import definition_of

_ORDER = tuple(Target)


def _can_be_told(definition: WorkflowDefinition) -> bool:
    """Whether its start takes the id of a subscription: what is about the whole site has no place for it."""
    schema = definition.context_schema or {}
    return schema.get("additionalProperties") is not False or NAMED in schema.get("properties", {})


@dataclass(frozen=True, slots=True)
class Startable:
    """A workflow about subscriptions: `refusal` says why it may not start; `beside`: it would not be the holder."""

    template_id: uuid.UUID
    component_name: str
    workflow_name: str
    version: int
    target: Target
    refusal: Rejected | None
    beside: bool

    @property
    def may_start(self) -> bool:
        """This will tell whether a start would be accepted now."""
        return self.refusal is None


def startable(key: uuid.UUID) -> list[Startable]:
    """This will judge the newest version of every workflow that has a target, by the rule that judges its start.

    Those that are for other products are left out. Raises LookupError where there is no such subscription.
    """
    standing = standing_of(key)
    if standing is None:
        raise LookupError(f"There is no subscription {key}.")
    found = []
    newest = WorkflowTemplate.objects.latest().exclude(target="")
    for pk, version in newest.values_list("pk", "version"):
        definition = definition_of(pk)
        refusal = rules.may_not_start(definition, standing)
        if definition.target is None or (refusal is not None and refusal.code == "wrong_product"):
            continue
        if not _can_be_told(definition):
            continue
        found.append(
            Startable(
                template_id=pk,
                component_name=definition.component_name,
                workflow_name=definition.workflow_name,
                version=version,
                target=definition.target,
                refusal=refusal,
                beside=refusal is None and not rules.takes(standing),
            )
        )
    return sorted(found, key=lambda one: (_ORDER.index(one.target), one.workflow_name, one.component_name))
