"""What all tests share: the engines, the database, a clock, and one loud line for what was missing."""

import inspect
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests import engines

_MISSING = "ENGINE MISSING: "
# Slow ones first: with two processes the rest fills the gaps.
_FIRST = ("postgresql", "architecture", "browser", "faults", "journeys")

# A busy machine is slow now and then, and that is no finding.
hypothesis_settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("house")


# --- Engines ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgresql_url() -> str:
    """The address of a real PostgreSQL: a maintenance database, by somebody who may create databases."""
    return _have(lambda: engines.postgresql().url)


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The address of a real Redis."""
    return _have(lambda: engines.redis().url)


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """The address of a real RabbitMQ."""
    return _have(lambda: engines.rabbitmq().url)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The program of Chromium."""
    return _have(engines.chromium)


def _have(find: Any) -> str:
    try:
        return str(find())
    except engines.EngineMissing as error:
        if os.environ.get("REQUIRE_ENGINES") == "1":
            pytest.fail(f"{_MISSING}{error}", pytrace=False)
        pytest.skip(f"{_MISSING}{error}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly, once for each engine, what could not be tested here."""
    counts: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if _MISSING in reason:
            missing = reason.partition(_MISSING)[2]
            counts[missing] = counts.get(missing, 0) + 1
    for missing, count in counts.items():
        terminalreporter.write_line(f"!!! NOT TESTED HERE ({count} tests): {missing}", red=True, bold=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers that the run has started, and remove its folder."""
    if hasattr(config, "workerinput"):
        return
    if folder := os.environ.get("TEST_DATA_DIR"):
        if Path(folder).exists():
            engines.stop_all()
        shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow folders first, leave out what belongs to the run on the other database, and see that asynchronous
    tests clean up after themselves.
    """
    here = Path(__file__).parent
    others = "only_on_sqlite" if "TEST_DATABASE_URL" in os.environ else "only_on_postgresql"
    items[:] = [item for item in items if item.get_closest_marker(others) is None]

    def rank(item: pytest.Item) -> int:
        parts = item.path.relative_to(here).parts if item.path.is_relative_to(here) else ("",)
        return _FIRST.index(parts[0]) if parts[0] in _FIRST else len(_FIRST)

    items.sort(key=rank)
    for item in items:
        # Only where there is a loop anyway: a loop around a synchronous browser test would forbid it the database.
        if inspect.iscoroutinefunction(getattr(item, "function", None)):
            item.add_marker(pytest.mark.usefixtures("_close_connections_of_async_tests"))


# --- The database -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Make the tests' database, and see that it can be dropped whoever still holds a connection."""
    from django.db import connection

    yield
    with django_db_blocker.unblock():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                )


@pytest.fixture(scope="session", autouse=True)
def _flush_past_the_guards() -> Iterator[None]:
    # The migrations install triggers that refuse to empty the event log. Between two transactional tests it is emptied
    # nevertheless, by the tests alone.
    from django.db.backends.base.operations import BaseDatabaseOperations

    flush = BaseDatabaseOperations.execute_sql_flush

    def execute_sql_flush(self: Any, sql_list: Any) -> None:
        try:
            from workflows.models import triggers
        except ImportError:
            flush(self, sql_list)
            return
        triggers.remove(self.connection)
        try:
            flush(self, sql_list)
        finally:
            triggers.install(self.connection)

    patch = pytest.MonkeyPatch()
    patch.setattr(BaseDatabaseOperations, "execute_sql_flush", execute_sql_flush)
    yield
    patch.undo()


@pytest_asyncio.fixture
async def _close_connections_of_async_tests() -> Any:
    # The thread behind sync_to_async keeps its connection, and a database in use cannot be dropped.
    yield
    from django.db import connections

    await sync_to_async(connections.close_all)()
