"""Statements that travel to PostgreSQL together: one round trip, and each text prepared once for a connection.

Note [Not psycopg's own pipeline]
psycopg's pipeline waits for BEGIN before it sends the query, and for one more answer when it ends; with its cursors it
costs Python more than all else of a transaction. This speaks to libpq through psycopg's wrapper and waits as psycopg
waits. It names prepared statements itself: Django's connections prepare nothing, so nobody deallocates them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg import generators
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus

from workflows.models.writes import Row

Statement = tuple[str, Sequence[str | None]]
"""A text with $1, $2 … and its values, as texts."""

BEGIN: Statement = ("BEGIN", ())
COMMIT: Statement = ("COMMIT", ())

MOST_PREPARED = 250
"""How many statements a connection keeps: a batch's text depends on what it writes, and there are many such texts."""


class _Prepared:
    """The statements that a connection has prepared: text -> name."""

    def __init__(self) -> None:
        self.names: dict[str, bytes] = {}
        self.fresh = (b"w%d" % number for number in count())


_of_connections: WeakKeyDictionary[Any, _Prepared] = WeakKeyDictionary()


def is_idle(raw: Any) -> bool:
    """This will tell whether no transaction is open."""
    return bool(raw.pgconn.transaction_status == TransactionStatus.IDLE)


def exchange(raw: Any, statements: Sequence[Statement]) -> list[Row]:
    """This will send the statements together, wait for all, and give the rows of the last. Raises the first error."""
    known = _of_connections.get(raw)
    if known is None:
        known = _of_connections[raw] = _Prepared()
    too_many = len(known.names) > MOST_PREPARED
    if too_many:
        known.names.clear()
    # Written before the first is sent: what cannot be written must not leave half a pipeline behind.
    written = [(sql, _written(values)) for sql, values in statements]
    pgconn = raw.pgconn
    if pgconn.status != ConnStatus.OK:
        raise psycopg.OperationalError("the connection is closed")
    begun: dict[str, bytes] = {}
    awaited: list[str | None] = []
    try:
        pgconn.enter_pipeline_mode()
        if too_many:
            pgconn.send_query_params(b"DEALLOCATE ALL", None)
            awaited.append(None)
        for sql, values in written:
            name = known.names.get(sql) or begun.get(sql)
            if name is None:
                name = begun[sql] = next(known.fresh)
                pgconn.send_prepare(name, sql.encode())
                awaited.append(sql)
            pgconn.send_query_prepared(name, values)
            awaited.append(None)
        pgconn.pipeline_sync()
        results = raw.wait(_answers(pgconn, len(awaited)))
        pgconn.exit_pipeline_mode()
    except BaseException:
        # Nobody knows what is still under way: the server rolls back, and Django opens another connection.
        pgconn.finish()
        raise
    for prepared, result in zip(awaited, results, strict=True):
        if result.status == ExecStatus.FATAL_ERROR:
            error = psycopg.errors.error_from_result(result, encoding="utf-8")
            if isinstance(error, psycopg.errors.InvalidSqlStatementName):
                known.names.clear()
            raise error
        if prepared is not None:
            known.names[prepared] = begun[prepared]
    last = results[-1]
    if last.status != ExecStatus.TUPLES_OK:
        return []
    reader = Transformer(raw)
    reader.set_pgresult(last)
    return [*reader.load_rows(0, last.ntuples, tuple)]


def _written(values: Sequence[str | None]) -> list[bytes | None]:
    # libpq would cut a text off at its first NUL.
    if any(value is not None and "\0" in value for value in values):
        raise psycopg.DataError("PostgreSQL keeps no text with a NUL in it")
    return [None if value is None else value.encode() for value in values]


def _answers(pgconn: Any, wanted: int) -> Generator[Any, Any, list[Any]]:
    yield from generators.send(pgconn)
    results = []
    for _ in range(wanted):
        answer = yield from generators.fetch_many(pgconn)
        results.append(answer[-1])
    yield from generators.fetch_many(pgconn)  # the end of the pipeline
    return results
