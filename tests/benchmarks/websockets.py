"""Many websockets over two web processes: how soon each hears of a commit, what each costs, how fast all come back.

    python -m tests.benchmarks.websockets --sockets 1000 --seconds 30 --rate 4

Needs PostgreSQL and Redis. Commits come from a process of their own, as from a worker; so do the websockets. Half of
them belong to operators, who see everything and follow the list of instances; the other half to assignees, who follow
it too, and their inbox, so that for each commit it must be found out what they may see. The delay of a frame is counted
from the moment that its `sequence` names, which is taken before the transaction begins: it holds the commit as well.
"""

import argparse
import asyncio
import base64
import contextlib
import gc
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests import engines, servers
from tests.benchmarks.databases import Databases
from tests.engines import free_port
from tests.tree import ROOT

AT_ONCE = 100
USERS = 20
"""Of each kind; each has several pages open."""
TEMPLATE = {
    "workflow_name": "Review",
    "component_name": "LIVE",
    "stages": [
        {
            "stage_name": "WORK",
            "stage_order": 1,
            "tasks": [{"task_name": "review", "task_type": "HUMAN", "assigned_to": "reviewers"}],
        }
    ],
}


# --- Inside the site: people, and commits ------------------------------------------------------------------------


def prepare() -> dict[str, Any]:
    """Publish the template and make the people; return their tokens."""
    from tests.benchmarks.as_site import settings  # isort: skip
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group
    from django.utils import timezone

    from workflows.runtime import tokens
    from workflows.runtime.publishing import publish_template

    assert settings.configured
    given: dict[str, list[str]] = {}
    for group in ("operator", "reviewers"):
        row, _ = Group.objects.get_or_create(name=group)
        for number in range(USERS):
            user = get_user_model().objects.create(username=f"{group}-{number}")
            user.groups.add(row)
            given.setdefault(group, []).append(tokens.issue(user, at=timezone.now()))
    publish_template(TEMPLATE, by="operator-0")
    return given


def commit(*, count: int, rate: float) -> dict[str, Any]:
    """Start instances at an even pace; return their ids."""
    from tests.benchmarks.as_site import settings  # isort: skip
    from workflows.engine.commands import StartWorkflow
    from workflows.live import broadcasting
    from workflows.runtime.asking import Asked, Reference
    from workflows.runtime.handling import handle

    assert settings.configured
    ids = []
    begun = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        reference = uuid.uuid4().hex
        (answer,) = handle(
            Asked(command=StartWorkflow(reference), target=Reference("LIVE", reference, "Review"), actor="operator-0")
        )
        ids.append(str(answer.instance.id))
    time.sleep(0.3)
    broadcasting.end()
    return {"ids": ids, "seconds": time.monotonic() - begun}


# --- Outside: a client that costs little --------------------------------------------------------------------------


@dataclass
class Heard:
    """What one websocket was told."""

    ids: set[str] = field(default_factory=set)
    tasks: int = 0
    sequences: dict[str, int] = field(default_factory=dict)
    answers: int = 0
    closed: bool = False


_ROOM = bytearray(64 * 1024)


