"""Plants each bug and sees whether it is found: `python -m tests.faults.planted [BUG …] [--json FILE] [--table]`.

A bug is caught when whoever is to find it (a story of the crash sweep, or a duel) finds something within three seeds.
A seed picks every fifth place of the sweep; duels have none. The same is asked without a bug, and must find nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests import engines
from tests.faults.planted import VARIABLE
from tests.faults.planted.bugs import BUGS, Bug
from tests.tree import ROOT

SEEDS = (1, 2, 3)
_OF = 5


@dataclass
class Kill:
    """What became of one bug."""

    bug: str
    about: str
    found_by: str = ""
    seed: int = 0
    said: str = ""
    clean_without: bool = False
    seconds: float = 0.0

    @property
    def caught(self) -> bool:
        """Tell whether it was found, and nothing where there was nothing to be found."""
        return bool(self.seed) and self.clean_without


def hunt(bug: Bug, *, of: int = _OF) -> Kill:
    """Plant a bug and look for it, seed after seed; a seed picks one of `of` places."""
    began, kill = time.monotonic(), Kill(bug.name, bug.about)
    for seed in SEEDS:
        for found_by, command in _commands(bug, seed, of):
            said = _run(command, bug.name)
            if said is not None:
                kill.found_by, kill.seed, kill.said = found_by, seed, said
                kill.clean_without = _run(command, None) is None
                kill.seconds = round(time.monotonic() - began, 1)
                return kill
    kill.seconds = round(time.monotonic() - began, 1)
    return kill


def _commands(bug: Bug, seed: int, of: int) -> Iterator[tuple[str, list[str]]]:
    if bug.sweep is not None:
        story, mode = bug.sweep
        yield (
            f"sweep `{story}`, {mode}",
            ["tests.faults.sweep", "--first", "--scenario", story, "--mode", mode, "--share", f"{seed}/{of}"],
        )
    if bug.duel is not None:
        broker = ["--broker", engines.rabbitmq().url] if bug.duel == "late-confirm" else []
        yield f"duel `{bug.duel}`", ["tests.faults.duels", "--duel", bug.duel, *broker]


def _run(command: Sequence[str], bug: str | None) -> str | None:
    """Run one search, and give the first thing that it found, if any."""
    with contextlib.ExitStack() as stack:
        more = {VARIABLE: bug} if bug else {}
        if command[0] == "tests.faults.duels":
            more["TEST_DATABASE_URL"] = stack.enter_context(database())
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in _OURS} | more,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    if done.returncode == 0:
        return None
    if done.returncode != 1 or not done.stdout.strip():
        raise AssertionError(f"{' '.join(command)} did not run:\n{done.stderr[-3000:]}")
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    # Of a finding of the sweep the first line says where, the second what. Ids differ from run to run.
    said = lines[1] if lines[0].endswith("):") and len(lines) > 1 else lines[0]
    return _ID.sub("…", said)


_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


_OURS = (VARIABLE, "DJANGO_SETTINGS_MODULE", "TEST_DATA_DIR", "TEST_DATABASE_URL")


@contextlib.contextmanager
def run_of_tests() -> Iterator[None]:
    """Be a run of the tests, with servers of its own where there are none, unless this is part of one."""
    if "TEST_DATA_DIR" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="orchestrator-hunt-") as folder:
        os.environ["TEST_DATA_DIR"] = folder
        try:
            yield
        finally:
            engines.stop_all()
            del os.environ["TEST_DATA_DIR"]


@contextlib.contextmanager
def database() -> Iterator[str]:
    """Make an empty database on PostgreSQL, and give its address."""
    import psycopg
    from psycopg import sql

    url, name = engines.postgresql().url, f"duels_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            from urllib.parse import urlsplit

            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def table(kills: Sequence[Kill]) -> str:
    """Write the kill table, as docs/faults.md has it."""
    lines = ["| planted bug | found by | seed | what was said |", "| --- | --- | --- | --- |"]
    for kill in kills:
        said = kill.said.replace("|", "\\|")
        said = said if len(said) <= 130 else f"{said[:127]}…"
        lines.append(f"| `{kill.bug}`: {kill.about} | {kill.found_by or 'nobody'} | {kill.seed or '–'} | {said} |")
    return "\n".join(lines)


def _told(kill: Kill) -> dict[str, object]:
    told = asdict(kill) | {"caught": kill.caught}
    del told["seconds"]
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt from the command line; the exit code is 1 when a bug got away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bug", nargs="*", help=", ".join(BUGS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", action="store_true", help="print the table as Markdown")
    given = parser.parse_args(arguments)
    kills = []
    with run_of_tests():
        for name in given.bug or BUGS:
            kills.append(hunt(BUGS[name]))
            kill = kills[-1]
            print(f"{'caught' if kill.caught else 'NOT CAUGHT'} {kill.bug} by {kill.found_by} ({kill.seconds} s): {kill.said}",
                  file=sys.stderr, flush=True)  # fmt: skip
    if given.table:
        print(table(kills))
    if given.json:
        given.json.write_text(json.dumps([_told(kill) for kill in kills], indent=1) + "\n")
    return 0 if all(kill.caught for kill in kills) else 1
