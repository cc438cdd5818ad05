"""Databases that are ready, copied for each test."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests import servers
from tests.workers.places import Actor, Place

_SECRET = {"SECRET_KEY": "tests-only-" + "0123456789" * 5}


@pytest.fixture(scope="session")
def ready_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of SQLite with the site's tables."""
    file = tmp_path_factory.mktemp("ready") / "ready.sqlite3"
    servers.manage("migrate", "-v0", DATABASE_URL=f"sqlite:///{file}", **_SECRET)
    return file


@pytest.fixture(scope="session")
def ready_database(postgresql_url: str) -> Iterator[str]:
    """The name of a database of PostgreSQL with the site's tables, to be copied."""
    name = f"workers_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        servers.manage("migrate", "-v0", DATABASE_URL=_address(postgresql_url, name), **_SECRET)
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def on_sqlite(ready_file: Path, tmp_path: Path) -> Iterator[Place]:
    """A site on a file."""
    file = shutil.copy(ready_file, tmp_path / "site.sqlite3")
    place = _place("sqlite", tmp_path, f"sqlite:///{file}")
    yield place
    place.close()


@pytest.fixture
def on_postgresql(postgresql_url: str, ready_database: str, tmp_path: Path) -> Iterator[Place]:
    """A site on PostgreSQL."""
    name = f"workers_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {ready_database}")
        place = _place("postgresql", tmp_path, _address(postgresql_url, name))
        yield place
        place.close()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    """A site on each of the databases."""
    found: Place = request.getfixturevalue(f"on_{request.param}")
    return found


@pytest.fixture
def actor(place: Place) -> Actor:
    """Somebody to ask on that site."""
    return place.actor()


def _place(kind: str, folder: Path, url: str) -> Place:
    environment = {
        **_SECRET,
        "DATABASE_URL": url,
        "DATA_DIR": str(folder),
        "GATES": str(folder),
        "STEP_MODULES": "tests.workers.steps",
        "INBOUND_QUEUE": f"tests-{uuid.uuid4().hex[:8]}",
    }
    return Place(kind, folder, environment)


def _address(server: str, name: str) -> str:
    return urlsplit(server)._replace(path=f"/{name}").geturl()
