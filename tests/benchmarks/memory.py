"""What the processes of a site weigh: one that serves and two that work, on PostgreSQL, RabbitMQ and Redis.

`python -m tests.benchmarks.memory [--instances N]` has them carry out so many pizzas, opens a few pages, waits until
they have settled, and prints what each holds in memory, idle and afterwards, in MB (1,024 × 1,024 bytes, as `ps` and
`top` count them): RSS, in which what several processes share counts in full for each, and PSS, which divides it among them.
"""

import argparse
import http.cookiejar
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests import engines, servers
from tests.benchmarks.databases import Databases
from tests.benchmarks.over_rabbitmq import PATIENCE, Services, empty, is_declared
from tests.tree import ROOT

STEPS = 5
"""Tasks of a pizza."""
APART = 0.5
STEADY = 13
"""So many readings, APART seconds after each other, that differ by less than SAME MB say that a process has settled.

They take a little longer than a process takes to give back what is free.
"""
SAME = 0.3
PAGES = ("/", "/instances/", "/inbox/", "/queues/", "/api/v1/instances/", "/api/v1/queues/", "/readyz", "/metrics")

Sizes = dict[str, dict[str, float]]


@dataclass
class Site:
    """The processes, and ways to ask them."""

    url: str
    database: str
    services: Services
    token: str
    browser: urllib.request.OpenerDirector
    processes: Mapping[str, psutil.Process]

    def order(self, numbers: Sequence[int]) -> None:
        """Ask for pizzas over HTTP."""
        said = [
            {"business_ref_no": f"ORDER-{number}", "component_name": "ITALIAN", "event_name": "StartWorkflow"}
            for number in numbers
        ]
        for first in range(0, len(said), 50):
            self._ask(
                "/api/v1/events/batch/",
                json.dumps({"events": said[first : first + 50]}).encode(),
                {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            )

    def look(self) -> None:
        """Look at the pages, as somebody who has signed in."""
        for page in PAGES:
            self._ask(page)

    def completed(self) -> int:
        """Count the pizzas that have been delivered."""
        with psycopg.connect(self.database) as database:
            row = database.execute(
                "SELECT COUNT(*) FROM workflows_workflowinstance WHERE state = 'COMPLETED'"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def weigh(self) -> Sizes:
        """Tell what each process holds once it has settled."""
        names = list(self.processes)
        readings: list[list[float]] = []

        def steady() -> bool:
            readings.append([_mb(self.processes[name].memory_info().rss) for name in names])
            last = readings[-STEADY:]
            return len(last) == STEADY and all(max(one) - min(one) < SAME for one in zip(*last, strict=True))

        _until(steady, "no process to grow or shrink", apart=APART)
        sizes = {name: self.processes[name].memory_full_info() for name in names}
        return {name: {"rss": _mb(size.rss), "pss": _mb(size.pss)} for name, size in sizes.items()}

    def _ask(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, body, dict(headers or {}))
        with self.browser.open(request, timeout=30) as response:
            answer: bytes = response.read()
        return answer

    def sign_in(self, name: str, password: str) -> None:
        """Sign in, as a browser does."""
        self._ask("/signin/")
        (jar,) = (one.cookiejar for one in self.browser.handlers if isinstance(one, urllib.request.HTTPCookieProcessor))
        (token,) = (one.value for one in jar if one.name == "orchestrator_csrf")
        said = urllib.parse.urlencode({"username": name, "password": password, "csrfmiddlewaretoken": token})
        self._ask("/signin/", said.encode())


def run(databases: Databases, *, instances: int) -> dict[str, Any]:
    """Start a site, have it carry out pizzas, half of them ordered over HTTP, and weigh it before and after."""
    with _site(databases) as site:
        idle = site.weigh()
        by_http = instances // 2
        site.order(range(by_http))
        site.services.start(range(by_http, instances))
        site.services.work(STEPS * instances)
        _until(lambda: site.completed() == instances, f"{instances} pizzas", apart=0.1)
        site.look()
        after = site.weigh()
    return {"instances": instances, "idle": idle, "after": after}


@contextmanager
def _site(databases: Databases) -> Iterator[Site]:
    broker, url = engines.rabbitmq().url, databases.ready("postgresql")
    settings = {
        "DATABASE_URL": url,
        "BROKER_URL": broker,
        "REDIS_URL": engines.redis().url,
        "REDIS_PREFIX": f"memory-{os.getpid()}",
        "DATA_DIR": str(databases.folder),
        "SECRET_KEY": "benchmarks-only-" + "9" * 50,
    }
    password = secrets.token_urlsafe()
    made = {"DJANGO_SUPERUSER_PASSWORD": password, "DJANGO_SUPERUSER_EMAIL": "cook@example.org"}
    servers.manage("createsuperuser", "--no-input", "--username", "cook", **settings, **made)
    token = servers.manage("create_api_token", "cook", **settings).strip()
    with ExitStack() as ending:
        ending.callback(databases.drop, url)
        ending.callback(empty, broker)
        processes = {}
        for name in ("worker", "further_worker"):
            worker = _worker(databases.folder / f"{name}.log", settings)
            ending.callback(_end, worker)
            processes[name] = psutil.Process(worker.pid)
        _until(lambda: is_declared(broker), "the workers to declare their queue", apart=0.1)
        services = Services(broker)
        ending.callback(services.close)
        _until(lambda: services.consumers() == len(processes), "the workers to take messages", apart=0.1)
        port = engines.free_port()
        web = servers.start("manage.py", "serve", "--port", str(port), port=port, folder=databases.folder, **settings)
        ending.callback(web.stop)
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        site = Site(
            url=web.url,
            database=url,
            services=services,
            token=token,
            browser=urllib.request.build_opener(jar),
            processes={"web": psutil.Process(web.process.pid)} | processes,
        )
        site.sign_in("cook", password)
        yield site


def _worker(log: Path, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "manage.py", "run_worker"],
            cwd=ROOT, env=servers.environment(**settings), stdout=output, stderr=output,
        )  # fmt: skip


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    worker.wait(30)


def _until(true: Callable[[], bool], what: str, *, apart: float) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise RuntimeError(f"Waited {PATIENCE} s for {what}.")
        time.sleep(apart)


def _mb(count: int) -> float:
    return round(count / 1024**2, 1)


def main(arguments: Sequence[str]) -> int:
    """Weigh, and print it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.memory", description=__doc__)
    parser.add_argument("--instances", type=int, default=100, help="pizzas, of six events each (default 100)")
    chosen = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-memory-"))
    # The folder's own name is also that of our part of the broker: no other run takes it away.
    borrowed = os.environ.setdefault("TEST_DATA_DIR", str(folder)) != str(folder)
    databases = Databases(folder, engines.postgresql().url)
    try:
        print(json.dumps(run(databases, instances=chosen.instances)))
    finally:
        databases.close()
        if not borrowed:
            engines.stop_all()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
