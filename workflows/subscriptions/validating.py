"""Validating all subscriptions: what the workflow "Validate all subscriptions" has done for it, chunk by chunk.

Note [A workflow that starts others]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
A step runs in the transaction of its own instance, so it starts nobody: it waits, and the clock, which comes by while
nothing is paused, starts a chunk through the door and says with a signal how far it came. What has been done stands in
the log of the workflow; its references are made from the ids of the subscriptions. So a chunk that is started twice,
because a process died between the starts and the signal, starts each one once. A workflow that is suspended or
cancelled is not found any more.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from workflows.definitions.schema import Target, WorkflowDefinition
from workflows.engine.commands import SendSignal, StartWorkflow
from workflows.engine.lifecycle import InstanceState, TaskState
from workflows.engine.rules import subscriptions as rules
from workflows.models import Subscription, TaskInstance, WorkflowInstance, WorkflowTemplate
from workflows.runtime import holding, listeners, moments
from workflows.runtime.asking import Answer, Asked, Reference
from workflows.runtime.handling import handle
from workflows.runtime.holding import NAMED
from workflows.runtime.loading import definition_of
from workflows.runtime.pausing import EnginePaused, insist
from workflows.runtime.replay import state_at

COMPONENT, TITLE = "ORCHESTRATOR", "Validate all subscriptions"
CHUNK, SETTLED = "validate-all:chunk", "validate-all:settled"
"""The signals that its steps wait for."""
SIZE = 20
TOLD = 50
"""So many of those that were not started, or have failed, are named."""
_LOOK_AGAIN = dt.timedelta(seconds=2)
_AT_ONCE = 5
_GOING_ON = (InstanceState.RUNNING, InstanceState.ROLLING_BACK)


def ask_the_clock() -> None:
    """This will have the clock come by once the step's transaction is committed."""
    at = moments.now()
    transaction.on_commit(lambda: listeners.tell(listeners.Committed(at=at, changes=(), deadline=at)))


def go_on(at: dt.datetime) -> dt.datetime | None:
    """This will do a chunk for each that waits for one, and say when to come by again (None: when asked to)."""
    again = None
    running = WorkflowInstance.objects.filter(
        component_name=COMPONENT, workflow_name=TITLE, state=InstanceState.RUNNING
    )
    for instance in running.order_by("created_at")[:_AT_ONCE]:
        for task in TaskInstance.objects.filter(instance=instance, state=TaskState.WAITING):
            _, snapshot = state_at(instance)
            how = snapshot.tasks[task.position]
            if how.signal == CHUNK:
                said = _start_some(instance, dict(how.memory or {}), at=at)
            elif how.signal == SETTLED:
                said = _results(instance)
            else:
                continue
            if said is None:
                again = at + _LOOK_AGAIN
            else:
                # Said once for each chunk, whoever else has done it meanwhile.
                where = (how.memory or {}).get("after") or "begin"
                _signal(instance, str(how.signal), said, event_id=f"{how.signal}:{instance.pk}:{where}", at=at)
    return again


def _signal(instance: WorkflowInstance, name: str, said: Mapping[str, Any], *, event_id: str, at: dt.datetime) -> None:
    handle(Asked(SendSignal(name, payload=said), instance.pk, actor="clock", event_id=event_id), at=at)


# --- Starting -----------------------------------------------------------------------------------------------------


def _start_some(instance: WorkflowInstance, memory: Mapping[str, Any], *, at: dt.datetime) -> dict[str, Any] | None:
    """Start the validations of the next subscriptions; None where everything is paused meanwhile."""
    definitions = list(_validations())
    found = list(_candidates(instance.context.get("product"), memory.get("after"))[:SIZE])
    asked: list[tuple[str, Asked]] = []
    refused: list[dict[str, Any]] = []
    for key in found:
        standing = holding.standing_of(key)
        if standing is None:
            continue
        # Held by one that an earlier try at this chunk has started: that one counts, as a duplicate.
        mine = standing.holder is not None and standing.holder.business_ref_no == _reference(instance, key)
        for definition in definitions:
            why = rules.may_not_start(definition, standing) or (None if mine else rules.held(standing))
            if why is None:
                asked.append((str(key), _start(instance, definition, key)))
            elif why.code != "wrong_product":
                refused.append({"subscription_id": str(key), "why": why.reason})
    try:
        answers: Sequence[Answer] = handle(*(one for _, one in asked), at=at) if asked else ()
        insist(answers)
    except EnginePaused:
        return None
    refused += [
        {"subscription_id": key, "why": answer.reason}
        for (key, _), answer in zip(asked, answers, strict=True)
        if not answer.applied
    ]
    return {
        "after": str(found[-1]) if found else memory.get("after") or "",
        "seen": len(found),
        "started": sum(answer.applied for answer in answers),
        "not_started": refused,
        "over": len(found) < SIZE,
    }


def _candidates(product: Any, after: Any) -> QuerySet[Subscription, uuid.UUID]:
    rows = Subscription.objects.filter(status__in=rules.USABLE[Target.VALIDATE])
    if product:
        rows = rows.filter(product__name=product)
    if after:
        rows = rows.filter(pk__gt=uuid.UUID(after))
    return rows.order_by("pk").values_list("pk", flat=True)


def _validations() -> Iterator[WorkflowDefinition]:
    for pk in WorkflowTemplate.objects.latest().filter(target=Target.VALIDATE).values_list("pk", flat=True):
        yield definition_of(pk)


def _start(instance: WorkflowInstance, definition: WorkflowDefinition, key: uuid.UUID) -> Asked:
    reference = _reference(instance, key)
    return Asked(
        command=StartWorkflow(reference, context={NAMED: str(key)}),
        target=Reference(definition.component_name, reference, definition.workflow_name),
        actor=instance.started_by,
        cause=str(instance.pk),
    )


def _reference(instance: WorkflowInstance, key: uuid.UUID) -> str:
    return f"{_prefix(instance)}{key.hex}"


def _prefix(instance: WorkflowInstance) -> str:
    return f"{instance.business_ref_no[:160]}/"


# --- What became of them ------------------------------------------------------------------------------------------


def _results(instance: WorkflowInstance) -> dict[str, Any] | None:
    """Count what the validations have found; None while some go on."""
    mine = Q(pk__in=())
    for definition in _validations():
        names = {"component_name": definition.component_name, "workflow_name": definition.workflow_name}
        mine |= Q(business_ref_no__startswith=_prefix(instance), **names)
    children = WorkflowInstance.objects.filter(mine)
    if children.filter(state__in=_GOING_ON).exists():
        return None
    counts = dict(children.order_by().values_list("state").annotate(count=Count("pk")))
    completed = counts.pop(InstanceState.COMPLETED, 0)
    failed = children.exclude(state=InstanceState.COMPLETED).order_by("business_ref_no")
    return {
        "completed": completed,
        "not_completed": sum(counts.values()),
        "look_at": [
            {"subscription_id": context.get(NAMED), "instance_id": str(pk), "state": state}
            for pk, state, context in failed.values_list("pk", "state", "context")[:TOLD]
        ],
    }
