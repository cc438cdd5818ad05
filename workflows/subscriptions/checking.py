"""Whether a subscription's row says what its versions and its history say."""

from __future__ import annotations

from collections.abc import Iterator

from workflows.engine.lifecycle import ENDED
from workflows.models import Subscription, SubscriptionEvent, SubscriptionEventKind, SubscriptionVersion

_TAKES = frozenset({SubscriptionEventKind.CREATED, SubscriptionEventKind.TAKEN})
_LETS_GO = frozenset({SubscriptionEventKind.RELEASED, SubscriptionEventKind.UNLOCKED})


def check_subscription(subscription: Subscription) -> list[str]:
    """This will fold versions and history, compare them with the row, and give what disagrees."""
    return list(_disagreements(subscription))


def check_all() -> Iterator[tuple[Subscription, list[str]]]:
    """This will check every subscription."""
    for row in Subscription.objects.select_related("holder").order_by("pk").iterator(chunk_size=500):
        yield row, check_subscription(row)


def _disagreements(row: Subscription) -> Iterator[str]:
    versions = list(SubscriptionVersion.objects.filter(subscription=row).order_by("version"))
    if [one.version for one in versions] != list(range(1, row.version + 1)):
        yield f"the versions are not numbered 1 … {row.version}"
        return
    newest = versions[-1]
    if (newest.values, newest.status) != (row.values, row.status):
        yield f"the row says {row.status} and other values than version {row.version}"
    holder = None
    for event in SubscriptionEvent.objects.filter(subscription=row).order_by("pk"):
        if event.kind in _TAKES:
            if holder is not None:
                yield f"{event.instance_id} took it from {holder}"
            holder = event.instance_id
        elif event.kind in _LETS_GO:
            if event.instance_id != holder:
                yield f"{event.instance_id} let go of it while {holder} held it"
            holder = None
    if holder != row.holder_id:
        yield f"the row says that {row.holder_id} holds it, the history {holder}"
    if row.holder is not None and row.holder.state in ENDED:
        yield f"its holder {row.holder_id} is {row.holder.state}"
