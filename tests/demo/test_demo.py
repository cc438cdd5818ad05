"""The demo as a visitor starts, stops and kills it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import servers
from tests.engines import free_port
from tests.live.wire import Wire
from tests.tree import ROOT
from workflows.examples.templates import FLOWS, NAMES, OWNED

USERS = ["admin", "olivia", "adam", "delia", "fred", "fiona", "mona", "service-bot"]
EXAMPLES = len({*NAMES, *FLOWS, *OWNED})
LIVELY = ("--host", "127.0.0.1")
"""Any option but --no-traffic."""


def get(site, path, *, user="olivia"):
    request = urllib.request.Request(
        f"{site.url}/api/v1/{path}", headers={"Authorization": f"Bearer {site.tokens[user]}"}
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def post(site, path, body, *, user):
    request = urllib.request.Request(
        f"{site.url}/api/v1/{path}",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {site.tokens[user]}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def until(true, *, seconds=60.0, what="it"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def ask(folder, sql):
    connection = sqlite3.connect(f"file:{folder}/data/orchestrator.sqlite3?mode=ro", uri=True, timeout=20)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def check_history(folder):
    """Fail when the history of an instance disagrees with its rows."""
    servers.manage("check_history", DATA_DIR=str(folder / "data"), ORCHESTRATOR_DEMO="1")


def test_a_quiet_demo_has_everything_and_does_nothing(tmp_path):
    with servers.demo(tmp_path) as site:
        printed = site.printed().splitlines()
        assert set(USERS) <= site.tokens.keys()
        ready = next(number for number, line in enumerate(printed) if line.startswith("Ready"))
        assert all(number < ready for number, line in enumerate(printed) if line.startswith("token "))
        assert len(get(site, "templates/")["results"]) == EXAMPLES
        assert get(site, "instances/")["results"] == []
        # Work waits for a worker; no simulated one takes it.
        post(site, "instances/", {"component_name": "ITALIAN", "business_ref_no": "MINE-1"}, user="service-bot")
        lease = {"worker_id": "w", "max_tasks": 1, "wait_seconds": 0}
        (task,) = post(site, "queues/confirm_order_queue/lease/", lease, user="service-bot")["tasks"]
        assert task["business_ref_no"] == "MINE-1"
        tokens = site.tokens

        # Somebody still looks on.
        with Wire(site.url, authorization=f"Bearer {tokens['olivia']}") as wire:
            wire.ask("instances")
            assert site.stop(signal.SIGINT) == 0
        assert "Stopped." in site.printed()

    assert (tmp_path / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
    assert "Traceback" not in site.printed()
    log = tmp_path / "data" / "orchestrator.sqlite3-wal"
    assert not log.exists() or log.stat().st_size == 0
    with servers.demo(tmp_path) as again:
        assert again.tokens == tokens
        assert [one["business_ref_no"] for one in get(again, "instances/")["results"]] == ["MINE-1"]
        assert len(get(again, "templates/")["results"]) == EXAMPLES
        assert again.stop(signal.SIGTERM) == 0
        assert "Stopped." in again.printed()


def test_a_request_that_waits_does_not_hold_up_the_end(tmp_path):
    with servers.demo(tmp_path) as site, ThreadPoolExecutor() as threads:
        lease = {"worker_id": "w", "wait_seconds": 30}
        waiting = threads.submit(post, site, "queues/confirm_order_queue/lease/", lease, user="service-bot")
        with pytest.raises(TimeoutError):
            waiting.result(1)
        begin = time.monotonic()

        assert site.stop(signal.SIGINT) == 0

        assert time.monotonic() - begin < 15
        assert waiting.exception() is not None
        assert "Stopped." in site.printed()


def test_a_taken_port_is_told_in_a_sentence(tmp_path):
    with servers.demo(tmp_path / "one") as site:
        port = site.url.rpartition(":")[2]
        second = subprocess.run(
            [sys.executable, "manage.py", "demo", "--no-traffic", "--port", port, "--data-dir", str(tmp_path / "two")],
            cwd=ROOT,
            env=servers.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert second.returncode == 1
    assert "--port" in second.stderr
    assert "Traceback" not in second.stderr
    assert "token " not in second.stdout


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_it_serves_is_a_stop(tmp_path, how):
    process = subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--port", str(free_port()), "--data-dir", str(tmp_path / "data")],
        cwd=ROOT,
        env=servers.environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Preparing")

    process.send_signal(how)

    assert process.wait(30) == 0
    assert "Traceback" not in process.stdout.read()
    process.stdout.close()


@pytest.mark.timeout(240)
def test_a_visitor_sees_life_and_it_survives_a_kill(tmp_path):
    with servers.demo(tmp_path, *LIVELY) as site:
        until(lambda: len(get(site, "instances/?limit=200")["results"]) >= 41, what="the first start after the past")
        until(lambda: caught_at_work(site, tmp_path), what="work that is under way")
        site.stop(signal.SIGKILL)
        caught = under_way(tmp_path)

    assert caught
    check_history(tmp_path)
    with servers.demo(tmp_path, *LIVELY) as again:
        until(lambda: not set(caught) & set(under_way(tmp_path)), seconds=90, what="the rest of the work")
        started = len(get(again, "instances/?limit=200")["results"])
        until(lambda: len(get(again, "instances/?limit=200")["results"]) > started, what="the next start")
        assert again.stop(signal.SIGINT) == 0
        assert "Traceback" not in again.printed()

    check_history(tmp_path)
    assert results_given_twice(tmp_path) == []
    assert waiting_for_nothing(tmp_path) == []


def caught_at_work(site, folder):
    """Hold the site still; let it go on when nothing is under way."""
    os.killpg(site.process.pid, signal.SIGSTOP)
    if under_way(folder):
        return True
    os.killpg(site.process.pid, signal.SIGCONT)
    return False


def under_way(folder):
    """Give the attempts that a simulated service has in hand."""
    return ask(
        folder,
        "SELECT instance_id, position, attempt FROM workflows_taskinstance"
        " WHERE task_type = 'SERVICE' AND state IN ('STARTED', 'COMPENSATING')",
    )


def results_given_twice(folder):
    rows = ask(
        folder,
        "SELECT instance_id, stage_name, task_name, attempt, event FROM workflows_loggedevent"
        " WHERE event IN ('TaskCompleted', 'TaskFailed', 'CompensationCompleted', 'CompensationFailed')",
    )
    counts = Counter((*row[:4], row[4].startswith("Comp")) for row in rows)
    return [attempt for attempt, count in counts.items() if count > 1]


def waiting_for_nothing(folder):
    """Give open instances in which nothing is on a queue, with a person, due at a moment, or in need of an operator."""
    return ask(
        folder,
        """SELECT id, state FROM workflows_workflowinstance i
           WHERE state IN ('RUNNING', 'ROLLING_BACK')
           AND NOT EXISTS (SELECT 1 FROM workflows_taskinstance t WHERE t.instance_id = i.id
                           AND t.state IN ('SCHEDULED', 'STARTED', 'COMPENSATING', 'FAILED', 'COMPENSATION_FAILED'))
           AND NOT EXISTS (SELECT 1 FROM workflows_deadline d WHERE d.instance_id = i.id AND d.kind = 'RETRY')""",
    )
