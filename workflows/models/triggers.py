"""The triggers that make histories append-only, in the words of both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LOG = "workflows_loggedevent"
ACTIVITY_HISTORY = "workflows_activityrecord"

HISTORIES = ("workflows_subscriptionversion", "workflows_subscriptionevent", "workflows_controlrecord")
"""What has happened to subscriptions, and what people did to the whole engine."""

_WHAT = {
    LOG: "the event log",
    ACTIVITY_HISTORY: "the history of activities",
    **dict(zip(HISTORIES, ("the versions of subscriptions", "their history", "the log of the controls"), strict=True)),
}


def install(connection: Any, *tables: str) -> None:
    """This will make the database refuse every UPDATE and DELETE (and TRUNCATE) of these histories, or of all."""
    _run(connection, (statement for table in tables or _WHAT for statement in _installing(connection.vendor, table)))


def remove(connection: Any, *tables: str) -> None:
    """This will let tests empty their own database between two runs. Nothing else calls it."""
    _run(connection, (statement for table in tables or _WHAT for statement in _removing(connection.vendor, table)))


def _installing(vendor: str, table: str) -> Iterator[str]:
    said = f"{_WHAT[table]} is append-only"
    if vendor == "sqlite":
        for name, move in (("update", "UPDATE"), ("delete", "DELETE")):
            yield (
                f"CREATE TRIGGER IF NOT EXISTS {table}_no_{name} BEFORE {move} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )
        return
    yield (
        f"CREATE OR REPLACE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{said}'; END $$"
    )
    yield f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}"
    yield (
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()"
    )


def _removing(vendor: str, table: str) -> Iterator[str]:
    if vendor == "sqlite":
        yield f"DROP TRIGGER IF EXISTS {table}_no_update"
        yield f"DROP TRIGGER IF EXISTS {table}_no_delete"
    else:
        yield f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}"


def _run(connection: Any, statements: Iterator[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
