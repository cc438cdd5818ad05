"""SQLite for the hot path: in the same process, so that a statement for each row costs no round trip."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from workflows.models.writes import Row, RowsDisagree, Table


class Sqlite:
    """`writes.Database` on a raw connection of the sqlite3 module."""

    def __init__(self, raw: Any) -> None:
        self._execute = raw.execute
        self._many = raw.executemany

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
        return [(uuid.UUID(hex=row[0]), uuid.UUID(hex=row[1]), *row[2:]) for row in found.values()]

    def rows(self, sql: str, keys: Sequence[Row], kinds: Sequence[str]) -> list[Row]:
        named = ", ".join(f"? AS {name}" for name in "abcdef"[: len(kinds)])
        query = sql.format(keys=f"(SELECT {named}) k")
        return [row for key in keys for row in self._execute(query, _values(key))]

    def insert(self, table: Table, rows: Sequence[Row]) -> None:
        if len(rows) == 1:
            self._execute(_insert(table), _values(rows[0]))
        elif rows:
            self._many(_insert(table), [_values(row) for row in rows])

    def update(self, table: Table, changed: Sequence[str], keys: Sequence[str], rows: Sequence[Row]) -> None:
        if not rows:
            return
        sql = _update(table.name, tuple(changed), tuple(keys))
        if len(rows) == 1:
            done = self._execute(sql, _values(rows[0])).rowcount
        else:
            done = self._many(sql, [_values(row) for row in rows]).rowcount
        if done != len(rows):
            raise RowsDisagree(f"{table.name}: {done} of {len(rows)} rows were as the log says")

    def delete(self, table: Table, keys: Sequence[str], rows: Sequence[Row]) -> None:
        if rows:
            where = " AND ".join(f"{name} = ?" for name in keys)
            self._many(f"DELETE FROM {table.name} WHERE {where}", [_values(row) for row in rows])

    def flush(self) -> None:
        pass


@lru_cache(maxsize=64)
def _insert(table: Table) -> str:
    return f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({', '.join('?' * len(table.columns))})"


@lru_cache(maxsize=64)
def _update(table: str, changed: tuple[str, ...], keys: tuple[str, ...]) -> str:
    sets = ", ".join(f"{name} = ?" for name in changed)
    where = " AND ".join(f"{name.removeprefix('old_')} = ?" for name in keys)
    return f"UPDATE {table} SET {sets} WHERE {where}"


def _values(row: Row) -> list[Any]:
    return [_WRITTEN[type(value)](value) if type(value) in _WRITTEN else value for value in row]


@lru_cache(maxsize=256)  # most of a transaction's moments are the same one
def _moment(value: dt.datetime) -> str:
    # As Django's own backend writes it: UTC, without a zone.
    if value.tzinfo is dt.UTC:
        return value.replace(tzinfo=None).isoformat(" ")
    return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat(" ")


_WRITTEN: Mapping[type, Callable[[Any], str]] = {uuid.UUID: lambda value: value.hex, dt.datetime: _moment}
