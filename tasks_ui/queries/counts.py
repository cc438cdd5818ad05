"""Counts that stop early, so that a big table costs no more than a small one."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Count, QuerySet

from workflows.conf import settings
from workflows.models import Person, WorkflowInstance

HEALTHS = (
    "running", "person", "retrying", "failed", "suspended", "rolling_back", "completed", "cancelled", "rolled_back",
)  # fmt: skip
"""The words that instances are counted by, in the order in which they are shown."""


def count_by_health(person: Person) -> dict[str, int]:
    """This will count the person's instances by health, each count stopping at the cap (one statement)."""
    if not person.reads_everything:
        return count_among(WorkflowInstance.objects.visible_to(person))
    cap = int(settings.COUNT_CAP)
    table = connection.ops.quote_name(WorkflowInstance._meta.db_table)
    one = f"(SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE health = %s LIMIT {cap}) AS few)"  # noqa: S608 (no input)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join([one] * len(HEALTHS))}", HEALTHS)
        found = cursor.fetchone() or ()
    return dict(zip(HEALTHS, found, strict=True))


def count_among(rows: QuerySet[Any]) -> dict[str, int]:
    """This will count filtered instances by health, looking at no more than the cap."""
    some = rows.order_by().values("pk")[: int(settings.COUNT_CAP)]
    found = WorkflowInstance.objects.filter(pk__in=some).order_by().values_list("health").annotate(n=Count("pk"))
    return {**dict.fromkeys(HEALTHS, 0), **dict(found)}


def at_most(rows: QuerySet[Any], cap: int = 1000) -> int:
    """This will count rows, stopping at the cap."""
    return rows.order_by()[:cap].count()
