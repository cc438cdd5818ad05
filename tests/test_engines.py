"""The servers that the tests use are real and answer."""

import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from kombu import Connection

from tests import engines


def test_postgresql_answers(postgresql_url):
    with psycopg.connect(postgresql_url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_redis_answers(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()


def test_rabbitmq_answers(rabbitmq_url):
    with Connection(rabbitmq_url) as connection:
        connection.channel().close()


def test_chromium_is_a_program(chromium_path):
    assert chromium_path


@pytest.mark.slow
def test_a_postgresql_of_our_own_can_be_started_and_stopped():
    engine = engines.start_postgresql()
    try:
        with psycopg.connect(engine.url) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    finally:
        engines.stop(engine)

    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(engine.url, connect_timeout=2)


@pytest.mark.slow
def test_a_redis_of_our_own_can_be_started_and_stopped():
    engine = engines.start_redis()
    try:
        with redis.Redis.from_url(engine.url) as client:
            assert client.ping()
    finally:
        engines.stop(engine)

    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(engine.url) as client:
        client.ping()


@pytest.mark.slow
def test_a_rabbitmq_of_our_own_keeps_its_port_and_its_data_when_it_is_killed():
    try:
        engine = engines.start_rabbitmq()
    except engines.EngineMissing as missing:
        pytest.skip(f"ENGINE MISSING: {missing}")
    folder, port = Path(engine.folders[0]), int(urlsplit(engine.url).port)
    try:
        os.killpg(engine.pids[0], signal.SIGKILL)
        engine = engines.start_rabbitmq(port=port, base=folder)

        with Connection(engine.url) as connection:
            connection.channel().close()
    finally:
        engines.stop(engine)
