"""`./run cluster`: the whole site as plain processes on this machine: servers, web processes, workers, a proxy.

Which servers: those of DATABASE_URL, BROKER_URL and REDIS_URL; what is not named there is started from what is
installed, with its data below `--data-dir`. This process needs no database and no Django: it only looks after the
others. See Note [In which order it ends].
"""

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator_site import local_servers
from orchestrator_site.local_servers import Recipe, ServerMissing, end_with_parent, free_port
from orchestrator_site.supervising import Child, Supervisor, how, last_lines, say

ROOT = Path(__file__).resolve().parent.parent
SERVER, WORKER, PROXY, WEB, EXAMPLES = range(5)

# Note [In which order it ends]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
# First those who cause work (the examples), then the web processes, which answer what they have begun to answer, then
# the proxy that carries these answers, then the workers, which finish what they hold, and at last the servers.


class CannotStart(Exception):
    """The text says what is in the way, and what to do about it."""


def main(arguments: Sequence[str]) -> int:
    """Run the cluster until it is told to stop."""
    chosen = _parse(arguments)
    data: Path = chosen.data_dir.absolute()
    supervisor = Supervisor(say)
    try:
        with _alone(data):
            cluster = Cluster(supervisor, data=data, chosen=chosen)
            try:
                if cluster.begin():
                    supervisor.run()
            finally:
                say("Stopping ...")
                late = supervisor.end()
    except (CannotStart, ServerMissing) as reason:
        sys.stderr.write(f"{reason}\n")
        return 1
    if late:
        say(f"Did not end in time: {', '.join(late)}. What they held is taken up at the next start.")
    say("Stopped.")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run cluster", description=__doc__)
    parser.add_argument("--web", type=_count, default=2, metavar="N", help="web processes (default: 2)")
    parser.add_argument("--workers", type=_count, default=2, metavar="N", help="worker processes (default: 2)")
    parser.add_argument("--port", type=int, default=8000, help="of the proxy, or of the first web process (8000)")
    parser.add_argument(
        "--data-dir", type=Path, default=ROOT / "var" / "cluster", metavar="D", help="default: var/cluster"
    )
    parser.add_argument("--no-traffic", action="store_true", help="install the examples, but start nothing")
    parser.add_argument("--no-proxy", action="store_true", help="no nginx in front, also where it is installed")
    chosen = parser.parse_args(arguments)
    if not 1 <= chosen.port <= 65_535 - chosen.web:
        parser.error("--port takes 1 to 65535, with room above it for the web processes.")
    return chosen


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 64:
        raise argparse.ArgumentTypeError("1 to 64")
    return number


