"""What the environment may say, and what it may not."""

from pathlib import Path

import pytest

from orchestrator_site import environment
from orchestrator_site.environment import BadEnvironment

BASE = Path("/base")


def database(url, **more):
    return environment.database(url, base_dir=BASE, **more)


def test_a_sqlite_file_lies_beside_the_site_or_where_it_says():
    assert database("sqlite:///var/a.sqlite3")["NAME"] == "/base/var/a.sqlite3"
    assert database("sqlite:////data/a.sqlite3")["NAME"] == "/data/a.sqlite3"


def test_sqlite_locks_at_once_and_syncs_fully():
    options = database("sqlite:///a.sqlite3")["OPTIONS"]

    assert options["transaction_mode"] == "IMMEDIATE"
    assert "synchronous=FULL" in options["init_command"]


def test_a_postgresql_address_is_taken_apart():
    entry = database("postgresql://me:p%40ss@db.example.org:5433/flows?sslmode=require")

    assert entry["ENGINE"] == "django.db.backends.postgresql"
    assert (entry["USER"], entry["PASSWORD"], entry["HOST"], entry["PORT"], entry["NAME"]) == (
        "me",
        "p@ss",
        "db.example.org",
        "5433",
        "flows",
    )
    assert entry["OPTIONS"]["sslmode"] == "require"


@pytest.mark.parametrize(
    "url", ["postgresql://me@/flows?host=/run/postgresql", "postgres://me@%2Frun%2Fpostgresql/flows"]
)
def test_a_postgresql_socket_is_a_folder(url):
    assert database(url)["HOST"] == "/run/postgresql"


def test_a_pool_and_lasting_connections_exclude_each_other():
    assert "CONN_MAX_AGE" not in database("postgresql://me@db/flows", pool_size=4)
    assert "pool" not in database("postgresql://me@db/flows", pool_size=0)["OPTIONS"]


def test_a_stuck_session_does_not_hold_the_others_for_ever():
    session = {"lock_timeout": 5000, "statement_timeout": 30000}

    assert database("postgresql://me@db/flows", session=session)["OPTIONS"]["options"] == (
        "-c lock_timeout=5000 -c statement_timeout=30000"
    )
    assert database("postgresql://me@db/flows?options=-c%20a=1", session=session)["OPTIONS"]["options"] == "-c a=1"
    assert "options" not in database("postgresql://me@db/flows")["OPTIONS"]


@pytest.mark.parametrize("url", ["mysql://a/b", "flows.sqlite3", "sqlite://", "sqlite:///", "postgresql://me@db/"])
def test_an_address_that_cannot_be_used_is_refused(url):
    with pytest.raises(BadEnvironment, match="DATABASE_URL"):
        database(url)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("yes", True), ("0", False), ("", False), ("False", False)])
def test_a_flag(monkeypatch, text, value):
    monkeypatch.setenv("A_FLAG", text)

    assert environment.flag("A_FLAG", default=not value) is value


def test_a_flag_that_is_neither(monkeypatch):
    monkeypatch.setenv("A_FLAG", "perhaps")

    with pytest.raises(BadEnvironment, match="A_FLAG is 'perhaps'"):
        environment.flag("A_FLAG")


def test_a_number_has_a_least(monkeypatch):
    monkeypatch.setenv("A_NUMBER", "3")

    assert environment.number("A_NUMBER", default=5) == 3
    with pytest.raises(BadEnvironment, match="least that works is 8"):
        environment.number("A_NUMBER", default=5, least=8)


def test_a_number_that_is_none(monkeypatch):
    monkeypatch.setenv("A_NUMBER", "many")

    with pytest.raises(BadEnvironment, match="whole number"):
        environment.number("A_NUMBER", default=5)
