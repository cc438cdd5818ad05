"""What steps do to subscriptions: only those that their instance holds, and every change is a version.

    @step("Configure the port")
    def configure(task: StepTask, subscription_id: str, speed: int) -> None:
        subscriptions.change(task, subscription_id, values={"speed": speed})

All of it runs in the step's transaction: it is committed with the step's outcome, or it has not happened.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from django.db import transaction
from django_fsm import TransitionNotAllowed

from workflows.definitions.form_schema import validate
from workflows.definitions.problems import Problem
from workflows.definitions.schema import Json
from workflows.engine.lifecycle import SubscriptionStatus
from workflows.models import (
    Product,
    Subscription,
    SubscriptionEvent,
    SubscriptionEventKind,
    SubscriptionRelation,
    SubscriptionVersion,
    WorkflowInstance,
)
from workflows.models.fields import dump
from workflows.runtime import moments
from workflows.runtime.identity import read_uuid
from workflows.runtime.loading import definition_of

Key = str | uuid.UUID


class Task(Protocol):
    """What is read of the task that makes a change: a step's StepTask."""

    @property
    def instance_id(self) -> str: ...
    @property
    def stage_name(self) -> str: ...
    @property
    def task_name(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def compensation(self) -> bool: ...


class UnknownSubscription(LookupError):
    """There is no such subscription. Look at the id in the instance's context."""


class UnknownProduct(LookupError):
    """There is no such product. Define it with `define_product`, or `manage.py define_product`."""


class NotTheHolder(Exception):
    """Another instance holds the subscription, or none does. Start the workflow with its `subscription_id`."""


class InvalidValues(ValueError):
    """The values do not fit the product's schema; `problems` are all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{one.pointer or '/'}: {one.message}" for one in problems))


class IllegalMove(Exception):
    """The subscription cannot go to that status from where it is."""


def create(
    task: Task, *, product: str, customer: str, values: Mapping[str, Json] | None = None, note: str = ""
) -> Subscription:
    """This will make a subscription, `initial` and held by the task's instance until that ends."""
    found = Product.objects.filter(name=product).first()
    if found is None:
        raise UnknownProduct(f"There is no product {product!r}.")
    instance = WorkflowInstance.objects.get(pk=task.instance_id)
    if definition_of(instance.template_id).target is None:
        # Without one it is about no subscription, and nothing would put this one back in sync.
        raise NotTheHolder(f"{instance.workflow_name} has no target; give its template one, such as CREATE.")
    now = moments.now()
    kept = _kept(values or {})
    _check(found, kept, SubscriptionStatus.INITIAL)
    with transaction.atomic():
        made = Subscription.objects.create(
            product=found,
            customer=customer,
            values=kept,
            note=note,
            holder=instance,
            held_since=now,
            created_at=now,
            updated_at=now,
        )
        _write_version(made, task)
        _tell(made, SubscriptionEventKind.CREATED, task)
    return made


def change(
    task: Task,
    subscription_id: Key,
    *,
    values: Mapping[str, Json] | None = None,
    without: Collection[str] = (),
    status: str | None = None,
) -> Subscription:
    """This will change a subscription that the task's instance holds: keys of `values` replace those that are there.

    `without` names keys to take away; `status` is where it goes. What changes something is a new version. Raises
    NotTheHolder, InvalidValues, IllegalMove.
    """
    with transaction.atomic():
        row = _held(task, subscription_id)
        kept = {key: value for key, value in row.values.items() if key not in without} | _kept(values or {})
        return _changed(row, task, values=kept, status=status)


def put_back(task: Task, subscription_id: Key, *, status: str | None = None) -> Subscription:
    """This will give the subscription the values that it had before the task's instance changed them first."""
    with transaction.atomic():
        row = _held(task, subscription_id)
        versions = SubscriptionVersion.objects.filter(subscription=row).order_by("-version")
        mine = versions.filter(instance=row.holder_id)
        first = mine.last()
        before = versions.filter(version__lt=first.version).first() if first is not None else None
        return _changed(row, task, values=before.values if before is not None else row.values, status=status)


def relate(task: Task, *, parent: Key, child: Key) -> None:
    """This will say that the parent depends on the child.

    The task's instance holds one of them, and nobody else any, nor any that they are related to.

    Raises NotTheHolder, and ValueError where the child depends on the parent already.
    """
    with transaction.atomic():
        one, other = _two(task, parent, child)
        if one.pk in _below(other.pk):
            raise ValueError(f"{child} depends on {parent} already.")
        _, new = SubscriptionRelation.objects.get_or_create(parent=one, child=other)
        if new:
            _tell(one, SubscriptionEventKind.RELATED, task, depends_on=str(other.pk))


def unrelate(task: Task, *, parent: Key, child: Key) -> None:
    """This will say that the parent does not depend on the child any more. Raises NotTheHolder."""
    with transaction.atomic():
        one, other = _two(task, parent, child)
        gone, _ = SubscriptionRelation.objects.filter(parent=one, child=other).delete()
        if gone:
            _tell(one, SubscriptionEventKind.UNRELATED, task, depends_on=str(other.pk))


# --- one change ---------------------------------------------------------------------------------------------------


def _held(task: Task, key: Key) -> Subscription:
    known = read_uuid(key)
    row = Subscription.objects.filter(pk=known).first() if known is not None else None
    if row is None:
        raise UnknownSubscription(f"There is no subscription {key}.")
    if str(row.holder_id) != task.instance_id:
        holder = f"is held by the instance {row.holder_id}" if row.holder_id else "is held by nobody"
        raise NotTheHolder(f"The subscription {row.pk} {holder}; {task.instance_id} may not change it.")
    # Locked only now: nobody waits for a holder's long step to be told no. Nobody takes it from us meanwhile, as our
    # instance is locked, which ends and unlockings wait for.
    return _locked(key)


def _two(task: Task, parent: Key, child: Key) -> tuple[Subscription, Subscription]:
    named = [key for key in map(read_uuid, (parent, child)) if key is not None]
    # With their families: nobody holds one of those, or takes hold of one while they are being related.
    rows = _rows(SubscriptionRelation.objects.family(named))
    one, other = (_among(rows, key) for key in (parent, child))
    holders = {str(row.holder_id) for row in rows.values() if row.holder_id is not None}
    if holders != {task.instance_id} or (one.holder_id is None and other.holder_id is None):
        said = ", ".join(sorted(holders - {task.instance_id})) or "nobody"
        raise NotTheHolder(
            f"Of {one.pk} and {other.pk}, with all that they are related to, one is held by {said};"
            f" {task.instance_id} may not relate them."
        )
    return one, other


def _locked(key: Key) -> Subscription:
    known = read_uuid(key)
    return _among(_rows([known] if known is not None else []), key)


def _rows(keys: Collection[uuid.UUID]) -> dict[uuid.UUID, Subscription]:
    return {row.pk: row for row in Subscription.objects.filter(pk__in=keys).locked()}


def _among(rows: Mapping[uuid.UUID, Subscription], key: Key) -> Subscription:
    known = read_uuid(key)
    if known is None or known not in rows:
        raise UnknownSubscription(f"There is no subscription {key}.")
    return rows[known]


def _changed(row: Subscription, task: Task, *, values: dict[str, Json], status: str | None) -> Subscription:
    now = moments.now()
    moved = status is not None and status != row.status
    if not moved and values == row.values:
        return row
    if moved:
        _move(row, SubscriptionStatus(str(status)), at=now)
    _check(Product.objects.get(pk=row.product_id), values, SubscriptionStatus(row.status))
    row.values, row.version, row.updated_at = values, row.version + 1, now
    row.save(
        update_fields=["values", "status", "version", "active_since", "terminated_at", "updated_at"],
    )
    _write_version(row, task)
    return row


def _move(row: Subscription, status: SubscriptionStatus, *, at: Any) -> None:
    marks = {
        SubscriptionStatus.PROVISIONING: row.mark_provisioning,
        SubscriptionStatus.ACTIVE: row.mark_active,
        SubscriptionStatus.MIGRATING: row.mark_migrating,
        SubscriptionStatus.DISABLED: row.mark_disabled,
        SubscriptionStatus.TERMINATED: row.mark_terminated,
    }
    was = row.status
    try:
        marks[status](at=at)
    except (KeyError, TransitionNotAllowed):
        raise IllegalMove(f"The subscription {row.pk} is {was}; it cannot become {status}.") from None


def _check(product: Product, values: Mapping[str, Json], status: SubscriptionStatus) -> None:
    problems = validate(product.values_schema, values)
    if status is SubscriptionStatus.INITIAL:
        # It is filled in on the way; from `provisioning` on it is whole.
        problems = tuple(one for one in problems if one.code != "required")
    if problems:
        raise InvalidValues(problems)


def _kept(values: Mapping[str, Json]) -> dict[str, Json]:
    """The values as the database will give them back; TypeError or ValueError for what is no JSON."""
    kept: dict[str, Json] = json.loads(dump(dict(values)))
    return kept


def _write_version(row: Subscription, task: Task) -> None:
    SubscriptionVersion.objects.create(
        subscription=row,
        version=row.version,
        values=row.values,
        status=str(row.status),
        instance_id=task.instance_id,
        stage_name=task.stage_name,
        task_name=task.task_name,
        attempt=task.attempt,
        compensation=task.compensation,
        created_at=row.updated_at,
    )


def _tell(row: Subscription, kind: SubscriptionEventKind, task: Task, **data: str) -> None:
    SubscriptionEvent.objects.create(
        subscription=row,
        kind=kind,
        occurred_at=moments.now(),
        actor="step",
        instance_id=task.instance_id,
        data={"step": f"{task.stage_name}/{task.task_name}", **data},
    )


def _below(key: uuid.UUID) -> frozenset[uuid.UUID]:
    found, frontier = {key}, {key}
    while frontier:
        children = SubscriptionRelation.objects.filter(parent__in=frontier).values_list("child", flat=True)
        frontier = set(children) - found
        found |= frontier
    return frozenset(found)
