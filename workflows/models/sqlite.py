"""SQLite for the hot path: in the same process, so that a statement for each row costs no round trip."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from django.db import DatabaseError

from workflows.models.writes import Row, RowsDisagree, Table


class Sqlite:
    """`writes.Database` on a raw connection of the sqlite3 module."""

    def __init__(self, raw: Any) -> None:
        # One cursor for the transaction: each question is read to its end before the next is asked.
        self._cursor = raw.cursor()
        self._execute, self._many = self._cursor.execute, self._cursor.executemany

    def runs_steps(self) -> None:
        pass

    def instances(self, ids: Sequence[uuid.UUID], references: Sequence[tuple[str, str]], columns: str) -> list[Row]:
        found: dict[str, Row] = {}
        for key in ids:
            for row in self._execute(f"SELECT {columns} FROM workflows_workflowinstance WHERE id = ?", (key.hex,)):
                found[row[0]] = row
        by_reference = (
            f"SELECT {columns} FROM workflows_workflowinstance WHERE component_name = ? AND business_ref_no = ?"
        )
        for reference in references:
            for row in self._execute(by_reference, reference):
                found[row[0]] = row
        return [(_uuid(row[0]), _uuid(row[1]), *row[2:]) for row in found.values()]

    def rows(self, sql: str, keys: Sequence[Row], kinds: Sequence[str]) -> list[Row]:
        named = ", ".join(f"? AS {name}" for name in "abcdef"[: len(kinds)])
        query = sql.format(keys=f"(SELECT {named}) k")
        adapted = _adapted(tuple(kinds))
        return [row for key in keys for row in self._execute(query, _values(key, adapted))]

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            self._write(_insert(table), rows)

    def update(self, table: Table, changed: Sequence[str], keys: Sequence[str], rows: Sequence[Row]) -> None:
        if not rows:
            return
        done = self._write(_update(table, tuple(changed), tuple(keys)), rows)
        if done != len(rows):
            raise RowsDisagree(f"{table.name}: {done} of {len(rows)} rows were as the log says")

    def delete(self, table: Table, keys: Sequence[str], rows: Sequence[Row]) -> None:
        if rows:
            self._write(_delete(table, tuple(keys)), rows)

    def flush(self) -> None:
        pass

    def _write(self, statement: _Statement, rows: Sequence[Row]) -> int:
        sql, adapted = statement
        if len(rows) == 1:
            self._execute(sql, _values(rows[0], adapted))
        else:
            self._many(sql, [_values(row, adapted) for row in rows])
        return int(self._cursor.rowcount)


@contextmanager
def outermost(here: Any) -> Iterator[None]:
    """This will do what `transaction.atomic()` does where nothing is open: that costs more than BEGIN and COMMIT.

    It keeps Django's books, so that atomic blocks inside are nested in this one and `on_commit` waits for its end.
    """
    with here.wrap_database_errors:
        here.connection.execute("BEGIN IMMEDIATE")
    here.in_atomic_block, here.commit_on_exit, here.needs_rollback = True, True, False
    failed = True
    try:
        yield
        failed = here.needs_rollback
    finally:
        here.in_atomic_block = False
        if here.closed_in_transaction:
            here.connection = None  # SQLite has rolled back by itself
        elif failed:
            here.rollback()
        else:
            _commit(here)


def _commit(here: Any) -> None:
    try:
        with here.wrap_database_errors:
            here.connection.commit()
    except DatabaseError:
        here.rollback()
        raise
    here.run_and_clear_commit_hooks()


_Adapted = Sequence[tuple[int, Callable[[Any], str]]]
"""The places of a row whose values SQLite has no type for, and how they are written."""

_Statement = tuple[str, _Adapted]


@lru_cache(maxsize=64)
def _insert(table: Table) -> _Statement:
    sql = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({', '.join('?' * len(table.columns))})"
    return sql, _adapted(tuple(table.columns.values()))


@lru_cache(maxsize=64)
def _update(table: Table, changed: tuple[str, ...], keys: tuple[str, ...]) -> _Statement:
    sets = ", ".join(f"{name} = ?" for name in changed)
    columns = [name.removeprefix("old_") for name in keys]
    sql = f"UPDATE {table.name} SET {sets} WHERE {' AND '.join(f'{name} = ?' for name in columns)}"
    return sql, _adapted(tuple(table.columns[name] for name in (*changed, *columns)))


@lru_cache(maxsize=64)
def _delete(table: Table, keys: tuple[str, ...]) -> _Statement:
    sql = f"DELETE FROM {table.name} WHERE {' AND '.join(f'{name} = ?' for name in keys)}"
    return sql, _adapted(tuple(table.columns[name] for name in keys))


@lru_cache(maxsize=64)
def _adapted(kinds: tuple[str, ...]) -> _Adapted:
    return [(place, _WRITTEN[kind]) for place, kind in enumerate(kinds) if kind in _WRITTEN]


def _values(row: Row, adapted: _Adapted) -> list[Any]:
    values = [*row]
    for place, write in adapted:
        if values[place] is not None:
            values[place] = write(values[place])
    return values


@lru_cache(maxsize=256)  # most of a transaction's ids are the same one
def _hex(value: uuid.UUID) -> str:
    return value.hex


@lru_cache(maxsize=256)  # … and so are most of its moments
def _moment(value: dt.datetime) -> str:
    # As Django's own backend writes it: UTC, without a zone.
    if value.tzinfo is dt.UTC:
        return value.replace(tzinfo=None).isoformat(" ")
    return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat(" ")


_WRITTEN: Mapping[str, Callable[[Any], str]] = {"uuid": _hex, "time": _moment}


@lru_cache(maxsize=1000)
def _uuid(value: str) -> uuid.UUID:
    return uuid.UUID(hex=value)
