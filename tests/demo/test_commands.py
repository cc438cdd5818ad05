"""The commands of the house, as somebody at a terminal uses them."""

import json
import signal
import sqlite3
import subprocess
import sys

import pytest

from tests import servers
from tests.demo.test_demo import post
from tests.tree import ROOT


@pytest.fixture
def more(tmp_path):
    values = {"DATA_DIR": str(tmp_path / "data"), "SECRET_KEY": "tests"}
    servers.manage("migrate", **values)
    return values


def refused(*arguments, **more):
    with pytest.raises(subprocess.CalledProcessError) as failed:
        servers.manage(*arguments, **more)
    assert "Traceback" not in failed.value.stderr
    return failed.value


def template(**more):
    task = {"task_name": "one", "task_type": "SERVICE", "task_queue": "one_queue"}
    stage = {"stage_name": "WORK", "stage_order": 1, "tasks": [{**task, **more}]}
    return {"workflow_name": "One", "component_name": "COMMANDS", "stages": [stage]}


def test_publishing_a_file(tmp_path, more):
    path = tmp_path / "one.json"
    path.write_text(json.dumps(template()))

    assert "correct" in servers.manage("publish_template", str(path), "--check", **more)
    assert "Published: COMMANDS/One v1" in servers.manage("publish_template", str(path), "--by", "root", **more)
    assert "there already: COMMANDS/One v1" in servers.manage("publish_template", str(path), **more)


def test_every_problem_of_a_file_is_told(tmp_path, more):
    path = tmp_path / "one.json"
    path.write_text(json.dumps(template(parent_task=["one", "ghost"])))

    told = refused("publish_template", str(path), **more).stderr

    assert "/stages/0/tasks/0/parent_task/0" in told
    assert "unknown_parent" in told
    path.write_text("{bad")
    assert "line 1" in refused("publish_template", str(path), **more).stderr
    assert "No such file" in refused("publish_template", str(tmp_path / "none.json"), **more).stderr


def test_a_history_that_disagrees_is_told(tmp_path, more):
    with servers.demo(tmp_path) as site:
        post(site, "instances/", {"component_name": "ITALIAN", "business_ref_no": "R-1"}, user="service-bot")
    assert "1 instances agree" in servers.manage("check_history", **more)
    database = sqlite3.connect(tmp_path / "data" / "orchestrator.sqlite3")
    database.execute("UPDATE workflows_taskinstance SET state = 'SKIPPED' WHERE task_name = 'confirm_order'")
    database.commit()
    database.close()

    told = refused("check_history", **more)

    assert told.returncode == 1
    assert "confirm_order: state is 'SKIPPED'" in told.stdout


def test_a_worker_works_until_it_is_told_to_stop(more):
    with subprocess.Popen(
        [sys.executable, "manage.py", "run_worker"],
        cwd=ROOT,
        env=servers.environment(PYTHONUNBUFFERED="1", **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert "relay, clock" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)

        assert process.wait(20) == 0
        assert process.stdout.read() == "Stopped.\n"


def test_a_worker_refuses_jobs_that_are_none(more):
    assert "relay" in refused("run_worker", "--only", "relay,dance", **more).stderr
    assert "BROKER_URL" in refused("run_worker", "--only", "inbound", **more).stderr
