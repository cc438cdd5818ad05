"""The time of the database: a process whose own clock jumps goes on by it."""

import datetime as dt
import time

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from workflows.runtime import moments
from workflows.runtime.moments import DatabaseTime

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NEAR = dt.timedelta(seconds=2)
"""How far a busy machine may be behind between two looks at a clock."""


def test_it_is_about_what_this_machine_says():
    assert abs(DatabaseTime()() - timezone.now()) < NEAR
    assert DatabaseTime()().utcoffset() == dt.timedelta(0)


def only_where_the_database_has_a_clock():
    return connection.vendor == "postgresql"


@pytest.mark.parametrize("jump", [3600, -3600])
def test_a_clock_of_this_machine_that_jumps_does_not_move_it(monkeypatch, jump):
    now = DatabaseTime()
    right = now()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    monkeypatch.setattr(timezone, "now", lambda: dt.datetime.now(dt.UTC) + dt.timedelta(seconds=jump))

    if only_where_the_database_has_a_clock():
        assert abs(now() - right) < NEAR
    else:
        # SQLite runs on this machine's clock: what F30 asks for there is that nothing fires twice (test_deadlines).
        assert abs(now() - right - dt.timedelta(seconds=jump)) < NEAR


def test_it_asks_seldom_and_counts_on(monkeypatch, django_assert_num_queries):
    now = DatabaseTime()
    asked = 1 if only_where_the_database_has_a_clock() else 0
    with django_assert_num_queries(asked):
        moments_seen = [now() for _ in range(50)]

    assert moments_seen == sorted(moments_seen)
    monkeypatch.setattr(moments, "FRESH", -1.0)
    with django_assert_num_queries(asked):
        now()


def test_it_goes_on_while_the_database_is_away(monkeypatch, caplog):
    now = DatabaseTime()
    right = now()
    monkeypatch.setattr(moments, "FRESH", -1.0)

    def away():
        raise OperationalError("gone")

    monkeypatch.setattr(moments, "_ask", away)

    assert abs(now() - right) < NEAR
    assert ("does not tell the time" in caplog.text) is only_where_the_database_has_a_clock()
