"""The system under test in one of its three sizes: its servers, a proxy in front of each, its processes."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from orchestrator_site.local_servers import free_port
from tests import servers
from tests.faults import over_amqp
from tests.faults.programs import Broker, PostgreSQL, Program, Redis, Server, Supervisor, until
from tests.faults.schedule import Fault, Targets
from tests.faults.shapes import CLASSIC, QUEUES
from tests.proxy import Proxy, Way
from tests.tree import ROOT
from workflows.messaging.queues import Queues, dead_letter_queue

PROFILES = ("sqlite", "pg", "full")
SECRET = "secret of fault runs, which is long enough to be one: 0123456789abcdef"
MARKER = "PLANTED-SECRET-4f1c"
"""Stands in the environment of every process; it may not be seen anywhere."""


class Ground:
    """The servers of a profile and a prepared empty database, made once and used by every seed."""

    def __init__(self, profile: str, folder: Path) -> None:
        if profile not in PROFILES:
            raise ValueError(f"no such profile: {profile}")
        self.profile = profile
        self.folder = folder
        self.servers: dict[str, Server] = {}
        self._broken_off = contextlib.ExitStack()
        try:
            if profile != "sqlite":
                self._add("postgresql", PostgreSQL())
            if profile == "full":
                self._add("rabbitmq", Broker())
                self._add("redis", Redis())
            self.tokens = self._prepare()
        except BaseException:
            self.close()
            raise

    def _add(self, name: str, server: Server) -> None:
        self.servers[name] = server
        self._broken_off.callback(server.close)

    def close(self) -> None:
        """End the servers."""
        self._broken_off.close()

    @property
    def postgresql(self) -> PostgreSQL:
        """Give the PostgreSQL."""
        return cast(PostgreSQL, self.servers["postgresql"])

    @property
    def broker(self) -> Broker:
        """Give the RabbitMQ."""
        return cast(Broker, self.servers["rabbitmq"])

    @property
    def redis(self) -> Redis:
        """Give the Redis."""
        return cast(Redis, self.servers["redis"])

    def _prepare(self) -> dict[str, str]:
        if self.profile == "sqlite":
            url = f"sqlite:///{self.folder / 'empty' / 'orchestrator.sqlite3'}"
            (self.folder / "empty").mkdir(parents=True, exist_ok=True)
        else:
            self.postgresql.execute("CREATE DATABASE empty")
            url = self.postgresql.url_of("empty")
        said = subprocess.run(
            [sys.executable, "-m", "tests.faults.prepare"],
            cwd=ROOT,
            env=servers.environment(SECRET_KEY=SECRET, DATABASE_URL=url, DATA_DIR=str(self.folder / "empty")),
            capture_output=True,
            text=True,
            check=False,
        )
        if said.returncode:
            raise AssertionError(f"the database could not be prepared:\n{said.stderr[-2000:]}")
        return dict(json.loads(said.stdout.strip().splitlines()[-1]))


@dataclass
class System:
    """One running system on fresh data."""

    ground: Ground
    folder: Path
    database_url: str
    """Past the proxies: for those who look at the end."""
    database: str = ""
    programs: dict[str, Program] = field(default_factory=dict)
    proxies: dict[str, Proxy] = field(default_factory=dict)
    web_ports: list[int] = field(default_factory=list)
    real_ports: list[int] = field(default_factory=list)
    inbound: str = ""
    prefix: str = ""
    offsets: dict[str, float] = field(default_factory=dict)
    full: bool = False
    _telling: threading.Lock = field(default_factory=threading.Lock)

    @property
    def logs(self) -> list[Path]:
        """Give what the processes have printed."""
        return sorted(self.folder.glob("*.log"))

    def targets(self) -> Targets:
        """Tell what can be hurt."""
        lines = sorted(self.proxies)
        return Targets(
            programs=sorted(self.programs),
            web_lines=[name for name in lines if name.startswith("web")],
            lines=[name for name in lines if not name.startswith("web")],
            servers=sorted(self.ground.servers),
            sqlite=self.ground.profile == "sqlite",
            queues=list(CLASSIC) if self.inbound else [],
        )

    # --- faults -------------------------------------------------------------------------------------------------

    def strike(self, fault: Fault) -> None:
        """Begin a fault."""
        if fault.target in self.proxies:
            self._strike_line(self.proxies[fault.target], fault)
        elif fault.target in self.programs:
            self._strike_program(self.programs[fault.target], fault)
        elif fault.target in self.ground.servers:
            self._strike_server(fault)
        elif fault.kind == "disk_full":
            self.full = True
            self._tell()

    def _strike_line(self, proxy: Proxy, fault: Fault) -> None:
        way = cast(Way, fault.way)
        match fault.kind:
            case "cut":
                proxy.cut()
            case "refuse":
                proxy.refuse()
            case "hold":
                proxy.hold(way)
            case "delay":
                proxy.delay(fault.value, way)
            case "trickle":
                proxy.trickle(way, seconds=fault.value)
            case "drop_reply":
                proxy.drop_reply()
            case "reset_after":
                proxy.reset_after(int(fault.value), way)

    def _strike_program(self, program: Program, fault: Fault) -> None:
        match fault.kind:
            case "kill":
                program.kill(signal.SIGKILL, down=fault.seconds)
            case "term":
                program.kill(signal.SIGTERM, down=fault.seconds)
            case "pause":
                program.pause()
            case "failpoint":
                program.arm(fault.way)
            case "clock":
                self.offsets[program.name] = fault.value
                self._tell()

    def _strike_server(self, fault: Fault) -> None:
        server = self.ground.servers[fault.target]
        match fault.kind, server:
            case "backend", PostgreSQL():
                server.kill_a_backend()
            case "flush", Redis():
                server.flush()
            case "crash", PostgreSQL():
                server.stop(signal.SIGQUIT)
            case "crash", _:
                server.stop(signal.SIGKILL)
            case "restart", _:
                server.stop(server.recipe.ending)

    def end(self, fault: Fault) -> None:
        """End a fault."""
        if fault.target in self.proxies:
            self.proxies[fault.target].heal()
        elif fault.target in self.programs:
            if fault.kind == "pause":
                self.programs[fault.target].resume()
            elif fault.kind == "failpoint":
                self.programs[fault.target].arm("")
            elif fault.kind == "clock":
                self.offsets.pop(fault.target, None)
                self._tell()
        elif fault.target in self.ground.servers:
            if fault.kind in ("crash", "restart"):
                self.ground.servers[fault.target].start()
        elif fault.kind == "disk_full":
            self.full = False
            self._tell()

    def _tell(self) -> None:
        with self._telling:
            for name, program in self.programs.items():
                program.tell(offset=self.offsets.get(name, 0.0), full=self.full)

    def calm(self) -> None:
        """End every fault, and wait until every server and every web process answers."""
        for server in self.ground.servers.values():
            server.start()
        for proxy in self.proxies.values():
            proxy.heal()
        self.offsets.clear()
        self.full = False
        self._tell()
        for program in self.programs.values():
            program.arm("")
            program.resume()
        for port in self.real_ports:
            until(lambda port=port: _answers(port), seconds=90, what=f"the web process on port {port}")  # type: ignore[misc]

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything."""
        self._tell()
        for program in self.programs.values():
            program.start()
        self._supervisor = Supervisor(self.programs.values())
        self._supervisor.start()
        for port in self.real_ports:
            until(lambda port=port: _answers(port), seconds=90, what=f"the web process on port {port}")  # type: ignore[misc]

    def stop(self) -> None:
        """End every process and proxy."""
        if hasattr(self, "_supervisor"):
            self._supervisor.stop()
        for proxy in self.proxies.values():
            proxy.close()

    def keep_database(self) -> None:
        """Keep the database with the evidence."""
        if self.ground.profile == "sqlite":
            path = self.database_url.removeprefix("sqlite:///")
            kept = self.folder / "database.sqlite3"
            with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(kept)) as copy:
                source.backup(copy)
        else:
            self.ground.postgresql.dump(self.database, self.folder / "database.sql")

    def declare_queues(self) -> None:
        """Have the queues that nobody else declares before the first message: as the orchestrator declares them."""
        if not self.inbound:
            return
        connection = over_amqp.connect(self.ground.broker.port)
        try:
            queues = Queues(self.inbound)
            others = [f"{self.prefix}{queue}" for queue in QUEUES if queue not in CLASSIC]
            for name in (*others, dead_letter_queue(self.inbound), self.inbound):
                queues.make_sure_of(connection, name)
        finally:
            over_amqp.let_go(connection)

    def keep_server_logs(self) -> None:
        """Keep what the servers have said."""
        for name, server in self.ground.servers.items():
            folder = self.folder / f"server-{name}"
            folder.mkdir(exist_ok=True)
            for path in [server.recipe.log, *server.recipe.folder.glob("logs/*.log")]:
                with contextlib.suppress(OSError):
                    shutil.copy(path, folder)

    def drop(self) -> None:
        """Throw the database and the queues away."""
        if self.inbound:
            names = [*(f"{self.prefix}{queue}" for queue in QUEUES), self.inbound, f"{self.inbound}.dead"]
            over_amqp.remove(self.ground.broker.port, names)
        if self.ground.profile == "sqlite":
            shutil.rmtree(self.folder / "data", ignore_errors=True)
        else:
            self.ground.postgresql.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")