class Cluster:
    """The processes, and what they are told by their environment."""

    def __init__(self, supervisor: Supervisor, *, data: Path, chosen: argparse.Namespace) -> None:
        self._supervisor = supervisor
        self._data = data
        self._chosen = chosen
        self._memory = _Memory(data / "cluster.json")
        nginx = None if chosen.no_proxy else shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        self._nginx = nginx
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", "DATA_DIR": str(data)}
        (data / "log").mkdir(exist_ok=True)

    def begin(self) -> bool:
        """Start everything; False when it was told to stop meanwhile. Raises CannotStart or ServerMissing."""
        ports = self._ports()
        self._servers()
        if self._supervisor.stopping:
            return False
        self._environment.setdefault("SECRET_KEY", self._memory.secret("secret_key"))
        # The examples that are written in Python run in the workers.
        modules = [os.environ.get("STEP_MODULES", ""), "workflows.examples.flows", "workflows.examples.nodes"]
        self._environment["STEP_MODULES"] = ",".join(filter(None, modules))
        if self._nginx:
            self._environment["TRUST_PROXY_HEADERS"] = "1"
        say("Preparing the database ...")
        self._once("migrate", "--verbosity", "0", "--no-input")
        address = f"http://127.0.0.1:{self._chosen.port}"
        told = self._once("examples", "--address", address)
        if self._supervisor.stopping:
            return False
        for number in range(self._chosen.workers):
            self._python(f"worker {number + 1}", "run_worker", rank=WORKER, patience=30)
        addresses = []
        for number, port in enumerate(ports):
            self._python(f"web {number + 1}", "serve", "--port", str(port), rank=WEB)
            addresses.append(f"http://127.0.0.1:{port}")
        if not all(self._supervisor.until(partial(_answers, one), seconds=60) for one in addresses):
            if self._supervisor.stopping:
                return False
            raise CannotStart(f"The web processes do not answer. See the logs in {self._data / 'log'}")
        if self._nginx:
            self._proxy(ports)
            if not self._supervisor.until(partial(_answers, address), seconds=30) and not self._supervisor.stopping:
                raise CannotStart(f"nginx does not answer. See {self._data / 'log' / 'nginx.log'}")
        if not self._chosen.no_traffic:
            self._python("examples", "examples", "--traffic", rank=EXAMPLES)
        say(told.rstrip())
        say("")
        names = [address] if self._nginx else addresses
        say(f"Processes: {', '.join(child.name for child in self._supervisor.children)}.")
        say(f"Logs: {self._data / 'log'}. API: {names[0]}/api/v1/docs/   Stop with Ctrl-C.")
        if len(names) > 1:
            say("Without nginx on the PATH each web process has an address of its own; all of them show the same.")
        say(f"Ready: {' '.join(f'{one}/' for one in names)}")
        return not self._supervisor.stopping

    def _ports(self) -> list[int]:
        first = self._chosen.port
        count = self._chosen.web
        wanted = [first, *range(first + 1, first + count + 1)] if self._nginx else list(range(first, first + count))
        for port in wanted:
            if not _is_free(port):
                raise CannotStart(f"Port {port} is taken or may not be used. Choose another one: --port N")
        return wanted[1:] if self._nginx else wanted

    # --- servers ---

    def _servers(self) -> None:
        processes = self._chosen.web + self._chosen.workers + 1
        pool = int(self._environment.get("DATABASE_POOL_SIZE") or 20)
        if not self._environment.get("DATABASE_URL"):
            place = self._place_of_postgresql()
            recipe = local_servers.postgresql(
                place,
                port=self._memory.port("postgresql"),
                password=self._memory.secret("postgresql_password"),
                options={"max_connections": max(100, processes * (pool + 2) + 10)},
            )
            self._environment["DATABASE_URL"] = self._server(recipe)
        if not self._environment.get("BROKER_URL"):
            recipe = local_servers.rabbitmq(
                self._data / "rabbitmq",
                port=self._memory.port("rabbitmq"),
                name=self._memory.secret("rabbitmq_name", length=6),
                user="orchestrator",
                password=self._memory.secret("rabbitmq_password"),
            )
            self._environment["BROKER_URL"] = self._server(recipe)
        if not self._environment.get("REDIS_URL"):
            recipe = local_servers.redis(
                self._data / "redis", port=self._memory.port("redis"), password=self._memory.secret("redis_password")
            )
            self._environment["REDIS_URL"] = self._server(recipe)

    def _server(self, recipe: Recipe) -> str:
        if self._supervisor.stopping:
            return recipe.url
        child = self._supervisor.add(
            Child(
                name=recipe.name,
                spawn=partial(recipe.spawn, with_parent=True),
                log=recipe.log,
                rank=SERVER,
                ending=recipe.ending,
                patience=30,
            )
        )

        def answers() -> bool:
            try:
                recipe.answers()
            except Exception:
                return False
            return True

        if not self._supervisor.until(answers, seconds=recipe.seconds) and not self._supervisor.stopping:
            said = " ".join(last_lines(recipe.log))
            raise ServerMissing(f"{recipe.name}: started, but it does not answer. It said: {said}")
        say(f"{recipe.name}: {recipe.command[0]} (pid {child.process.pid if child.process else '?'}), {recipe.folder}")
        return recipe.url

    def _place_of_postgresql(self) -> Path:
        own = self._data / "postgresql"
        # PostgreSQL does not run as root, and whoever else it runs as must be able to reach its data.
        if os.geteuid() != 0 or local_servers.is_open_to_others(self._data):
            return own
        place = Path(
            self._memory.value("postgresql_place", lambda: tempfile.mkdtemp(prefix="orchestrator-cluster-pg-"))
        )
        say(f"PostgreSQL does not run as root, and nobody else may enter {self._data}: its data are in {place}")
        return place

    # --- processes of the site ---

    def _once(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *command],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and not self._supervisor.stopping:
            raise CannotStart(f"manage.py {command[0]} {how(done.returncode)}:\n{done.stderr.strip()[-2_000:]}")
        return done.stdout

    def _python(self, name: str, *command: str, rank: int, patience: float = 15) -> None:
        log = self._data / "log" / f"{name.replace(' ', '-')}.log"
        arguments = [sys.executable, str(ROOT / "manage.py"), *command]
        self._supervisor.add(
            Child(name=name, spawn=partial(self._spawn, arguments, log), log=log, rank=rank, patience=patience)
        )

    def _spawn(self, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                arguments,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C in the terminal is for this process, which then ends them in order.
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGTERM),
            )

    def _proxy(self, ports: Sequence[int]) -> None:
        folder = self._data / "nginx"
        folder.mkdir(exist_ok=True)
        path = folder / "nginx.conf"
        path.write_text(proxy_settings((ROOT / "deploy" / "nginx.conf").read_text(), self._chosen.port, ports, folder))
        who = " user root;" if os.geteuid() == 0 else ""
        command = [str(self._nginx), "-p", str(folder), "-c", str(path), "-g", f"daemon off;{who}"]
        log = self._data / "log" / "nginx.log"
        self._supervisor.add(Child(name="nginx", spawn=partial(self._spawn, command, log), log=log, rank=PROXY))


