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
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator_site import local_servers
from orchestrator_site.local_servers import free_port


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
    return _start("pg", lambda base: local_servers.postgresql(base, options={"fsync": "off", "max_connections": 200}))


# --- Redis --------------------------------------------------------------------------------------------------------


def _find_redis() -> Engine:
    named = os.environ.get("TEST_REDIS_URL")
    url = named or "redis://127.0.0.1:6379/15"
    try:
        local_servers.ping_redis(url)
    except Exception as error:
        if named:
            raise EngineMissing(f"Redis: TEST_REDIS_URL does not work ({error})") from None
        return start_redis()
    return Engine(url=url, origin="the server at " + _without_password(url))


def start_redis(*, port: int | None = None) -> Engine:
    """Start a Redis of our own, on a free port, or on that of one that has ended."""
    return _start("redis", lambda base: local_servers.redis(base, port=port or free_port()))


# --- RabbitMQ -----------------------------------------------------------------------------------------------------


def _find_rabbitmq() -> Engine:
    named = os.environ.get("TEST_RABBITMQ_URL")
    url = named or "amqp://guest:guest@127.0.0.1:5672//"
    try:
        local_servers.ping_rabbitmq(url)
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
        local_servers.ping_rabbitmq(own.url)
    except Exception:
        return engine
    return own


def start_rabbitmq(*, port: int | None = None, base: Path | None = None) -> Engine:
    """Start a RabbitMQ of our own; give the same port and base again to start a stopped one on its old data."""
    return _start("mq", lambda folder: local_servers.rabbitmq(folder, port=port or free_port()), base=base)


# --- Shared -------------------------------------------------------------------------------------------------------


def _start(name: str, recipe: Callable[[Path], local_servers.Recipe], *, base: Path | None = None) -> Engine:
    own = base or Path(tempfile.mkdtemp(prefix=f"orchestrator-{name}-"))
    try:
        found = recipe(own)
        process = found.spawn()
        _STARTED[process.pid] = process
        try:
            found.wait(process)
        except BaseException:
            _end(process.pid)
            raise
    except local_servers.ServerMissing as missing:
        if base is None:
            shutil.rmtree(own, ignore_errors=True)
        raise EngineMissing(str(missing)) from None
    return Engine(url=found.url, origin=f"started from {found.command[0]}", pids=[process.pid], folders=[str(own)])


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


def _end(pid: int) -> None:
    # Each was started in a session of its own: its helpers belong to its group.
    local_servers.end_group(pid, process=_STARTED.pop(pid, None))


def _user_name() -> str:
    import getpass

    return getpass.getuser()


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname or 'the local socket'}:{parts.port or ''}".rstrip(":")
