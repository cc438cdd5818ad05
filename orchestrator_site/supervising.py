"""Keeps processes running: starts them, starts again what dies, ends all of them in order."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator_site.local_servers import end_group

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0
"""Who has run for so long is started again at once when it dies: the pauses grow only for what dies soon."""

Say = Callable[[str], None]


@dataclass
class Child:
    """One process that is to run. `rank`: the higher ones end first, those of the same rank together."""

    name: str
    spawn: Callable[[], subprocess.Popen[bytes]]
    log: Path
    rank: int
    ending: signal.Signals = signal.SIGTERM
    patience: float = 15.0
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    _began: float = 0.0
    _due: float = field(default=0.0)

    def start(self) -> None:
        """Start the process."""
        self._began, self._due = time.monotonic(), 0.0
        self.process = self.spawn()

    def look(self, say: Say) -> None:
        """Start it again if it has died and its pause is over."""
        now = time.monotonic()
        if self._due:
            if now >= self._due:
                self.start()
                say(f"{self.name}: started again (pid {self.process.pid if self.process else '?'}).")
            return
        if self.process is None or self.process.poll() is None:
            return
        self.deaths = 1 if now - self._began >= STEADY_SECONDS else self.deaths + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.deaths - 1))
        self._due = now + pause
        say(f"!!! {self.name} {how(self.process.returncode)}. It is started again in {pause:g} s; its log: {self.log}")
        if self.process.returncode > 0:
            for line in last_lines(self.log):
                say(f"    {line}")
        # What it has started itself must not live on beside its successor.
        end_group(self.process.pid, process=self.process, how=signal.SIGKILL)

    def wait_until(self) -> float | None:
        """Tell when it wants to be looked at again, if it knows."""
        return self._due or None


class Supervisor:
    """Starts children and looks after them until it is told to stop."""

    def __init__(self, say: Say) -> None:
        self.children: list[Child] = []
        self._say = say
        self._stop: int | None = None
        self._reads, writes = os.pipe()
        for end in (self._reads, writes):
            os.set_blocking(end, False)
        # A signal wakes `_sleep` by a byte in the pipe, whenever it comes.
        signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Whoever started it under nohup wants it to outlive the terminal.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._told_to_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop is not None

    def add(self, child: Child) -> Child:
        """Start a child, and look after it from now on."""
        self.children.append(child)
        child.start()
        return child

    def until(self, true: Callable[[], bool], *, seconds: float) -> bool:
        """Wait for something while the children are looked after; False when it does not come or all is to stop."""
        end = time.monotonic() + seconds
        while not self.stopping and time.monotonic() < end:
            self._look()
            if true():
                return True
            self._sleep(0.1)
        return False

    def run(self) -> None:
        """Look after the children until told to stop."""
        while not self.stopping:
            self._look()
            due = [at for child in self.children if (at := child.wait_until()) is not None]
            # A signal says when a child dies; a look now and then costs nothing.
            self._sleep(max(0.0, min([*due, time.monotonic() + 5]) - time.monotonic()))

    def end(self) -> list[str]:
        """End all children, the highest rank first; return the names of those that had to be killed."""
        late = []
        for rank in sorted({child.rank for child in self.children}, reverse=True):
            group = [child for child in self.children if child.rank == rank and child.process is not None]
            for child in group:
                if child.process is not None and child.process.poll() is None:
                    child.process.send_signal(child.ending)
            for child in group:
                if child.process is None:
                    continue
                try:
                    child.process.wait(child.patience)
                except subprocess.TimeoutExpired:
                    late.append(child.name)
                end_group(child.process.pid, process=child.process, how=signal.SIGKILL)
        return late

    def _look(self) -> None:
        for child in self.children:
            child.look(self._say)

    def _sleep(self, seconds: float) -> None:
        select.select([self._reads], [], [], seconds)
        try:
            os.read(self._reads, 4096)
        except BlockingIOError:
            return

    def _told_to_stop(self, number: int, _frame: object) -> None:
        self._stop = number


def how(code: int | None) -> str:
    """Say how a process has ended."""
    if code is not None and code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"has ended with code {code}"


def last_lines(log: Path, *, most: int = 5) -> Sequence[str]:
    """Read the end of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4_000))
            return file.read().decode(errors="replace").strip().splitlines()[-most:]
    except OSError:
        return []


def say(text: str) -> None:
    """Print a line for the person at the terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
