"""The benchmark of the websockets works: a small run of it; the figures of a busy machine are not judged."""

import argparse

import pytest

from tests.benchmarks import websockets


@pytest.mark.timeout(180)
def test_everybody_hears_of_everything(postgresql_url, redis_url):
    chosen = argparse.Namespace(sockets=40, seconds=3.0, rate=4.0, no_redis=False)

    result = websockets.run(chosen)

    assert (result.commits, result.converged) == (12, 40)
    # Two topics for half of them; commits may travel together.
    assert 40 <= result.frames <= 12 * 60
    assert result.kib_per_socket < 400