def build(ground: Ground, *, seed: int, folder: Path) -> System:
    """Put a system on fresh data together; nothing is started yet."""
    folder.mkdir(parents=True, exist_ok=True)
    common = {
        "SECRET_KEY": SECRET,
        "DJANGO_SETTINGS_MODULE": "tests.faults.site_settings",
        "PLANTED_SECRET": MARKER,
        # Half a minute is long in a run of one.
        "DATABASE_LOCK_TIMEOUT_MS": "5000",
        "DATABASE_STATEMENT_TIMEOUT_MS": "10000",
        "DATABASE_IDLE_TIMEOUT_MS": "10000",
    }
    if ground.profile == "sqlite":
        return _one_process(ground, folder, common)
    name = f"seed_{seed}"
    ground.postgresql.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    ground.postgresql.execute(f"CREATE DATABASE {name} TEMPLATE empty")
    system = System(ground, folder, ground.postgresql.url_of(name), name)
    if ground.profile == "full":
        system.prefix = f"seed{seed}."
        system.inbound = f"{system.prefix}inbound"
    for number in (1, 2):
        system.programs[f"web{number}"] = _web(system, name, number, common)
        system.programs[f"worker{number}"] = Program(
            f"worker{number}",
            ["manage.py", "run_worker"],
            env=common | _addresses(system, f"worker{number}", name),
            folder=folder,
        )
    if ground.profile == "full":
        _proxy(system, "rabbitmq-services", ("127.0.0.1", ground.broker.port))
    return system


