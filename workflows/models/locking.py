"""How a transaction that writes is opened: the only place that chooses between the databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from workflows.models import postgresql, sqlite
from workflows.models.writes import Database

_one_writer = threading.RLock()


@contextmanager
def writing() -> Iterator[Database]:
    """This will open a transaction that may write.

    SQLite has one writer at a time: threads of this process queue here in order, instead of trying again and again.
    """
    here = connections[DEFAULT_DB_ALIAS]
    if here.vendor == "sqlite":
        with _one_writer:
            is_open = here.in_atomic_block or not here.get_autocommit()
            with transaction.atomic() if is_open else sqlite.outermost(here):
                yield sqlite.Sqlite(here.connection)
    else:
        outermost = not here.in_atomic_block
        with transaction.atomic(), here.wrap_database_errors:
            yield postgresql.Postgres(here.connection, commits=outermost)


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


def is_race(error: Exception) -> bool:
    """This will tell whether two were in each other's way, and this one had to give in."""
    return isinstance(error.__cause__, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure)
