"""What the harness promises of itself: a seed decides everything, and its tools do what they say."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults import behaviour, schedule, shapes
from tests.faults.launch import Control, write_control
from tests.faults.programs import Program
from tests.faults.schedule import Targets
from tests.tree import ROOT
from workflows.definitions.parsing import parse_template

FULL = Targets(
    programs=["web1", "web2", "worker1", "worker2"],
    web_lines=["web-line1", "web-line2"],
    lines=["postgresql-web1", "rabbitmq-worker1"],
    servers=["postgresql", "rabbitmq", "redis"],
    queues=list(shapes.CLASSIC),
)


def test_the_same_seed_gives_the_same_schedule_and_another_one_another() -> None:
    drawn = [schedule.draw(seed=seed, faults=50, seconds=60, targets=FULL) for seed in (1, 1, 2)]

    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert [len(one) for one in drawn] == [50, 50, 50]


def test_every_kind_of_fault_comes_up_and_none_strikes_what_is_down() -> None:
    kinds = set()
    for seed in range(1, 21):
        busy: dict[str, float] = {}
        for fault in schedule.draw(seed=seed, faults=50, seconds=60, targets=FULL):
            kinds.add(fault.kind)
            if fault.kind != "cut":
                assert busy.get(fault.target, 0.0) <= fault.at + 0.01
            busy[fault.target] = fault.at + fault.seconds

    assert kinds >= {
        "kill", "term", "pause", "clock", "failpoint", "cut", "refuse", "hold", "delay", "drop_reply", "trickle",
        "reset_after", "crash", "restart", "backend", "flush", "delete_queue",
    }  # fmt: skip


def test_the_same_seed_gives_the_same_load_within_its_time() -> None:
    plans = [shapes.plan(seed=seed, instances=500, seconds=60, broker=True) for seed in (1, 1, 2)]

    assert plans[0] == plans[1]
    assert plans[0].starts != plans[2].starts
    assert len(plans[0].by_reference) == 500
    assert max(start.at for start in plans[0].starts) <= 60 * 0.81
    assert {start.workflow for start in plans[0].starts} == {one["workflow_name"] for one in shapes.templates()}


@pytest.mark.parametrize("template", shapes.templates(), ids=lambda one: str(one["workflow_name"]))
def test_templates_can_be_published(template: dict[str, object]) -> None:
    assert parse_template(template)


def test_a_service_behaves_towards_an_attempt_as_the_seed_says() -> None:
    payload = {"event_name": "StartTask", "stage_name": "S1", "task_name": "a", "attempt": 1, "role": "steady"}

    names = {behaviour.drawn(seed=1, reference=f"R-{number}", payload=payload).name for number in range(2000)}
    again = [behaviour.drawn(seed=1, reference="R-7", payload=payload) for _ in range(2)]

    assert again[0] == again[1]
    assert names >= {"succeed", "twice", "twice_different", "before_ack", "late", "die_before", "die_after",
                     "wrong_attempt", "huge", "bad_json", "old_format", "nudge"}  # fmt: skip


def test_what_the_control_file_says_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "control"
    control = Control(path)
    assert control.look().offset.total_seconds() == 0

    write_control(path, offset=-20.0, full=True)

    assert control.look().offset.total_seconds() == -20
    assert control.full


def test_a_full_disk_is_full_and_empty_again(tmp_path: Path) -> None:
    script = tmp_path / "writes.py"
    script.write_text(
        "import sys, django\n"
        "from django.conf import settings\n"
        "settings.configure(DATABASES={'default': {'ENGINE': 'orchestrator_site.sqlite', 'NAME': sys.argv[1]}})\n"
        "from django.db import OperationalError, connection\n"
        "from tests.faults.launch import write_control\n"
        "from pathlib import Path\n"
        "said = []\n"
        "with connection.cursor() as cursor:\n"
        "    cursor.execute('CREATE TABLE t (x TEXT)')\n"
        "for full in (False, True, False):\n"
        "    write_control(Path(sys.argv[2]), full=full)\n"
        "    # Kept by the backend, and handed to whoever opens the next one: with the limit that it had.\n"
        "    connection.close()\n"
        "    with connection.cursor() as cursor:\n"
        "        try:\n"
        "            cursor.execute('INSERT INTO t VALUES (%s)', ['x' * 50_000])\n"
        "            said.append('ok')\n"
        "        except OperationalError as error:\n"
        "            said.append(str(error))\n"
        "print(said)\n"
    )
    database, control = tmp_path / "db.sqlite3", tmp_path / "control"

    said = subprocess.run(
        [sys.executable, "-m", "tests.faults.launch", str(control), str(script), str(database), str(control)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip

    assert said.strip() == "['ok', 'database or disk is full', 'ok']"
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_a_killed_program_is_started_again_and_one_that_ends_by_itself_is_told_apart(tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    program = Program("waits", [str(script)], env={}, folder=tmp_path)
    program.start()
    try:
        _until(lambda: program.log.read_text().count("up") == 1, program)
        program.kill(signal.SIGKILL, down=0.0)
        _until(lambda: program.log.read_text().count("up") == 2, program)
        assert program.pid is not None
        os.kill(program.pid, signal.SIGKILL)
        _until(lambda: program.log.read_text().count("up") == 3, program)
    finally:
        program.end()

    assert [(end.code, end.asked) for end in program.exits] == [(-9, True), (-9, False), (-15, True)]


def _until(true: object, program: Program) -> None:
    assert callable(true)
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        program.watch()
        time.sleep(0.05)
