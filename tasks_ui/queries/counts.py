"""Counts that stop early, so that a big table costs no more than a small one."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import QuerySet

from workflows.conf import settings
from workflows.models import WorkflowInstance

HEALTHS = (
    "running", "person", "retrying", "failed", "suspended", "rolling_back", "completed", "cancelled", "rolled_back",
)  # fmt: skip
"""The words that instances are counted by, in the order in which they are shown."""


def count_by_health() -> dict[str, int]:
    """This will count all instances by health, each count stopping at the cap (one statement)."""
    cap = int(settings.COUNT_CAP)
    table = connection.ops.quote_name(WorkflowInstance._meta.db_table)
    one = f"(SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE health = %s LIMIT {cap}) AS few)"  # noqa: S608 (no input)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join([one] * len(HEALTHS))}", HEALTHS)
        found = cursor.fetchone() or ()
    return dict(zip(HEALTHS, found, strict=True))


def count_among(rows: QuerySet[Any]) -> dict[str, int]:
    """This will count filtered instances by health, looking at no more than the cap (each row is read once)."""
    # Written around the ORM's own statement: as an aggregate over a slice, making it took longer than answering it.
    some, values = rows.order_by().values_list("health")[: int(settings.COUNT_CAP)].query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT health, COUNT(*) FROM ({some}) AS few GROUP BY health", values)  # noqa: S608 (no input)
        return {**dict.fromkeys(HEALTHS, 0), **dict(cursor.fetchall())}


def at_most(rows: QuerySet[Any], cap: int = 1000) -> int:
    """This will count rows, stopping at the cap."""
    return rows.order_by()[:cap].count()
