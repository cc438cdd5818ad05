"""A site of its own for a test: a database, the processes on it, and somebody to ask."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import servers
from tests.engines import free_port
from tests.servers import Site
from tests.tree import ROOT


def until(condition: Callable[[], Any], *, what: str, seconds: float = 60) -> Any:
    """Wait until the condition holds and return what it gives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come within {seconds} s")


@dataclass
class Actor:
    """A process of the site that does what it is asked for."""

    process: subprocess.Popen[str]

    def __call__(self, act: str, /, **given: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([act, given]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"{act} failed: see what the test has printed"
        return json.loads(answer)


@dataclass
class Place:
    """One database, and what runs on it."""

    kind: str
    folder: Path
    environment: dict[str, str]
    workers: list[Site] = field(default_factory=list)
    _ending: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def worker(self, *options: str, **more: str) -> Site:
        """Start a worker process and wait until it is ready."""
        port = free_port()
        command = ("manage.py", "run_worker", "--port", str(port), *options)
        site = servers.start(*command, port=port, folder=self.folder, **(self.environment | more))
        self.workers.append(site)
        self._ending.callback(site.stop, signal.SIGKILL)
        return site

    def actor(self) -> Actor:
        """Start somebody to ask."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers.actor"],
            cwd=ROOT,
            env=servers.environment(**self.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ending.enter_context(process)
        self._ending.callback(process.kill)
        return Actor(process)

    def ledger(self) -> list[list[str]]:
        """Return what steps have written down, line by line: what, whose, which, and by which process."""
        file = self.folder / "ledger"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def open_gate(self) -> None:
        """Let the steps go on that wait."""
        (self.folder / "open").touch()

    def close(self) -> None:
        """End all its processes."""
        self._ending.close()


def template(name: str, *tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a template of one stage."""
    stage = {"stage_name": "S", "stage_order": 1, "tasks": list(tasks)}
    return {"workflow_name": name, "component_name": "WORKERS", "stages": [stage], **more}


def service(name: str, **more: Any) -> dict[str, Any]:
    """Make a task that a service does."""
    return {"task_name": name, "task_type": "SERVICE", "task_queue": f"tests_workers_{name}", **more}


def step(name: str, does: str, **more: Any) -> dict[str, Any]:
    """Make a task that a step of `tests.workers.steps` does."""
    return {"task_name": name, "task_type": "STEP", "step": f"workers.{does}", **more}


__all__ = ["Actor", "Place", "service", "step", "template", "until"]
