"""A database of one's own on the server that all tests share."""

import uuid
from urllib.parse import urlsplit

import psycopg
import pytest


@pytest.fixture
def database_url(postgresql_url):
    name = f"demo_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield urlsplit(postgresql_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