def proxy_settings(text: str, port: int, web: Sequence[int], folder: Path) -> str:
    """Put this machine's addresses and places into the proxy's settings of `deploy/`."""
    lines = []
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        indent = line[: len(line) - len(line.lstrip())]
        if word == "server" and rest.startswith("web-1:"):
            options = rest.partition(" ")[2]
            lines += [f"{indent}server 127.0.0.1:{one} {options}" for one in web]
        elif word == "server" and rest.startswith("web-"):
            continue
        elif word == "listen":
            lines.append(f"{indent}listen 127.0.0.1:{port};")
        else:
            lines.append(line.replace("/tmp/", f"{folder}/"))  # noqa: S108
    return "\n".join(lines) + "\n"


class _Memory:
    """What was chosen at the first start and holds for the next ones: ports, passwords, places."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def value(self, name: str, make: Any) -> Any:
        """Give the value, made at the first start."""
        if name not in self._values:
            self._put(name, make())
        return self._values[name]

    def secret(self, name: str, *, length: int = 32) -> str:
        """Give a random text of hexadecimal digits, twice as many as `length`."""
        return str(self.value(name, lambda: secrets.token_hex(length)))

    def port(self, name: str) -> int:
        """Give a free port: the one of last time, unless somebody else has taken it meanwhile."""
        key = f"{name}_port"
        number = int(self.value(key, free_port))
        if not _is_free(number):
            self._put(key, number := free_port())
        return number

    def _put(self, name: str, value: Any) -> None:
        self._values[name] = value
        draft = self._path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(self._values, indent=2))
        draft.replace(self._path)


@contextlib.contextmanager
def _alone(data: Path) -> Iterator[None]:
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"A cluster runs already with the data of {data}. Choose others: --data-dir D") from None
        yield


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: a port whose connections have just ended may be used again.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/healthz", timeout=2) as response:  # noqa: S310 (our own address)
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


__all__ = ["Cluster", "main", "proxy_settings"]
