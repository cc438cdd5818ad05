"""`manage.py cluster` as somebody starts it: servers of its own, two web processes, two workers; some of them killed."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import kombu
import pytest
from amqp.exceptions import NotFound

from tests import servers
from tests.engines import free_port
from tests.live.wire import Wire
from tests.tree import ROOT

pytestmark = pytest.mark.timeout(360)
PIZZA = {"component_name": "ITALIAN"}


class Cluster(servers.Site):
    """A running cluster: its first address, its process, and what it has printed."""

    @property
    def addresses(self):
        """Return the addresses that it has said it is ready at."""
        (line,) = [line for line in self.printed().splitlines() if line.startswith("Ready: ")]
        return [one.rstrip("/") for one in line.split()[1:]]

    def pid_of(self, *words):
        """Return the process whose command line has these words."""
        return next(pid for pid, command in processes(self.folder) if all(word in command for word in words))


def processes(folder):
    """Yield (pid, words of the command line) of what runs for the data in the folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                mine = str(folder) in (entry / "environ").read_bytes().decode(errors="replace")
                command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if command[0] and (mine or any(str(folder) in word for word in command)):
                    yield int(entry.name), command


@pytest.fixture(scope="module")
def folder():
    # Where PostgreSQL may go when it must not run as root: the folders of pytest are closed to others.
    path = Path(tempfile.mkdtemp(prefix="orchestrator-cluster-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def running(folder, *options):
    port = consecutive_ports(2)
    command = [
        sys.executable,
        "manage.py",
        "cluster",
        "--port",
        str(port),
        "--data-dir",
        str(folder / "data"),
        *options,
    ]
    log = folder / "output.log"
    (folder / "data").mkdir(mode=0o755, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=servers.environment(PYTHONUNBUFFERED="1"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    cluster = Cluster(url=f"http://127.0.0.1:{port}", process=process, log=log)
    cluster.folder = folder / "data"
    try:
        until(lambda: "Ready: " in cluster.printed() or process.poll() is not None, seconds=150, what="the start")
        if process.returncode is not None:
            if re.search(r"^\w+: none is installed", cluster.printed(), flags=re.MULTILINE):
                pytest.skip(f"ENGINE MISSING: {cluster.printed().strip().splitlines()[-1]}")
            raise AssertionError(cluster.printed())
        yield cluster
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(120)
        for pid, _ in list(processes(folder / "data")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def consecutive_ports(count):
    while True:
        first = free_port()
        if all(is_free(first + number) for number in range(count + 1)):
            return first


def is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def until(true, *, seconds=60.0, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def call(cluster, path, body=None, *, user="olivia", base=None):
    request = urllib.request.Request(
        f"{base or cluster.addresses[0]}/api/v1/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {cluster.tokens[user]}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def is_up(base):
    try:
        with urllib.request.urlopen(f"{base}/healthz", timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def next_command(connection, task, reference):
    """Take a command off its queue; one of another instance is nobody's here."""
    with connection.channel() as channel:
        try:
            message = channel.basic_get(f"{task}_queue")
        except NotFound:
            return None  # Nothing was ever sent there.
        if message is None:
            return None
        channel.basic_ack(message.delivery_tag)
        command = json.loads(message.body)
        return command if command["business_ref_no"] == reference else None


def eat(cluster, reference, *, first, other):
    """Have a pizza made by services over the broker and delivered by a person, through both web processes."""
    broker = json.loads((cluster.folder / "cluster.json").read_text())
    url = f"amqp://orchestrator:{broker['rabbitmq_password']}@127.0.0.1:{broker['rabbitmq_port']}//"
    instance = call(cluster, "instances/", {**PIZZA, "business_ref_no": reference}, user="service-bot", base=first)
    with kombu.Connection(url) as connection, connection.channel() as answers:
        for task in ("confirm_order", "make_food", "assign_executive", "confirm_delivery"):
            command = until(
                lambda task=task: next_command(connection, task, reference), seconds=90, what=f"{task} of {reference}"
            )
            keys = ("business_ref_no", "component_name", "stage_name", "task_name", "task_type", "attempt")
            result = {**{key: command[key] for key in keys}, "event_name": "TaskCompleted", "output": {}}
            kombu.Producer(answers).publish(result, routing_key="workflow_manager", serializer="json")

    def offered():
        found = call(cluster, "human-tasks/", user="delia", base=other)["results"]
        return next((one for one in found if one["business_ref_no"] == reference), None)

    task = until(offered, seconds=90, what=f"the delivery of {reference}")
    call(cluster, f"human-tasks/{task['id']}/claim/", {}, user="delia", base=first)
    decision = {"data": {"handed_to": "Ada", "paid": True}}
    call(cluster, f"human-tasks/{task['id']}/complete/", decision, user="delia", base=other)
    until(
        lambda: call(cluster, f"instances/{instance['id']}/", base=first)["state"] == "COMPLETED",
        what=f"the end of {reference}",
    )


def test_a_cluster_works_survives_kills_and_ends_cleanly(folder):
    with running(folder, "--no-traffic", "--no-proxy") as cluster:
        first, other = cluster.addresses
        names = re.search(r"^Processes: (.*)\.$", cluster.printed(), flags=re.MULTILINE).group(1).split(", ")
        assert names == ["PostgreSQL", "RabbitMQ", "Redis", "worker 1", "worker 2", "web 1", "web 2"]
        assert {"admin", "olivia", "delia", "service-bot"} <= cluster.tokens.keys()
        eat(cluster, "ALL-WELL", first=first, other=other)

        # A page of the one process hears of what the other has committed, sooner than it would look.
        with Wire(other, authorization=f"Bearer {cluster.tokens['olivia']}") as wire:
            started = call(cluster, "instances/", {**PIZZA, "business_ref_no": "HEARD"}, user="service-bot", base=first)
            topic = f"instance:{started['id']}"
            wire.ask(topic)
            cancelled = call(cluster, f"instances/{started['id']}/cancel/", {"reason": "only a test"}, base=first)
            assert cancelled["state"] == "CANCELLED"
            assert wire.hear(20)["sequence"] == cancelled["last_sequence"]

        # One of each kind is killed: the others go on at once, and the dead are replaced.
        os.kill(cluster.pid_of("serve", first.rpartition(":")[2]), signal.SIGKILL)
        os.kill(cluster.pid_of("run_worker"), signal.SIGKILL)
        eat(cluster, "TWO-KILLED", first=other, other=other)
        until(lambda: is_up(first), what="the new web process")
        said = cluster.printed()
        assert re.search(r"^!!! web 1 was ended by SIGKILL", said, flags=re.MULTILINE)
        assert re.search(r"^!!! worker \d was ended by SIGKILL", said, flags=re.MULTILINE)
        eat(cluster, "AS-BEFORE", first=first, other=other)

        # A second one with the same data is refused in a sentence.
        second = subprocess.run(
            [sys.executable, "manage.py", "cluster", "--data-dir", str(cluster.folder)],
            cwd=ROOT, env=servers.environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 1
        assert "runs already" in second.stderr
        tokens = cluster.tokens

        with Wire(other, authorization=f"Bearer {tokens['olivia']}") as wire:
            wire.ask("instances")
            cluster.process.send_signal(signal.SIGINT)
            assert wire.code(60)
        assert cluster.process.wait(120) == 0

    printed = cluster.printed()
    assert printed.rstrip().endswith("Stopped."), printed
    assert "Did not end in time" not in printed
    assert [command for _, command in processes(folder / "data") if "epmd" not in command[0]] == []
    for log in (folder / "data" / "log").iterdir():
        assert "Traceback" not in log.read_text(), log.read_text()[-3_000:]
    assert (folder / "data" / "cluster.json").stat().st_mode & 0o777 == 0o600

    # Started again it knows everything, also when it was not asked to end.
    with running(folder, "--no-traffic", "--no-proxy") as cluster:
        assert cluster.tokens == tokens
        found = call(cluster, "instances/?business_ref_no=AS-BEFORE")["results"]
        assert [one["state"] for one in found] == ["COMPLETED"]
        cluster.process.kill()
        cluster.process.wait(20)
        until(
            lambda: [one for _, one in processes(folder / "data") if "serve" in one or "run_worker" in one] == [],
            what="the end of those whose supervisor was killed",
        )


def test_what_is_in_the_way_is_said_in_a_sentence(tmp_path):
    with taken_port() as taken:
        refused = subprocess.run(
            [sys.executable, "manage.py", "cluster", "--port", str(taken), "--data-dir", str(tmp_path / "data")],
            cwd=ROOT, env=servers.environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert refused.returncode == 1
    assert "--port" in refused.stderr
    assert "Traceback" not in refused.stderr


@contextlib.contextmanager
def taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]
