"""PostgreSQL for the hot path: two round trips for a transaction.

Note [Two round trips]
What costs here is not SQL but round trips and the adaptation of values in Python. So BEGIN travels with the locking
read; all writes are one statement (data-modifying CTEs) that also checks that every update met its row, and COMMIT
travels with it (see `pipeline`). Values go as texts with casts, so that a statement has one shape whatever is null,
and is prepared once: a few rows each with parameters of their own, many rows as arrays that are written out here.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import psycopg

from workflows.models import pipeline
from workflows.models.writes import Row, RowsDisagree, Table

_FEW = 4
_KINDS: Mapping[str, str] = {
    "uuid": "uuid",
    "text": "text",
    "int": "bigint",
    "bool": "boolean",
    "real": "double precision",
    "time": "timestamptz",
}
# Not FOR UPDATE: a lease refers to its instance while it waits for nobody, and the two would wait for each other.
_LOCKED = "SELECT {columns} FROM workflows_workflowinstance WHERE {which} ORDER BY id FOR NO KEY UPDATE"
STEP_LOCK = (0x0F10, 1)
"""The advisory lock that the transactions of steps share: by it they are counted."""
_HOLD_STEP_LOCK: pipeline.Statement = (f"SELECT pg_advisory_xact_lock_shared({STEP_LOCK[0]}, {STEP_LOCK[1]})", ())
_BY_REFERENCE = "component_name = $1::text AND business_ref_no = $2::text"
_BY_ID = "id = $1::uuid"
_BY_ANY = (
    "id = ANY($1::uuid[]) OR id IN (SELECT i.id FROM unnest($2::text[], $3::text[]) k(a, b)"
    " JOIN workflows_workflowinstance i ON i.component_name = k.a AND i.business_ref_no = k.b)"
)


class Postgres:
    """`writes.Database` on a raw psycopg connection. `commits`: the transaction is ours to end."""

    def __init__(self, raw: Any, *, commits: bool) -> None:
        self._raw, self._commits = raw, commits
        self._ahead: tuple[pipeline.Statement, ...] = ()
        self._deletes: list[pipeline.Statement] = []
        self._shapes: list[_Shape] = []
        self._values: list[str | None] = []

    def runs_steps(self) -> None:
        self._ahead = (_HOLD_STEP_LOCK,)

    def instances(self, ids: Sequence[uuid.UUID], references: Sequence[tuple[str, str]], columns: str) -> list[Row]:
        values: list[Any]
        if len(references) == 1 and not ids:
            which, values = _BY_REFERENCE, list(references[0])
        elif len(ids) == 1 and not references:
            which, values = _BY_ID, [ids[0].hex]
        else:
            columns_of_references = list(zip(*references, strict=True)) or [(), ()]
            which = _BY_ANY
            values = [_array(ids, "uuid"), *(_array(column, "text") for column in columns_of_references)]
        return self._exchange((_LOCKED.format(columns=columns, which=which), values))

    def rows(self, sql: str, keys: Sequence[Row], kinds: Sequence[str]) -> list[Row]:
        if not keys:
            return []
        named = "abcdef"[: len(kinds)]
        if len(keys) == 1:
            pairs = enumerate(zip(kinds, named, strict=True), 1)
            listed = ", ".join(f"${n}::{_KINDS[kind]} AS {name}" for n, (kind, name) in pairs)
            query = sql.format(keys=f"(SELECT {listed}) k")
            values = [_text(value) for value in keys[0]]
        else:
            marks = ", ".join(f"${n}::{_KINDS[kind]}[]" for n, kind in enumerate(kinds, 1))
            query = sql.format(keys=f"unnest({marks}) k({', '.join(named)})")
            values = [_array(column, kind) for column, kind in zip(zip(*keys, strict=True), kinds, strict=True)]
        return self._exchange((query, values))

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        self._write(("insert", table, (), ()), tuple(table.columns.values()), rows)

    def update(self, table: Table, changed: Sequence[str], keys: Sequence[str], rows: Sequence[Row]) -> None:
        kinds = tuple(table.columns[name.removeprefix("old_")] for name in (*changed, *keys))
        self._write(("update", table, tuple(changed), tuple(keys)), kinds, rows)

    def delete(self, table: Table, keys: Sequence[str], rows: Sequence[Row]) -> None:
        if not rows:
            return
        kinds = [table.columns[name] for name in keys]
        marks = ", ".join(f"${n}::{_KINDS[kind]}[]" for n, kind in enumerate(kinds, 1))
        where = " AND ".join(f"t.{name} = u.{name}" for name in keys)
        values = [_array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
        sql = f"DELETE FROM {table.name} t USING unnest({marks}) u({', '.join(keys)}) WHERE {where}"
        self._deletes.append((sql, list(values)))

    def flush(self) -> None:
        if not self._shapes and not self._deletes:
            return
        statements = self._deletes
        if self._shapes:
            statements.append((_statement(tuple(self._shapes)), self._values))
        if self._commits:
            statements.append(pipeline.COMMIT)
        try:
            self._exchange(*statements)
        except psycopg.errors.DivisionByZero as error:
            raise RowsDisagree("Rows were not in the state that the log says") from error
        finally:
            self._deletes, self._shapes, self._values = [], [], []

    def _exchange(self, *statements: pipeline.Statement) -> list[Row]:
        begin = (pipeline.BEGIN,) if pipeline.is_idle(self._raw) else ()
        ahead, self._ahead = self._ahead, ()
        return pipeline.exchange(self._raw, (*begin, *ahead, *statements))

    def _write(self, what: _What, kinds: tuple[str, ...], rows: Sequence[Row]) -> None:
        if not rows:
            return
        many = len(rows) > _FEW
        self._shapes.append((*what, 0 if many else len(rows)))
        if many:
            self._values.extend(
                _array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)
            )
            if what[0] == "update":
                self._values.append(str(len(rows)))
        else:
            self._values.extend(_text(value) for row in rows for value in row)


_What = tuple[str, Table, tuple[str, ...], tuple[str, ...]]
_Shape = tuple[str, Table, tuple[str, ...], tuple[str, ...], int]


@lru_cache(maxsize=2000)
def _statement(shapes: tuple[_Shape, ...]) -> str:
    """All writes as one statement; it divides by zero when an update did not meet all of its rows."""
    number = iter(range(1, 65_536))
    parts: list[str] = []
    checks: list[str] = []
    for place, (verb, table, changed, keys, count) in enumerate(shapes):
        names = list(table.columns) if verb == "insert" else [*changed, *keys]
        kinds = [_KINDS[table.columns[name.removeprefix("old_")]] for name in names]
        source = _source(kinds, count, number)
        if verb == "insert":
            parts.append(f"w{place} AS (INSERT INTO {table.name} ({', '.join(names)}) {source})")
            continue
        sets = ", ".join(f"{name} = u.{name}" for name in changed)
        where = " AND ".join(f"t.{name.removeprefix('old_')} = u.{name}" for name in keys)
        parts.append(
            f"w{place} AS (UPDATE {table.name} t SET {sets} FROM ({source}) u({', '.join(names)})"
            f" WHERE {where} RETURNING 1)"
        )
        wanted = str(count) if count else f"${next(number)}::bigint"
        checks.append(f"1 / ((SELECT count(*) FROM w{place}) = {wanted})::int")
    return f"WITH {', '.join(parts)} SELECT {', '.join(checks) or '1'}"


def _source(kinds: Sequence[str], count: int, number: Iterator[int]) -> str:
    if not count:
        return f"SELECT * FROM unnest({', '.join(f'${next(number)}::{kind}[]' for kind in kinds)})"
    return "VALUES " + ", ".join(
        "(" + ", ".join(f"${next(number)}::{kind}" for kind in kinds) + ")" for _ in range(count)
    )


def _text(value: Any) -> str | None:
    kind = type(value)
    if value is None or kind is str:
        return value  # type: ignore[no-any-return]
    write = _TEXTS.get(kind)
    return write(value) if write is not None else str(value)


_TEXTS: Mapping[type, Callable[[Any], str]] = {
    uuid.UUID: lambda value: value.hex,
    dt.datetime: lambda value: value.isoformat(),
    bool: lambda value: "t" if value else "f",
    float: repr,
}


def _array(values: Sequence[Any], kind: str) -> str:
    """An array as PostgreSQL reads it (its manual, 8.15.2), faster than by adapting each element."""
    if kind == "text":
        return "{" + ",".join("NULL" if value is None else _quoted(value) for value in values) + "}"
    return "{" + ",".join("NULL" if value is None else _text(value) or "" for value in values) + "}"


def _quoted(value: str) -> str:
    if "\\" in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{value}"'


def is_away(error: psycopg.Error) -> bool:
    """This will tell whether the server is gone, starting, or ending, rather than refusing a statement."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    # No code: the connection broke. 08: it could not be had. 57P: the server ends, has crashed, or is not up yet.
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))


def is_passing(error: psycopg.Error) -> bool:
    """This will tell whether the transaction is worth trying again: a deadlock, a lost race."""
    if isinstance(error, psycopg.errors.UniqueViolation):
        # Somebody has just started the same instance: the next look finds it.
        return error.diag.constraint_name == "one_instance_per_reference"
    return isinstance(
        error,
        psycopg.errors.DeadlockDetected
        | psycopg.errors.SerializationFailure
        | psycopg.errors.LockNotAvailable
        | psycopg.errors.InvalidSqlStatementName,  # somebody has deallocated what we had prepared
    )
