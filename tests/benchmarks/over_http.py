"""The same pizzas through a real server: POST /api/v1/events/batch/, with a worker process that relays."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any
from urllib.parse import urlsplit

from tests import servers
from tests.benchmarks.databases import Databases, product
from tests.benchmarks.racing import Share, shares
from tests.engines import free_port
from tests.tree import ROOT

# As in `pizza`, which cannot be imported here: it belongs to a process with a database.
STAGES = {"confirm_order": "ORDER", "deliver_food": "DELIVER"}
FOLLOWED_BY: dict[str | None, tuple[str, ...]] = {
    None: ("confirm_order",),
    "confirm_order": ("make_food", "assign_executive"),
    "assign_executive": ("confirm_delivery",),
    "confirm_delivery": ("deliver_food",),
}
AT_ONCE = 100


def run(databases: Databases, *, instances: int, callers: int = 2) -> dict[str, Any]:
    """Time the pizzas from the first request to the last answer."""
    url = databases.ready("postgresql")
    settings = {"DATABASE_URL": url, "DATA_DIR": str(databases.folder), "SECRET_KEY": "benchmarks-only-" + "9" * 50}
    token = servers.manage("create_api_token", "benchmark", **settings).strip()
    port = free_port()
    site = servers.start(
        "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "orchestrator_site.asgi:application",
        port=port, folder=databases.folder, **settings,
    )  # fmt: skip
    worker = subprocess.Popen(
        [sys.executable, "manage.py", "run_worker", "--only", "relay"],
        cwd=ROOT, env=servers.environment(**settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _drive(site.url, token, [range(-1, 0)])
        begun = time.monotonic()
        _drive(site.url, token, shares(1, instances, callers))
        seconds = time.monotonic() - begun
        product(databases, "check", url, instances=instances + 1)
    finally:
        site.stop()
        worker.send_signal(signal.SIGTERM)
        worker.wait(20)
        databases.drop(url)
    return {"instances": instances, "seconds": seconds}


def _drive(url: str, token: str, parts: list[range]) -> None:
    failures: list[BaseException] = []

    def caller(share: Share) -> None:
        try:
            _call(url, token, share)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=caller, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _call(url: str, token: str, share: Share) -> None:
    server = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    waiting: deque[tuple[int, str | None]] = deque((number, None) for number in share)
    while waiting:
        dues = [waiting.popleft() for _ in range(min(AT_ONCE, len(waiting)))]
        body = json.dumps({"events": [_message(*due) for due in dues]})
        server.request("POST", "/api/v1/events/batch/", body=body, headers=headers)
        response = server.getresponse()
        answer = response.read()
        if response.status != 200:
            raise AssertionError(f"{response.status}: {answer[:500]!r}")
        results = json.loads(answer)["results"]
        assert [result.get("outcome") for result in results] == ["applied"] * len(dues), results
        waiting.extend((number, follower) for number, task in dues for follower in FOLLOWED_BY.get(task, ()))
    server.close()


def _message(number: int, task: str | None) -> dict[str, Any]:
    said = {"business_ref_no": f"ORDER-{number}", "component_name": "ITALIAN"}
    if task is None:
        return {**said, "event_name": "StartWorkflow"}
    stage = STAGES.get(task, "PREPARE")
    return {**said, "event_name": "TaskCompleted", "stage_name": stage, "task_name": task, "task_type": "SERVICE"}
