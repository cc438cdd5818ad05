"""How a transaction that writes is opened: the only place that chooses between the databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection, transaction

from workflows.models import postgresql
from workflows.models.sqlite import Sqlite
from workflows.models.writes import Database

_one_writer = threading.RLock()


@contextmanager
def writing() -> Iterator[Database]:
    """This will open a transaction that may write.

    SQLite has one writer at a time: threads of this process queue here in order, instead of trying again and again.
    """
    if connection.vendor == "sqlite":
        with _one_writer, transaction.atomic():
            yield Sqlite(connection.connection)
    else:
        outermost = not connection.in_atomic_block
        with transaction.atomic(), connection.wrap_database_errors:
            yield postgresql.Postgres(connection.connection, commits=outermost)


def is_away(error: Exception) -> bool:
    """This will tell whether the database did not answer at all, so that nobody's command can be blamed."""
    cause = error.__cause__
    return isinstance(cause, psycopg.Error) and postgresql.is_away(cause)


def is_passing(error: Exception) -> bool:
    """This will tell whether a failed transaction is worth trying again: a deadlock, a lost race, a busy file."""
    cause = error.__cause__
    if isinstance(cause, psycopg.Error):
        return postgresql.is_passing(cause)
    return "database is locked" in str(error)
