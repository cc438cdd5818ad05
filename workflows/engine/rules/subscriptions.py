"""Which workflow may start on a subscription now, and why not: one rule for starts, lists and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workflows.definitions.schema import Target, WorkflowDefinition
from workflows.engine.decision import Rejected
from workflows.engine.lifecycle import SubscriptionStatus

_P = SubscriptionStatus

USABLE: Mapping[Target, tuple[SubscriptionStatus, ...]] = {
    Target.CREATE: (_P.INITIAL, _P.PROVISIONING),
    Target.MODIFY: (_P.ACTIVE, _P.MIGRATING, _P.DISABLED),
    # A half-made one, too: whoever cancels its creation has to get rid of it.
    Target.TERMINATE: (_P.INITIAL, _P.PROVISIONING, _P.ACTIVE, _P.MIGRATING, _P.DISABLED),
    Target.VALIDATE: (_P.PROVISIONING, _P.ACTIVE, _P.MIGRATING, _P.DISABLED),
    Target.RECONCILE: (_P.PROVISIONING, _P.ACTIVE, _P.MIGRATING, _P.DISABLED),
    Target.SYSTEM: (_P.INITIAL, _P.PROVISIONING, _P.ACTIVE, _P.MIGRATING, _P.DISABLED),
}
"""In which status a subscription must be for a workflow with that target."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The instance that holds a subscription, by the names that people know it by."""

    instance_id: str
    component_name: str
    workflow_name: str
    business_ref_no: str

    def __str__(self) -> str:
        return f"{self.workflow_name} {self.business_ref_no}"

    def told(self) -> dict[str, str]:
        """This will give the holder as problem documents and lists name it."""
        return {
            "instance_id": self.instance_id,
            "component_name": self.component_name,
            "workflow_name": self.workflow_name,
            "business_ref_no": self.business_ref_no,
        }


@dataclass(frozen=True, slots=True)
class Held:
    """A parent or child (of any degree) that somebody holds."""

    subscription_id: str
    holder: Holder


@dataclass(frozen=True, slots=True)
class Standing:
    """How a subscription stands: `relatives` are the held ones, `used_by` those that use it and are not terminated."""

    subscription_id: str
    product: str
    status: SubscriptionStatus
    version: int
    holder: Holder | None = None
    relatives: Sequence[Held] = ()
    used_by: Sequence[str] = ()


def is_excepted(definition: WorkflowDefinition) -> bool:
    """This will tell whether the workflow may run beside whoever holds the subscription, without changing it."""
    return definition.target is Target.VALIDATE or definition.runs_out_of_sync


def takes(standing: Standing) -> bool:
    """This will tell whether a workflow that may start becomes the holder: unless somebody holds it, or a relative."""
    return held(standing) is None


def may_not_start(definition: WorkflowDefinition, standing: Standing) -> Rejected | None:
    """This will say why a workflow may not start on the subscription now; None where it may."""
    target = definition.target or Target.SYSTEM
    if definition.products and standing.product not in definition.products:
        names = ", ".join(definition.products)
        return Rejected("wrong_product", f"{definition.workflow_name} is for {names}, not for {standing.product}.")
    if standing.status not in USABLE[target]:
        usable = " or ".join(USABLE[target])
        return Rejected("subscription_status", f"The subscription is {standing.status}; {target} takes {usable}.")
    if target is Target.TERMINATE and standing.used_by:
        users = list(standing.used_by)
        reason = f"{len(users)} {'other subscription uses' if len(users) == 1 else 'other subscriptions use'} this one."
        return Rejected("subscription_in_use", reason, details={"used_by": users})
    return None if is_excepted(definition) else held(standing)


def held(standing: Standing) -> Rejected | None:
    """This will say who holds the subscription, or a parent or child of it; None where it is free."""
    if standing.holder is not None:
        reason = f"The subscription is held by {standing.holder}."
        return _held(Held(standing.subscription_id, standing.holder), reason)
    for relative in standing.relatives:
        reason = f"The related subscription {relative.subscription_id} is held by {relative.holder}."
        return _held(relative, reason)
    return None


def _held(found: Held, reason: str) -> Rejected:
    details = {"subscription_id": found.subscription_id, "holder": found.holder.told()}
    return Rejected("subscription_held", reason, details=details)
