"""What only a whole site shows: websockets, memory, many deadlines at once, a broker that is away."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests import servers
from tests.tree import ROOT


@dataclass(frozen=True)
class Wish:
    """One figure of a run: how to find it in what the run says, and what it may be at most."""

    title: str
    pick: Callable[[Mapping[str, Any]], float]
    at_most: float | None = None


@dataclass(frozen=True)
class Look:
    """A run of its own, by name: the module's arguments, and what is wanted of it."""

    name: str
    arguments: tuple[str, ...]
    wishes: tuple[Wish, ...]


LOOKS = (
    Look(
        "websockets", ("websockets", "--sockets", "1000", "--seconds", "30", "--rate", "4"),
        (
            Wish("1,000 websockets, 4 commits/s: that have not converged", lambda f: f["sockets"] - f["converged"], 0),
            Wish("… commit to frame, p99, ms", lambda f: f["p99_ms"], 300),
            Wish("… KiB a socket", lambda f: f["kib_per_socket"], 100),
        ),
    ),
    Look(
        "memory", ("memory",),
        (
            Wish("web + worker after work, PSS, MB", lambda f: f["after"]["web"]["pss"] + f["after"]["worker"]["pss"], 150),
            Wish("… the same, RSS, MB", lambda f: f["after"]["web"]["rss"] + f["after"]["worker"]["rss"], 150),
            Wish("each further worker after work, PSS, MB", lambda f: f["after"]["further_worker"]["pss"], 60),
            Wish("… the same, RSS, MB", lambda f: f["after"]["further_worker"]["rss"], 60),
        ),
    ),
    Look(
        "deadlines", ("deadlines", "--database", "postgresql"),
        (
            Wish("50,000 deadlines at once, PostgreSQL, s", lambda f: f["seconds"], 120),
            Wish("… other events meanwhile, p99 against alone", lambda f: f["p99_ratio"], 2),
        ),
    ),
    Look(
        "away", ("broker_away", "--seconds", "300"),
        (
            Wish("RabbitMQ away for 5 min: starts and decisions refused", lambda f: f["refused"], 0),
            Wish("… its return to an empty outbox, s", lambda f: f["drained_after"], 120),
        ),
    ),
)  # fmt: skip


def look(chosen: Look, *, postgresql: str) -> Iterator[tuple[str, float, float | None]]:
    """Run it, and give title, figure and what it may be at most."""
    server = ("--server", postgresql) if chosen.name == "deadlines" else ()
    done = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{chosen.arguments[0]}", *chosen.arguments[1:], *server],
        cwd=ROOT, env=servers.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{chosen.name} failed:\n{done.stderr[-8_000:]}")
    figures = _figures(done.stdout)
    for wish in chosen.wishes:
        yield wish.title, wish.pick(figures), wish.at_most


def _figures(said: str) -> Mapping[str, Any]:
    last = said.strip().splitlines()[-1]
    if last.startswith("{"):
        figures: Mapping[str, Any] = json.loads(last)
        return figures
    words = (line.split() for line in said.splitlines())
    return {pair[0]: float(pair[1]) for pair in words if len(pair) == 2}
