"""Fifty thousand deadlines fall due at once: how long until all have gone off, and what do others notice of it?

    python -m tests.benchmarks.deadlines --database postgresql --server postgresql://postgres@127.0.0.1:5432/postgres
    python -m tests.benchmarks.deadlines --database sqlite

One process completes tasks of other instances, one transaction each, at a steady pace: first alone, then while worker
processes fire the deadlines. Printed are its 50th and 99th percentiles and their ratio, and how long the worker took.
Asked for at most: twice the 99th percentile, two minutes on PostgreSQL, five on SQLite.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests import servers
from tests.workers.places import Actor, Place, service, template

_SECRET = {"SECRET_KEY": "benchmarks-only-" + "0123456789" * 5}
_ROUND = 50
_PAUSE = 0.02
_LONGEST = {"postgresql": 120.0, "sqlite": 300.0}


def main() -> None:
    """Measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=sorted(_LONGEST), default="sqlite")
    parser.add_argument("--server", default="postgresql://postgres@127.0.0.1:5432/postgres", help="of PostgreSQL")
    parser.add_argument("--count", type=int, default=50_000, help="deadlines (default: 50000)")
    parser.add_argument("--workers", type=int, default=1, help="worker processes (default: 1)")
    parser.add_argument("--jobs", default="clock", help="what they do (default: clock)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="deadlines-"))
    name = f"deadlines_{uuid.uuid4().hex[:10]}"
    if options.database == "sqlite":
        url = f"sqlite:///{folder / 'site.sqlite3'}"
    else:
        _run(options.server, f"CREATE DATABASE {name}")
        url = urlsplit(options.server)._replace(path=f"/{name}").geturl()
    place = Place(options.database, folder, {**_SECRET, "DATABASE_URL": url, "DATA_DIR": str(folder)})
    try:
        servers.manage("migrate", "-v0", **place.environment)
        print(json.dumps(_measure(place, options)))
    finally:
        place.close()
        if options.database == "postgresql":
            _run(options.server, f"DROP DATABASE {name} WITH (FORCE)")
        shutil.rmtree(folder, ignore_errors=True)


def _measure(place: Place, options: argparse.Namespace) -> dict[str, Any]:
    actor, watch = place.actor(), place.actor()
    actor("publish", template=template("Timed", service("slow", timeout_seconds=0.001)))
    actor("publish", template=template("Other", service("one"), service("two", parent_task=["one"])))
    others = int(_LONGEST[options.database] / _PAUSE)
    actor("start", workflow="Other", refs=[f"O-{number}" for number in range(others)])
    actor("start", workflow="Timed", refs=[f"T-{number}" for number in range(options.count)])
    refs = iter([f"O-{number}" for number in range(others)])
    _events(actor, refs)  # to warm up
    alone = [took for _ in range(12) for took in _events(actor, refs)]
    began = time.monotonic()
    for _ in range(options.workers):
        place.worker("--only", options.jobs)
    amid: list[float] = []
    while watch("deadlines") and time.monotonic() - began < 1.5 * _LONGEST[options.database]:
        amid += _events(actor, refs)
    seconds = time.monotonic() - began
    memory = [_memory(worker.process.pid) for worker in place.workers]
    fired = watch("events", name="TaskFailed")
    assert fired == {"1": options.count}, fired
    return {
        "database": options.database,
        "deadlines": options.count,
        "seconds": round(seconds, 1),
        "at_most_seconds": _LONGEST[options.database],
        "events": len(amid),
        "p50_ms": [_ms(alone, 50), _ms(amid, 50)],
        "p99_ms": [_ms(alone, 99), _ms(amid, 99)],
        "workers_mb": memory,
        "p99_ratio": round(_percentile(amid, 99) / _percentile(alone, 99), 2),
    }


def _events(actor: Actor, refs: Any) -> list[float]:
    chosen = [ref for _, ref in zip(range(_ROUND), refs, strict=False)]
    took: list[float] = actor("timed", refs=chosen, task="one", pause=_PAUSE)
    return took


def _memory(process: int) -> dict[str, float]:
    """What a process holds, and what it holds for itself alone with its share of what it shares; {} but on Linux."""
    rollup = Path(f"/proc/{process}/smaps_rollup")
    if not rollup.exists():
        return {}
    lines = [line.split() for line in rollup.read_text().splitlines()[1:]]
    return {line[0].rstrip(":"): round(int(line[1]) / 1024, 1) for line in lines if line[0] in ("Rss:", "Pss:")}


def _percentile(values: list[float], which: int) -> float:
    return statistics.quantiles(values, n=100)[which - 1]


def _ms(values: list[float], which: int) -> float:
    return round(_percentile(values, which) * 1000, 2)


def _run(server: str, sql: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
