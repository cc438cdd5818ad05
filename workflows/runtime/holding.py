"""Who holds a subscription: taken in the transaction that starts its instance, let go in the one that ends it.

Note [One holder]
~~~~~~~~~~~~~~~~~
Whoever wants to hold a subscription locks it with all that it uses and all that use it, in the order of their ids, and
looks only then who holds one of them. So of two starts in the same moment one waits, and sees what the other has done.
A relation that was added meanwhile makes the family larger than what was locked: then the rest is locked, too. Rows of
subscriptions are locked after rows of instances; what nevertheless waits in a circle is tried again by the door.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q

from workflows.definitions.schema import WorkflowDefinition
from workflows.engine.commands import StartWorkflow
from workflows.engine.decision import Rejected
from workflows.engine.lifecycle import SubscriptionStatus
from workflows.engine.rules import subscriptions as rules
from workflows.engine.rules.subscriptions import Held, Holder, Standing
from workflows.models import (
    Subscription,
    SubscriptionEvent,
    SubscriptionEventKind,
    SubscriptionRelation,
    WorkflowInstance,
)
from workflows.runtime.identity import read_uuid

NAMED = "subscription_id"
"""The key of a start's context that names the subscription."""
SEEN = "subscription_version"
"""The key of a start's context that says which version of the values its sender saw."""


@dataclass(slots=True)
class Holding:
    """What the starts and ends of one transaction do to subscriptions. `named`: those that its starts name."""

    at: dt.datetime
    named: Collection[uuid.UUID] = ()
    _locked: set[uuid.UUID] = field(default_factory=set)
    _begun: dict[uuid.UUID, Holder] = field(default_factory=dict)

    def start(
        self, definition: WorkflowDefinition, command: StartWorkflow, *, instance_id: uuid.UUID, actor: str
    ) -> Rejected | None:
        """This will take the subscription that a start names, or say why the start is refused."""
        if definition.target is None or NAMED not in command.context:
            return None
        key = named_by(command.context)
        if key is None:
            fault = {"pointer": f"/context/{NAMED}", "code": "bad_value", "message": "This is no id of a subscription."}
            return Rejected("invalid_body", f"{NAMED} is not the id of a subscription.", errors=(fault,))
        # Looked at before it is locked: what is held stays locked while its holder's step runs, and nobody waits for
        # that to be told no.
        standing = standing_of(key, begun=self._begun)
        refused = _judge(definition, command, key, standing)
        if refused is not None or standing is None or not rules.takes(standing):
            return refused
        standing = self._standing(key)
        refused = _judge(definition, command, key, standing)
        if refused is None and standing is not None and rules.takes(standing):
            names = (definition.component_name, definition.workflow_name, command.business_ref_no)
            self._take(key, Holder(str(instance_id), *names), actor=actor)
        return refused

    def reopen(self, definition: WorkflowDefinition, *, holder: Holder, actor: str) -> Rejected | None:
        """This will take again what an ended instance had held, for a replay, or say who is in the way."""
        instance = uuid.UUID(holder.instance_id)
        took = SubscriptionEvent.objects.filter(
            instance=instance, kind__in=(SubscriptionEventKind.TAKEN, SubscriptionEventKind.CREATED)
        )
        keys = sorted(set(took.values_list("subscription", flat=True)))
        self._lock(keys)
        standings = {key: standing for key in keys if (standing := self._standing(key)) is not None}
        refused = [one for one in map(rules.held, standings.values()) if one is not None]
        if refused and not rules.is_excepted(definition):
            return refused[0]
        for key, standing in standings.items():
            if rules.takes(standing):
                self._take(key, holder, actor=actor)
        return None

    def end(self, instance_id: uuid.UUID, *, how: str, actor: str) -> None:
        """This will put back in sync what an instance held."""
        rows = list(Subscription.objects.held_by(instance_id).locked())
        if rows:
            release(
                rows, kind=SubscriptionEventKind.RELEASED, at=self.at, actor=actor, instance_id=instance_id, state=how
            )

    def _take(self, key: uuid.UUID, holder: Holder, *, actor: str) -> None:
        instance = uuid.UUID(holder.instance_id)
        self._begun[instance] = holder
        taken = Subscription.objects.filter(pk=key, holder=None)
        assert taken.update(holder=instance, held_since=self.at, updated_at=self.at) == 1, "it is locked, and free"
        SubscriptionEvent.objects.create(
            subscription_id=key,
            kind=SubscriptionEventKind.TAKEN,
            occurred_at=self.at,
            actor=actor,
            instance_id=instance,
            data={},
        )

    def _standing(self, key: uuid.UUID) -> Standing | None:
        # Those of the whole batch at once, in order: one by one, two batches could wait for each other.
        alone = self._lock({key, *self.named}) == {key}
        return standing_of(key, begun=self._begun, family=frozenset({key}) if alone else None)

    def _lock(self, keys: Collection[uuid.UUID]) -> frozenset[uuid.UUID]:
        while True:
            family = SubscriptionRelation.objects.family(keys)
            missing = family - self._locked
            if not missing:
                return family
            list(Subscription.objects.filter(pk__in=missing).locked().values_list("pk"))
            self._locked |= missing


