"""RabbitMQ is away for minutes while instances start and people decide: nothing is refused, and all goes out after.

python -m tests.benchmarks.broker_away --seconds 300
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests import engines, servers
from tests.benchmarks.databases import Databases
from tests.tree import ROOT

STARTS_A_SECOND = 40
DECISIONS_A_SECOND = 10
TASKS = (
    ("ORDER", "confirm_order"),
    ("PREPARE", "make_food"),
    ("PREPARE", "assign_executive"),
    ("PREPARE", "confirm_delivery"),
)


class Site:
    """A web process and a worker on PostgreSQL and a RabbitMQ of their own."""

    def __init__(self, folder: Path, url: str, broker: str) -> None:
        settings = {
            "DATABASE_URL": url, "BROKER_URL": broker, "DATA_DIR": str(folder), "SECRET_KEY": "benchmarks-only-" + "9" * 50,
        }  # fmt: skip
        self.token = servers.manage("create_api_token", "benchmark", **settings).strip()
        port = engines.free_port()
        self.web = servers.start("manage.py", "serve", "--port", str(port), port=port, folder=folder, **settings)
        with (folder / "worker.log").open("wb") as log:
            self.worker = subprocess.Popen(
                [sys.executable, "manage.py", "run_worker"],
                cwd=ROOT, env=servers.environment(**settings), stdout=log, stderr=log,
            )  # fmt: skip

    def ask(self, path: str, body: Any = None) -> Any:
        """Ask the API; whatever is not 2xx raises."""
        request = urllib.request.Request(
            f"{self.web.url}/api/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def start(self, reference: str) -> None:
        """Start a pizza."""
        self.ask("instances/", {"component_name": "ITALIAN", "business_ref_no": reference})

    def bring_to_the_door(self, references: Sequence[str]) -> None:
        """Answer what services would answer, so that only people are waited for."""
        for stage, task in TASKS:
            said = {"component_name": "ITALIAN", "event_name": "TaskCompleted", "stage_name": stage, "task_name": task}
            events = [{**said, "business_ref_no": reference} for reference in references]
            results = self.ask("events/batch/", {"events": events})["results"]
            assert all(result["outcome"] == "applied" for result in results), results

    def end(self) -> None:
        """End both processes."""
        self.web.stop()
        self.worker.send_signal(signal.SIGTERM)
        self.worker.wait(60)


def run(*, seconds: float) -> dict[str, Any]:
    """Let the broker be away for so many seconds; return what was done meanwhile, and how long the rest took."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-away-"))
    os.environ.setdefault("TEST_DATA_DIR", str(folder / folder.name))
    databases = Databases(folder, engines.postgresql().url)
    base, port = folder / "rabbitmq", engines.free_port()
    base.mkdir()
    broker = engines.start_rabbitmq(port=port, base=base)
    try:
        url = databases.ready("postgresql")
        site = Site(folder, url, broker.url)
        people = [f"HUNGRY-{number}" for number in range(int(DECISIONS_A_SECOND * seconds))]
        for first in range(0, len(people), 100):
            some = people[first : first + 100]
            for reference in some:
                site.start(reference)
            site.bring_to_the_door(some)
        tasks = _open_tasks(url)
        _drained(url, 60)

        for pid in broker.pids:
            os.killpg(pid, signal.SIGKILL)
        refused: list[str] = []
        starts = threading.Thread(
            target=_steadily, args=(lambda n: site.start(f"LATE-{n}"), STARTS_A_SECOND, seconds, refused)
        )
        decisions = threading.Thread(
            target=_steadily,
            args=(lambda n: site.ask(f"human-tasks/{tasks[n]}/complete/", {}), DECISIONS_A_SECOND, seconds, refused),
        )
        for thread in (starts, decisions):
            thread.start()
        for thread in (starts, decisions):
            thread.join()
        waiting = _unsent(url)
        broker = engines.start_rabbitmq(port=port, base=base)
        drained = _drained(url, 300)
        started = _count(url, "workflows_workflowinstance WHERE business_ref_no LIKE 'LATE-%'")
        decided = _count(url, "workflows_humantask WHERE state = 'COMPLETED'")
        site.end()
    finally:
        databases.close()
        engines.stop(broker)
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "away": seconds, "started": started, "decided": decided, "refused": len(refused), "examples": refused[:3],
        "unsent": waiting, "drained_after": round(drained, 1),
    }  # fmt: skip


def _steadily(act: Any, a_second: int, seconds: float, refused: list[str]) -> None:
    begun = time.monotonic()
    for number in range(int(a_second * seconds)):
        pause = begun + number / a_second - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        elif pause < -5 * seconds:
            raise RuntimeError("The site is far too slow for this.")
        try:
            act(number)
        except Exception as error:
            refused.append(f"{number}: {error!r}")


def _open_tasks(url: str) -> list[str]:
    with psycopg.connect(url) as database:
        rows = database.execute("SELECT id FROM workflows_humantask WHERE state = 'SCHEDULED' ORDER BY id")
        return [str(row[0]) for row in rows]


def _count(url: str, what: str) -> int:
    with psycopg.connect(url) as database:
        row = database.execute(f"SELECT COUNT(*) FROM {what}").fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row[0])


def _unsent(url: str) -> int:
    return _count(url, "workflows_outboxmessage WHERE state <> 'SENT'")


def _drained(url: str, patience: float) -> float:
    begun = time.monotonic()
    while left := _unsent(url):
        if time.monotonic() - begun > patience:
            raise RuntimeError(f"{left} messages are still not sent after {patience} s.")
        time.sleep(0.2)
    return time.monotonic() - begun


def main(arguments: Sequence[str]) -> None:
    """Run it and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    print(json.dumps(run(seconds=parser.parse_args(arguments).seconds)))


if __name__ == "__main__":
    main(sys.argv[1:])