def _one_process(ground: Ground, folder: Path, common: Mapping[str, str]) -> System:
    shutil.copytree(ground.folder / "empty", folder / "data", dirs_exist_ok=True)
    system = System(ground, folder, f"sqlite:///{folder / 'data' / 'orchestrator.sqlite3'}")
    port = free_port()
    system.programs["site"] = Program(
        "site",
        ["manage.py", "demo", "--no-traffic", "--port", str(port), "--data-dir", str(folder / "data")],
        env=common,
        folder=folder,
    )
    _behind_proxy(system, 1, port)
    return system


def _web(system: System, database: str, number: int, common: Mapping[str, str]) -> Program:
    port = free_port()
    _behind_proxy(system, number, port)
    return Program(
        f"web{number}",
        ["manage.py", "serve", "--port", str(port)],
        env={**common, **_addresses(system, f"web{number}", database)},
        folder=system.folder,
    )


def _behind_proxy(system: System, number: int, port: int) -> None:
    system.real_ports.append(port)
    system.web_ports.append(_proxy(system, f"web-line{number}", ("127.0.0.1", port)).port)


def _addresses(system: System, client: str, database: str) -> dict[str, str]:
    """Give a process addresses of its own, so that its lines can be broken and nobody else's."""
    ground = system.ground
    line = _proxy(system, f"postgresql-{client}", ground.postgresql.socket)
    found = {
        "DATABASE_URL": ground.postgresql.url_of(database, port=line.port),
        "DATA_DIR": str(system.folder / f"data-{client}"),
    }
    if ground.profile == "full":
        broker = _proxy(system, f"rabbitmq-{client}", ("127.0.0.1", ground.broker.port))
        redis = _proxy(system, f"redis-{client}", ("127.0.0.1", ground.redis.port))
        found |= {
            "BROKER_URL": f"amqp://guest:guest@127.0.0.1:{broker.port}//",
            "INBOUND_QUEUE": system.inbound,
            "REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
            "REDIS_PREFIX": system.prefix,
        }
    return found


def _proxy(system: System, name: str, target: Any) -> Proxy:
    system.proxies[name] = Proxy(target).start()
    return system.proxies[name]


def _answers(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as response:
        return bool(response.status == 200)


__all__ = ["MARKER", "PROFILES", "Ground", "System", "build"]
