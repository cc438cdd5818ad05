"""Statements that travel together: their answers, their errors, and what a connection remembers of them."""

import psycopg
import pytest

from workflows.models import pipeline
from workflows.models.pipeline import BEGIN, COMMIT, exchange, is_idle


@pytest.fixture
def raw(postgresql_url):
    connection = psycopg.connect(postgresql_url)
    yield connection
    connection.close()


def test_a_transaction_is_two_exchanges(raw):
    assert exchange(raw, [BEGIN, ("SELECT $1::bigint, $2::text, NULL", ("7", "ü"))]) == [(7, "ü", None)]
    assert not is_idle(raw)

    assert exchange(raw, [("SELECT 1", ()), COMMIT]) == []
    assert is_idle(raw)


def test_the_first_error_is_raised_and_the_connection_lives_on(raw):
    with pytest.raises(psycopg.errors.DivisionByZero):
        exchange(raw, [BEGIN, ("SELECT 1 / $1::int", ("0",)), ("SELECT 2", ()), COMMIT])
    raw.rollback()

    assert exchange(raw, [BEGIN, ("SELECT 1 / $1::int", ("1",))]) == [(1,)]
    assert exchange(raw, [("SELECT 2", ())]) == [(2,)]


def test_a_text_that_does_not_compile_is_no_lasting_harm(raw):
    for _ in range(2):
        with pytest.raises(psycopg.errors.SyntaxError):
            exchange(raw, [BEGIN, ("SELEKT", ())])
        raw.rollback()

    assert exchange(raw, [("SELECT 1", ())]) == [(1,)]


def test_no_text_is_cut_off_at_a_nul(raw):
    with pytest.raises(psycopg.DataError):
        exchange(raw, [("SELECT $1::text", ("a\0b",))])

    assert exchange(raw, [("SELECT $1::text", ("ab",))]) == [("ab",)]


def test_a_statement_is_prepared_once(raw):
    for number in range(5):
        exchange(raw, [BEGIN, ("SELECT $1::int", (str(number),)), COMMIT])

    prepared = raw.execute("SELECT statement FROM pg_prepared_statements ORDER BY 1").fetchall()
    assert [text for (text,) in prepared] == ["BEGIN", "COMMIT", "SELECT $1::int"]


def test_a_connection_forgets_its_statements_when_they_become_too_many(raw, monkeypatch):
    monkeypatch.setattr(pipeline, "MOST_PREPARED", 3)

    for number in range(20):
        assert exchange(raw, [(f"SELECT {number}", ())]) == [(number,)]

    assert raw.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0] <= 4


def test_what_somebody_else_has_deallocated_is_prepared_again(raw):
    exchange(raw, [("SELECT 1", ())])
    raw.execute("DEALLOCATE ALL")

    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        exchange(raw, [("SELECT 1", ())])
    raw.rollback()

    assert exchange(raw, [("SELECT 1", ())]) == [(1,)]


def test_much_may_be_under_way_in_both_directions(raw):
    text = "x" * 3_000_000

    rows = exchange(raw, [BEGIN, *[("SELECT $1::text", (text,))] * 5])

    assert rows == [(text,)]


def test_a_connection_that_was_lost_says_so(raw):
    raw.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        exchange(raw, [("SELECT pg_terminate_backend(pg_backend_pid())", ())])
    with pytest.raises(psycopg.OperationalError):
        exchange(raw, [("SELECT 1", ())])
    assert raw.closed
