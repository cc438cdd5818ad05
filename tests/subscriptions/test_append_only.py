"""What has happened to subscriptions and to the engine cannot be rewritten, by nobody who has the database."""

import pytest
from django.db import DatabaseError, connection, transaction

from workflows.models import triggers
from workflows.runtime import pausing

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _something_has_happened(nodes):
    """A subscription with a history, and an engine that was paused."""
    nodes.make()
    pausing.pause(by="olivia", reason="to see it written down")
    pausing.resume(by="olivia")


def _refused(statement):
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def _count(table):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return cursor.fetchone()[0]


@pytest.mark.parametrize("change", ["UPDATE {} SET id = id", "UPDATE {} SET id = 1000 WHERE id > 0", "DELETE FROM {}"])
@pytest.mark.parametrize("table", triggers.HISTORIES)
def test_a_history_refuses_to_be_changed(table, change):
    before = _count(table)
    assert before > 0

    _refused(change.format(table))

    assert _count(table) == before


@pytest.mark.only_on_postgresql
@pytest.mark.parametrize("table", triggers.HISTORIES)
def test_a_history_refuses_to_be_emptied(table):
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    _refused(f"TRUNCATE {table} CASCADE")

    assert _count(table) > 0
