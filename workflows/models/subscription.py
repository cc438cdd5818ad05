"""What a business owns: products, subscriptions with their versions and relations, and who held them. No policy."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable
from typing import Self

from django.db import models
from django.db.models import F, Q

from workflows.engine import lifecycle
from workflows.engine.lifecycle import SubscriptionStatus
from workflows.models.fields import JsonText, StateField, StateModel, moves, states_check
from workflows.models.instance import WorkflowInstance


class Product(models.Model):
    """What can be subscribed to: the JSON Schema of its values, and inputs that are the same for all."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200, unique=True)
    tag = models.CharField(max_length=200, blank=True, default="")
    description = models.TextField(blank=True, default="")
    values_schema = JsonText()
    fixed_inputs = JsonText()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    """Reads of subscriptions."""

    def held_by(self, instance: uuid.UUID) -> Self:
        """This will keep those that an instance holds, in the order in which they are locked."""
        return self.filter(holder=instance).order_by("pk")

    def locked(self) -> Self:
        """This will lock them, one after the other by their ids, so that nobody waits in a circle."""
        return self.order_by("pk").select_for_update(no_key=True, of=("self",))


class Subscription(StateModel):
    """One customer's own: `values` as the product's schema has them, out of sync while an instance is its `holder`.

    `version` is the number of its newest SubscriptionVersion.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, db_index=False, related_name="subscriptions")
    customer = models.CharField(max_length=200)
    status = StateField(states=SubscriptionStatus, default=SubscriptionStatus.INITIAL)
    values = JsonText()
    version = models.PositiveIntegerField(default=1)
    note = models.TextField(blank=True, default="")
    holder = models.ForeignKey(WorkflowInstance, on_delete=models.PROTECT, null=True, related_name="holds")
    held_since = models.DateTimeField(null=True)
    active_since = models.DateTimeField(null=True)
    terminated_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    objects = models.Manager.from_queryset(SubscriptionQuerySet)()

    class Meta:
        constraints = [
            states_check(name="subscription_status_is_known", states=SubscriptionStatus, field="status"),
            models.CheckConstraint(
                condition=Q(holder=None, held_since=None) | Q(holder__isnull=False, held_since__isnull=False),
                name="subscription_held_since_a_moment",
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="subscription_newest"),
            models.Index(fields=["product", "-created_at"], name="subscription_by_product"),
            models.Index(fields=["customer", "-created_at"], name="subscription_by_customer"),
            models.Index(fields=["status", "-created_at"], name="subscription_by_status"),
        ]

    def __str__(self) -> str:
        return f"{self.product_id}/{self.customer}"

    @property
    def name(self) -> str:
        """This will give what people call it: the value `name`, where it has one, else the customer's."""
        said = self.values.get("name")
        return said if isinstance(said, str) and said else self.customer

    @property
    def in_sync(self) -> bool:
        """This will tell whether nobody is changing it."""
        return self.holder_id is None

    @moves(lifecycle.PROVISION_SUBSCRIPTION, field="status")
    def mark_provisioning(self, *, at: dt.datetime) -> None:
        """This will say that it is being made."""

    @moves(lifecycle.ACTIVATE_SUBSCRIPTION, field="status")
    def mark_active(self, *, at: dt.datetime) -> None:
        """This will say that the customer has it."""
        self.active_since = self.active_since or at

    @moves(lifecycle.MIGRATE_SUBSCRIPTION, field="status")
    def mark_migrating(self, *, at: dt.datetime) -> None:
        """This will say that it is on its way to something else."""

    @moves(lifecycle.DISABLE_SUBSCRIPTION, field="status")
    def mark_disabled(self, *, at: dt.datetime) -> None:
        """This will say that it is switched off for now."""

    @moves(lifecycle.TERMINATE_SUBSCRIPTION, field="status")
    def mark_terminated(self, *, at: dt.datetime) -> None:
        """This will say that the customer has it no more."""
        self.terminated_at = at


class SubscriptionVersion(models.Model):
    """The values and the status after one change, with the instance and the step that made it."""

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, db_index=False, related_name="versions")
    version = models.PositiveIntegerField()
    values = JsonText()
    status = models.CharField(max_length=24)
    instance = models.ForeignKey(WorkflowInstance, on_delete=models.PROTECT, db_index=False, related_name="+")
    stage_name = models.CharField(max_length=200)
    task_name = models.CharField(max_length=200)
    attempt = models.PositiveIntegerField()
    compensation = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subscription", "version"], name="one_row_per_subscription_version"),
        ]

    def __str__(self) -> str:
        return f"{self.subscription_id} v{self.version}"


class RelationQuerySet(models.QuerySet["SubscriptionRelation"]):
    """Reads of relations."""

    def family(self, keys: Collection[uuid.UUID]) -> frozenset[uuid.UUID]:
        """This will give these subscriptions with all that they use, and all that use them, of any degree."""
        found = set(keys)
        if not self.filter(Q(parent__in=keys) | Q(child__in=keys)).exists():
            return frozenset(found)  # Most have no relations: one look for both ways.
        for one, other in (("parent", "child"), ("child", "parent")):
            frontier, seen = set(keys), set(keys)
            while frontier:
                pairs: Iterable[uuid.UUID] = self.filter(**{f"{one}__in": frontier}).values_list(other, flat=True)
                frontier = set(pairs) - seen
                seen |= frontier
            found |= seen
        return frozenset(found)


class SubscriptionRelation(models.Model):
    """The parent depends on the child: the child is in use by the parent."""

    parent = models.ForeignKey(Subscription, on_delete=models.PROTECT, db_index=False, related_name="depends_on")
    child = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="in_use_by")

    objects = models.Manager.from_queryset(RelationQuerySet)()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["parent", "child"], name="one_relation_of_two_subscriptions"),
            models.CheckConstraint(condition=~Q(parent=F("child")), name="no_subscription_uses_itself"),
        ]

    def __str__(self) -> str:
        return f"{self.parent_id} depends on {self.child_id}"


class SubscriptionEventKind(models.TextChoices):
    """What can happen to a subscription beside changes of its values, which are versions."""

    CREATED = "CREATED"
    TAKEN = "TAKEN"
    RELEASED = "RELEASED"
    UNLOCKED = "UNLOCKED"
    RELATED = "RELATED"
    UNRELATED = "UNRELATED"
    NOTED = "NOTED"


class SubscriptionEvent(models.Model):
    """One line of a subscription's own history: who held it, let go of it, unlocked it, and why."""

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, db_index=False, related_name="history")
    kind = models.CharField(max_length=16, choices=SubscriptionEventKind.choices)
    occurred_at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    instance = models.ForeignKey(WorkflowInstance, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.TextField(blank=True, default="")
    data = JsonText()

    class Meta:
        indexes = [models.Index(fields=["subscription", "id"], name="subscription_history")]

    def __str__(self) -> str:
        return f"{self.subscription_id} {self.kind}"