def _judge(
    definition: WorkflowDefinition, command: StartWorkflow, key: uuid.UUID, standing: Standing | None
) -> Rejected | None:
    if standing is None:
        return Rejected("unknown_subscription", f"There is no subscription {key}.")
    seen = command.context.get(SEEN)
    if seen is not None and seen != standing.version:
        reason = f"The subscription is at version {standing.version}; the start was made for version {seen}."
        return Rejected("precondition_failed", reason)
    return rules.may_not_start(definition, standing)


def named_by(context: Mapping[str, Any]) -> uuid.UUID | None:
    """This will give the subscription that a start's context names."""
    said = context.get(NAMED)
    return read_uuid(said) if isinstance(said, str) else None


def standing_of(
    key: uuid.UUID,
    *,
    begun: Mapping[uuid.UUID, Holder] | None = None,
    family: frozenset[uuid.UUID] | None = None,
) -> Standing | None:
    """This will give how a subscription stands; `begun` are instances that have no rows yet, `family` all in line."""
    row = Subscription.objects.select_related("product").defer("values").filter(pk=key).first()
    if row is None:
        return None
    relatives = (family or SubscriptionRelation.objects.family([key])) - {key}
    rows = Subscription.objects.filter(pk__in=relatives, holder__isnull=False).order_by("pk")
    held: dict[uuid.UUID, uuid.UUID] = dict(rows.values_list("pk", "holder"))
    using = Subscription.objects.filter(
        ~Q(status=SubscriptionStatus.TERMINATED), depends_on__child=key, pk__in=relatives
    )
    holders = holders_of((one for one in (*held.values(), row.holder_id) if one is not None), begun=begun)
    return Standing(
        subscription_id=str(key),
        product=row.product.name,
        status=SubscriptionStatus(row.status),
        version=row.version,
        holder=holders[row.holder_id] if row.holder_id else None,
        relatives=tuple(Held(str(relative), holders[holder]) for relative, holder in held.items()),
        used_by=tuple(str(user) for user in using.order_by("pk").values_list("pk", flat=True)[:100]),
    )


def holders_of(
    instances: Iterable[uuid.UUID], *, begun: Mapping[uuid.UUID, Holder] | None = None
) -> dict[uuid.UUID, Holder]:
    """This will give the names of instances that hold subscriptions."""
    known = dict(begun or {})
    missing = set(instances) - known.keys()
    if missing:
        columns = ("pk", "component_name", "workflow_name", "business_ref_no")
        for key, *names in WorkflowInstance.objects.filter(pk__in=missing).values_list(*columns):
            known[key] = Holder(str(key), *names)
    return known


def holder_told(instance: WorkflowInstance) -> dict[str, str]:
    """This will give a holder as problem documents and lists name it."""
    names = (instance.component_name, instance.workflow_name, instance.business_ref_no)
    return Holder(str(instance.pk), *names).told()


def release(
    rows: Collection[Subscription],
    *,
    kind: SubscriptionEventKind,
    at: dt.datetime,
    actor: str,
    instance_id: uuid.UUID | None,
    reason: str = "",
    **data: Any,
) -> None:
    """This will put locked subscriptions back in sync, and write down who did it and why."""
    keys = [row.pk for row in rows]
    Subscription.objects.filter(pk__in=keys).update(holder=None, held_since=None, updated_at=at)
    SubscriptionEvent.objects.bulk_create(
        SubscriptionEvent(
            subscription_id=key,
            kind=kind,
            occurred_at=at,
            actor=actor,
            instance_id=instance_id,
            reason=reason,
            data=data,
        )
        for key in keys
    )
