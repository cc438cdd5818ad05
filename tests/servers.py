"""The site as a process of its own, for tests that use it from outside: browsers, clients, killed processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.engines import free_port
from tests.tree import ROOT

# What the tests are set to is none of the site's business.
_NOT_PASSED_ON = (
    "DJANGO_SETTINGS_MODULE", "TEST_", "PYTEST_", "DATABASE_URL", "BROKER_URL", "REDIS_URL", "SECRET_KEY", "DATA_DIR",
    "ORCHESTRATOR_DEMO", "DEBUG", "HTTPS", "ALLOWED_HOSTS",
)  # fmt: skip


@dataclass
class Site:
    """A running site: its address, its process, and what it has printed."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def printed(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def tokens(self) -> dict[str, str]:
        """Return the tokens that the demo prints, by user name."""
        words = (line.split() for line in self.printed().splitlines() if line.startswith("token "))
        return {user: token for _, user, token in words}

    def stop(self, how: int = signal.SIGTERM, *, seconds: float = 20) -> int:
        """End it, or kill it with SIGKILL; return its exit code."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait(seconds)


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what is meant for the tests, and with what is given."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)} | more


def manage(*arguments: str, seconds: float = 120, **more: str) -> str:
    """Run a command of the site and return what it prints; raises CalledProcessError."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=True,
    ).stdout


def start(*command: str, port: int, folder: Path, seconds: float = 60, **more: str) -> Site:
    """Start a program of the site and wait until it answers on its port."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"output-{port}.log"
    with log.open("ab") as output:
        # A session of its own: what it starts ends with it.
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment(PYTHONUNBUFFERED="1", **more),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    site = Site(url=f"http://127.0.0.1:{port}", process=process, log=log)
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if _answers(f"{site.url}/readyz"):
            return site
        time.sleep(0.1)
    site.stop(signal.SIGKILL)
    raise AssertionError(f"{' '.join(command)} did not answer within {seconds} s:\n{site.printed()[-5_000:]}")


@contextlib.contextmanager
def demo(folder: Path, *options: str, port: int | None = None, seconds: float = 60, **more: str) -> Iterator[Site]:
    """Run the demo, quiet unless told otherwise, on a free port, with its data in the folder."""
    port = port or free_port()
    site = start(
        *(
            "manage.py",
            "demo",
            "--port",
            str(port),
            "--data-dir",
            str(folder / "data"),
            *(options or ("--no-traffic",)),
        ),
        port=port,
        folder=folder,
        seconds=seconds,
        **more,
    )
    try:
        yield site
    finally:
        site.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
