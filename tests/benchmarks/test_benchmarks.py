"""The benchmarks still run, and count right: a handful of instances, and no look at the time."""

import json
import os
import subprocess
import sys

import pytest

from tests import servers
from tests.tree import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


def measure(folder, *names, **environment):
    results = folder / "results.json"
    only = [word for name in names for word in ("--only", name)]
    subprocess.run(
        [
            sys.executable, "-m", "tests.benchmarks", "--rounds", "1", "--instances", "12", "--tasks", "40",
            "--json", str(results), *only,
        ],
        cwd=ROOT, env=servers.environment(**environment), check=True, timeout=400,
    )  # fmt: skip
    return {result["name"]: result for result in json.loads(results.read_text())}


def test_the_figures_of_sqlite(tmp_path):
    results = measure(tmp_path, "sqlite", "stage-sqlite", "plugins-sqlite", "steps-sqlite")

    assert set(results) == {"sqlite", "stage-sqlite", "plugins-sqlite", "steps-sqlite"}
    assert all(result["product"] > 0 and result["ratio"] > 0 for result in results.values())


def test_the_figures_of_postgresql(tmp_path, postgresql_url):
    names = ["batch-batch", "cost"]
    if os.environ.get("CI"):  # each starts processes of its own: half a minute more
        names += ["event-2", "http", "latency-p50", "stage-postgresql"]

    results = measure(tmp_path, *names, TEST_POSTGRESQL_URL=postgresql_url)

    assert set(names) - {"cost"} <= set(results)
    assert all(result["product"] > 0 for result in results.values())
    # One for each event; the relay's few weigh more among so few instances.
    assert 6 <= results["cost-1-commits"]["product"] < 8


def test_what_processes_weigh(tmp_path, postgresql_url, rabbitmq_url, redis_url):
    # Not in the run's own part of the broker: it takes from queues with everybody's names.
    named = {name: os.environ[name] for name in ("TEST_RABBITMQ_URL",) if name in os.environ}
    environment = servers.environment(TEST_POSTGRESQL_URL=postgresql_url, TEST_REDIS_URL=redis_url, **named)

    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.memory", "--instances", "6"],
        cwd=ROOT, env=environment, check=True, timeout=240, capture_output=True, text=True,
    )  # fmt: skip

    result = json.loads(done.stdout.splitlines()[-1])

    assert set(result["idle"]) == set(result["after"]) == {"web", "worker", "further_worker"}
    assert all(0 < size["pss"] <= size["rss"] for moment in ("idle", "after") for size in result[moment].values())


def test_a_broker_that_is_away_holds_nobody_up(postgresql_url, rabbitmq_url):
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.broker_away", "--seconds", "4"],
        cwd=ROOT, env=servers.environment(TEST_POSTGRESQL_URL=postgresql_url), check=True, timeout=300,
        capture_output=True, text=True,
    )  # fmt: skip

    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["started"], result["decided"], result["refused"]) == (160, 40, 0)
    assert result["unsent"] > 0
    assert result["drained_after"] < 120
