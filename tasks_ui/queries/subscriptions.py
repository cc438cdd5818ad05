"""What the pages of subscriptions print, as plain values."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from tasks_ui import words
from tasks_ui.queries.differing import text_of, told
from tasks_ui.words import Sign
from workflows.definitions.problems import below
from workflows.engine.lifecycle import SubscriptionStatus
from workflows.models import Product, Subscription, SubscriptionEvent, SubscriptionVersion, WorkflowTemplate
from workflows.runtime import holding
from workflows.runtime.masking import masked_at
from workflows.subscriptions import startable, validating, versions_apart

_IN_A_CHOICE = 200
_VERSIONS = 50
_EVENTS = 50
_RELATED = 100


@dataclass(frozen=True, slots=True)
class Value:
    """One value that is no object, with its JSON pointer."""

    pointer: str
    text: str


def listed(asked: Mapping[str, str]) -> QuerySet[Subscription]:
    """This will give the subscriptions that the address asks for."""
    rows = Subscription.objects.select_related("product", "holder")
    if product := asked["product"]:
        rows = rows.filter(product__name=product)
    if customer := asked["customer"]:
        rows = rows.filter(customer__icontains=customer)
    if (status := asked["status"]) in set(SubscriptionStatus):
        rows = rows.filter(status=status)
    if asked["sync"] in ("in", "out"):
        rows = rows.filter(holder__isnull=asked["sync"] == "in")
    return rows


def products() -> list[str]:
    """This will give the names of products for a choice."""
    return list(Product.objects.order_by("name").values_list("name", flat=True)[:_IN_A_CHOICE])


def validate_all() -> uuid.UUID | None:
    """This will give the template that validates all of them, where it is published."""
    named = WorkflowTemplate.objects.latest().filter(
        component_name=validating.COMPONENT, workflow_name=validating.TITLE
    )
    return named.values_list("pk", flat=True).first()


def with_signs(rows: Sequence[Subscription]) -> list[tuple[Subscription, Sign]]:
    """This will give each with the sign of its status."""
    return [(row, words.subscription_sign(row.status)) for row in rows]


def values_of(value: Any, pointer: str = "") -> list[Value]:
    """This will lay values out, one line each."""
    value = masked_at(pointer, value)
    if isinstance(value, dict) and value:
        return [line for key, inner in value.items() for line in values_of(inner, below(pointer, key))]
    if isinstance(value, dict) and not pointer:
        return []
    return [Value(pointer, text_of(value))]


def named_by(context: Mapping[str, Any]) -> Subscription | None:
    """This will give the subscription that an instance is about."""
    key = holding.named_by(context)
    return Subscription.objects.select_related("product").filter(pk=key).first() if key is not None else None


def versions_of(row: Subscription) -> list[SubscriptionVersion]:
    """This will give its newest versions."""
    versions = SubscriptionVersion.objects.filter(subscription=row).select_related("instance")
    return list(versions.order_by("-version").defer("values")[:_VERSIONS])


def history_of(row: Subscription) -> list[SubscriptionEvent]:
    """This will give the newest lines of its history."""
    events = SubscriptionEvent.objects.filter(subscription=row).select_related("instance")
    return list(events.order_by("-pk")[:_EVENTS])


def relations_of(row: Subscription) -> list[tuple[str, Subscription, Sign]]:
    """This will give those that it depends on, then those that use it."""
    with_product = Subscription.objects.select_related("product", "holder").order_by("pk")
    children = with_product.filter(in_use_by__parent=row)[:_RELATED]
    parents = with_product.filter(depends_on__child=row)[:_RELATED]
    pairs = [("Depends on", one) for one in children] + [("In use by", one) for one in parents]
    return [(word, one, words.subscription_sign(one.status)) for word, one in pairs]


def workflows_of(row: Subscription) -> list[Any]:
    """This will give the workflows about it, those that may start first."""
    return sorted(startable(row.pk), key=lambda one: not one.may_start)


def changes(row: Subscription, *, before: str, after: str) -> dict[str, Any]:
    """This will compare two versions: those that the address names, else the newest with the one before it."""
    new = _number(after, most=row.version) or row.version
    old = _number(before, most=row.version) or max(1, new - 1)
    found = SubscriptionVersion.objects.filter(subscription=row, version__in=(old, new)).in_bulk(field_name="id")
    by_number = {one.version: one for one in found.values()}
    one, other = by_number[old], by_number[new]
    return {
        "before": one,
        "after": other,
        "status_changed": one.status != other.status,
        "lines": [told(difference) for difference in versions_apart(one, other)],
    }


def _number(text: str, *, most: int) -> int | None:
    if text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most:
        return int(text)
    return None