class Socket(asyncio.BufferedProtocol):
    """One websocket: subscribes to its topics and notes what it hears."""

    def __init__(self, *, port: int, token: str, topics: Sequence[str], heard: Heard, delays: list[float]) -> None:
        self._port, self._token, self._topics = port, token, topics
        self._heard, self._delays = heard, delays
        self._buffer = b""
        self._open = False
        self.later = False
        self._kept: list[tuple[float, bytes]] = []
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Ask for the upgrade."""
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /ws/live/ HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {self._token}\r\n\r\n".encode()
        )

    def get_buffer(self, wanted: int) -> bytearray:
        """Give room for what has come: one for all, taken out at once."""
        return _ROOM

    def buffer_updated(self, size: int) -> None:
        """Take frames apart: now, or note when they have come, so that reading one delays the arrival of no other."""
        data = bytes(memoryview(_ROOM)[:size])
        if not self.later:
            self._read(time.time(), data)
            return
        self._kept.append((time.time(), data))
        if b"\x89" in data:  # A ping, perhaps: whoever does not answer is dropped.
            self.read()

    def read(self) -> None:
        """Read what was kept."""
        kept, self._kept = self._kept, []
        for at, data in kept:
            self._read(at, data)

    def _read(self, at: float, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._fail(head.decode(errors="replace"))
                return
            self._open, self._buffer = True, rest
            self._heard.answers = 0
            for topic in self._topics:
                since = self._heard.sequences.get(topic)
                more = {} if since is None else {"since": since}
                self._send(1, json.dumps({"action": "subscribe", "topic": topic, **more}).encode())
        while len(self._buffer) >= 2:
            kind, size, start = self._buffer[0] & 15, self._buffer[1] & 127, 2
            if size == 126:
                if len(self._buffer) < 4:
                    return
                size, start = struct.unpack(">H", self._buffer[2:4])[0], 4
            if len(self._buffer) < start + size:
                return
            body, self._buffer = self._buffer[start : start + size], self._buffer[start + size :]
            self._frame(at, kind, body)

    def connection_lost(self, error: Exception | None) -> None:
        """Note the end."""
        self._heard.closed = True
        self._fail(f"closed: {error}")

    def _frame(self, at: float, kind: int, body: bytes) -> None:
        if kind == 9:
            self._send(10, body)
        elif kind == 8:
            self.transport.close()
        elif kind == 1:
            said = json.loads(body)
            topic = said["topic"]
            self._heard.sequences[topic] = said["sequence"]
            if topic == "instances":
                self._heard.ids.update(said["changed"])
            else:
                self._heard.tasks += len(said["changed"])
            if self._heard.answers < len(self._topics):
                self._heard.answers += 1
                if self._heard.answers == len(self._topics) and not self.ready.done():
                    self.ready.set_result(None)
            else:
                self._delays.append(at - said["sequence"] / 1e6)

    def _send(self, kind: int, body: bytes) -> None:
        # The mask is all noughts: allowed, and costs nothing.
        size = bytes([0x80 | len(body)]) if len(body) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(body))
        self.transport.write(bytes([0x80 | kind]) + size + b"\0\0\0\0" + body)

    def _fail(self, why: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(why))


async def _connect(wanted: Sequence[tuple[int, str, Sequence[str], Heard]], delays: list[float]) -> list[Socket]:
    loop = asyncio.get_running_loop()
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(port: int, token: str, topics: Sequence[str], heard: Heard) -> Socket:
        for attempt in range(5):
            async with turn:
                try:
                    _, socket = await loop.create_connection(
                        lambda: Socket(port=port, token=token, topics=topics, heard=heard, delays=delays),
                        "127.0.0.1",
                        port,
                    )
                    await asyncio.wait_for(socket.ready, 60)
                except ConnectionError:
                    if attempt == 4:
                        raise
                else:
                    return socket
        raise AssertionError("unreachable")

    return await asyncio.gather(*(one(*each) for each in wanted))


@dataclass
class Result:
    """What was measured."""

    sockets: int
    commits: int
    frames: int
    converged: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    worst_ms: float
    open_seconds: float
    kib_per_socket: float
    storm_seconds: float
    web_cpu_seconds: float
    load_average: float


async def _drive(
    ports: Sequence[int],
    pids: Sequence[int],
    tokens: dict[str, list[str]],
    more: dict[str, str],
    chosen: argparse.Namespace,
) -> Result:
    wanted: list[tuple[int, str, Sequence[str], Heard]] = []
    for number in range(chosen.sockets):
        kind = "operator" if number % 2 == 0 else "reviewers"
        topics = ["instances"] if kind == "operator" else ["instances", "inbox"]
        token = tokens[kind][number // 2 % USERS]
        wanted.append((ports[number // 2 % len(ports)], token, topics, Heard()))
    delays: list[float] = []
    # The first ones make each process import and connect what it needs.
    for socket in await _connect(wanted[:8], delays):
        socket.transport.close()
    await asyncio.sleep(1)
    before = sum(map(_memory, pids))
    begun = time.monotonic()
    sockets = await _connect(wanted, delays)
    opened = time.monotonic() - begun
    await asyncio.sleep(3)
    memory = (sum(map(_memory, pids)) - before) / chosen.sockets
    gc.collect()
    gc.freeze()

    delays.clear()
    for socket in sockets:
        socket.later = True
    cpu = sum(map(_cpu, pids))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.websockets", "--inside", "commit"),
        *("--count", str(int(chosen.rate * chosen.seconds)), "--rate", str(chosen.rate)),
        cwd=ROOT, env=servers.environment(**more), stdout=subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0
    ids = set(json.loads(said.splitlines()[-1])["ids"])
    heard = [each[3] for each in wanted]

    def converged() -> int:
        for socket in sockets:
            socket.read()
        return sum(1 for one in heard if ids <= one.ids)

    end = time.monotonic() + 10
    while converged() < len(heard) and time.monotonic() < end:
        await asyncio.sleep(0.2)
    cpu = sum(map(_cpu, pids)) - cpu
    found = sorted(delays)
    done = converged()

    for socket in sockets:
        socket.transport.abort()
    await asyncio.sleep(2)
    begun = time.monotonic()
    for socket in await _connect(wanted, []):
        socket.transport.close()
    storm = time.monotonic() - begun

    def at(share: float) -> float:
        return round(found[min(len(found) - 1, int(len(found) * share))] * 1000, 1) if found else float("nan")

    return Result(
        sockets=chosen.sockets, commits=len(ids), frames=len(found), converged=done,
        p50_ms=at(0.5), p95_ms=at(0.95), p99_ms=at(0.99), worst_ms=at(1.0), open_seconds=round(opened, 1),
        kib_per_socket=round(memory / 1024, 1), storm_seconds=round(storm, 1), web_cpu_seconds=round(cpu, 1),
        load_average=round(os.getloadavg()[0], 1),
    )  # fmt: skip


def _memory(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _inside(what: str, environment: dict[str, str]) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.websockets", "--inside", what],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-5_000:])
    return json.loads(done.stdout.splitlines()[-1])


def run(chosen: argparse.Namespace) -> Result:
    """Start the site, measure, stop it."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(allowed, min(20_000, most)), most))
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-websockets-"))
    os.environ.setdefault("TEST_DATA_DIR", str(folder / "engines"))
    databases = Databases(folder, engines.postgresql().url)
    more = {
        "DATABASE_URL": databases.empty("postgresql"),
        "DATA_DIR": str(folder),
        "SECRET_KEY": "benchmarks-only-" + "0123456789" * 5,
        "REDIS_PREFIX": f"benchmark-{uuid.uuid4().hex[:8]}",
        **({} if chosen.no_redis else {"REDIS_URL": engines.redis().url}),
    }
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if os.environ["TEST_DATA_DIR"] == str(folder / "engines"):
            stack.callback(engines.stop_all)
        stack.callback(databases.close)
        servers.manage("migrate", **more)
        tokens = _inside("prepare", servers.environment(**more))
        sites = []
        for _ in range(2):
            port = free_port()
            site = servers.start("manage.py", "serve", "--port", str(port), port=port, folder=folder, **more)
            stack.callback(site.stop)
            sites.append((port, site.process.pid))
        result = asyncio.run(_drive([port for port, _ in sites], [pid for _, pid in sites], tokens, more, chosen))
        for path in folder.glob("output-*.log"):
            assert "Traceback" not in path.read_text(), path.read_text()[-5_000:]
        return result


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.websockets", description=__doc__)
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=float, default=4, help="commits a second")
    parser.add_argument("--no-redis", action="store_true", help="two web processes that share the database only")
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--inside", choices=["prepare", "commit"], help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.inside:
        print(json.dumps(prepare() if chosen.inside == "prepare" else commit(count=chosen.count, rate=chosen.rate)))
        return 0
    result = run(chosen)
    for name, value in asdict(result).items():
        print(f"{name:18} {value}")
    good = result.converged == result.sockets and result.p99_ms <= 300
    good &= result.kib_per_socket <= 100 and result.storm_seconds <= 10
    print(
        "wanted             all converge, p99 ≤ 300 ms, ≤ 100 KiB a socket, storm ≤ 10 s:", "met" if good else "NOT MET"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
