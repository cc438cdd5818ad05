"""Processes and servers of a fault run: started, watched, started again when they end, and hurt on request."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from orchestrator_site import local_servers
from orchestrator_site.local_servers import Recipe
from tests import servers
from tests.faults.launch import write_control
from tests.tree import ROOT

KILLED_BY_FAILPOINT = 137


@dataclass(frozen=True)
class Exit:
    """An end of a program: when (epoch), with which code, and whether we had asked for it."""

    program: str
    at: float
    code: int
    asked: bool


class Program:
    """One process of the site, kept running."""

    def __init__(self, name: str, command: Sequence[str], *, env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._control = folder / f"{name}.control"
        self._command = [sys.executable, "-m", "tests.faults.launch", str(self._control), *command]
        self._failpoints = folder / f"{name}.failpoints"
        self._env = {**env, "FAILPOINTS": f"@{self._failpoints}"}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()
        self._wanted = False
        self._asked = False
        self._down_until = 0.0
        self.exits: list[Exit] = []

    def start(self) -> None:
        """Start it, and keep it running from now on."""
        with self._lock:
            self._wanted, self._asked = True, False
            with self.log.open("ab") as output:
                self._process = subprocess.Popen(
                    self._command,
                    cwd=ROOT,
                    env=servers.environment(PYTHONUNBUFFERED="1", **self._env),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    def watch(self) -> None:
        """Start it again if it has ended and its time has come."""
        with self._lock:
            if self._process is not None and (code := self._process.poll()) is not None:
                asked = self._asked or code == KILLED_BY_FAILPOINT
                self.exits.append(Exit(self.name, time.time(), code, asked))
                self._process = None
                self._down_until = max(self._down_until, time.monotonic() + 0.2)
            if self._wanted and self._process is None and time.monotonic() >= self._down_until:
                self.start()

    def kill(self, how: signal.Signals, *, down: float = 0.5) -> None:
        """End it with a signal; it comes back `down` seconds after its end."""
        with self._lock:
            self._asked = True
            self._down_until = time.monotonic() + down
            self._signal(how)

    def pause(self) -> None:
        """Stop it where it is."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def arm(self, said: str) -> None:
        """Have its code fail where it is told; nothing said: nowhere."""
        new = self._failpoints.with_suffix(".new")
        new.write_text(said)
        new.replace(self._failpoints)

    def tell(self, *, offset: float = 0.0, full: bool = False) -> None:
        """Move its clock, fill its disk."""
        write_control(self._control, offset=offset, full=full)

    def end(self, *, seconds: float = 15) -> None:
        """End it for good: kindly at first."""
        with self._lock:
            self._wanted, self._asked = False, True
            process = self._process
        if process is None:
            return
        self.resume()
        for how in (signal.SIGTERM, signal.SIGKILL):
            self._signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                break
        self.watch()

    @property
    def pid(self) -> int | None:
        """Give its process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def _signal(self, how: signal.Signals) -> None:
        with self._lock:
            if self._process is not None:
                _signal_group(self._process.pid, how)


class Supervisor(threading.Thread):
    """Looks after programs."""

    def __init__(self, programs: Iterable[Program]) -> None:
        super().__init__(name="supervisor", daemon=True)
        self._programs = list(programs)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Watch them until told to stop."""
        while not self._stopping.wait(0.1):
            for program in self._programs:
                program.watch()

    def stop(self) -> None:
        """End every program, all at once."""
        self._stopping.set()
        self.join(5)
        ends = [threading.Thread(target=program.end) for program in self._programs]
        for end in ends:
            end.start()
        for end in ends:
            end.join()


class Server:
    """A server of our own, on data of its own: it may be killed."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Give its direct address."""
        return self.recipe.url

    def start(self) -> None:
        """Start it on the data it has, and wait until it answers."""
        with self._lock:
            if self._process is None:
                self._process = self.recipe.spawn()
                self.recipe.wait(self._process)

    def stop(self, how: signal.Signals) -> None:
        """End it with a signal, and wait until it has ended."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                return
            if how == signal.SIGKILL:
                _signal_group(process.pid, how)
            else:
                process.send_signal(how)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                _signal_group(process.pid, signal.SIGKILL)
                process.wait(20)
            _signal_group(process.pid, signal.SIGKILL)

    def version(self) -> str:
        """Tell which version it is."""
        raise NotImplementedError

    def close(self) -> None:
        """End it and remove everything."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.recipe.folder, ignore_errors=True)


class PostgreSQL(Server):
    """A cluster of our own, on a socket in its folder."""

    def __init__(self) -> None:
        options: dict[str, str | int] = {"fsync": "off", "max_connections": 150, "shared_buffers": "64MB"}
        super().__init__(local_servers.postgresql(_folder("pg"), options=options))

    def version(self) -> str:
        """Tell which version it is."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute("show server_version").fetchone()
        return str(row[0]) if row else "?"

    @property
    def socket(self) -> str:
        """Give the path of its socket."""
        return str(self.recipe.folder / ".s.PGSQL.5432")

    def kill_a_backend(self) -> None:
        """Kill one of its processes: the server then ends all others, and recovers."""
        with contextlib.suppress(psycopg.Error, ProcessLookupError), psycopg.connect(self.url) as connection:
            row = connection.execute(
                "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
                " order by random() limit 1"
            ).fetchone()
            if row is not None:
                os.kill(row[0], signal.SIGKILL)

    def execute(self, statement: str) -> None:
        """Execute something outside of a transaction."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def url_of(self, database: str, *, port: int | None = None) -> str:
        """Give the address of a database: the direct one, or the one through a proxy's port."""
        if port is None:
            return self.url.replace("/postgres?", f"/{database}?")
        return f"postgresql://postgres@127.0.0.1:{port}/{database}"

    def dump(self, database: str, to: Path) -> None:
        """Write a database into a file, as far as it can be had."""
        # Beside the server, or wherever else it is.
        beside = Path(self.recipe.command[0]).resolve().parent / "pg_dump"
        program = str(beside) if beside.exists() else "pg_dump"
        with to.open("wb") as file, contextlib.suppress(OSError):
            subprocess.run([program, self.url_of(database)], stdout=file, stderr=subprocess.DEVNULL, check=False)


class Broker(Server):
    """A RabbitMQ of our own."""

    def __init__(self) -> None:
        self.port = local_servers.free_port()
        super().__init__(local_servers.rabbitmq(_folder("mq"), port=self.port))

    def version(self) -> str:
        """Tell which version it is."""
        from kombu.connection import Connection

        with Connection(self.url) as connection:
            connection.connect()
            return str(connection.connection.server_properties.get("version", "?"))


class Redis(Server):
    """A Redis of our own: it forgets everything when it ends."""

    def __init__(self) -> None:
        self.port = local_servers.free_port()
        super().__init__(local_servers.redis(_folder("redis"), port=self.port))

    def version(self) -> str:
        """Tell which version it is."""
        import redis

        with redis.Redis.from_url(self.url, socket_timeout=5) as client:
            return str(client.info("server")["redis_version"])

    def flush(self) -> None:
        """Have it forget everything now."""
        import redis

        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self.url, socket_timeout=2) as client:
            client.flushall()


def _folder(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"faults-{name}-"))


def _signal_group(pid: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, how)


def until(true: Any, *, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    reason: object = "no answer"
    while time.monotonic() < end:
        try:
            if true():
                return
        except Exception as error:
            reason = error
        time.sleep(0.1)
    raise AssertionError(f"{what}: {reason} within {seconds} s")
