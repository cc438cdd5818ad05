"""The triggers that make the event log append-only, in the words of both databases."""

from __future__ import annotations

from typing import Any

_TABLE = "workflows_loggedevent"

_INSTALL = {
    "sqlite": (
        f"CREATE TRIGGER IF NOT EXISTS {_TABLE}_no_update BEFORE UPDATE ON {_TABLE} "
        "BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END",
        f"CREATE TRIGGER IF NOT EXISTS {_TABLE}_no_delete BEFORE DELETE ON {_TABLE} "
        "BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END",
    ),
    "postgresql": (
        f"CREATE OR REPLACE FUNCTION {_TABLE}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the event log is append-only'; END $$",
        f"DROP TRIGGER IF EXISTS {_TABLE}_append_only ON {_TABLE}",
        f"CREATE TRIGGER {_TABLE}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {_TABLE} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {_TABLE}_refuse()",
    ),
}
_REMOVE = {
    "sqlite": (f"DROP TRIGGER IF EXISTS {_TABLE}_no_update", f"DROP TRIGGER IF EXISTS {_TABLE}_no_delete"),
    "postgresql": (f"DROP TRIGGER IF EXISTS {_TABLE}_append_only ON {_TABLE}",),
}


def install(connection: Any) -> None:
    """This will make the database refuse every UPDATE and DELETE (and TRUNCATE) of logged events."""
    _run(connection, _INSTALL[connection.vendor])


def remove(connection: Any) -> None:
    """This will let tests empty their own database between two runs. Nothing else calls it."""
    _run(connection, _REMOVE[connection.vendor])


def _run(connection: Any, statements: tuple[str, ...]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
