"""The crash sweep: every story is broken at every place where it can be, one after the other; no luck is involved.

A story is played once to count the places. Then it is played as many times, and broken at the first, the second, …:

* `kill`: the process dies at a failpoint, as by SIGKILL; another one goes on with what was left behind;
* `raise`: the failpoint raises; the process goes on with what it has in its memory;
* `lie`: a commit, a publish or an acknowledgement was carried out, and its caller gets an error.

Afterwards everything must have ended as in the unbroken play, and the checker must find nothing. As a program:

    python -m tests.faults.sweep [--mode kill …] [--scenario NAME …] [--share 1/10] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODES = ("kill", "raise", "lie")
_DIED = 137


@dataclass
class Found:
    """What one break led to: nothing, if all is well."""

    scenario: str
    mode: str
    hit: int
    point: str
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = "\n  ".join(self.problems)
        return f"{self.scenario}, {self.mode} at hit {self.hit} ({self.point}):\n  {told}"


@dataclass
class Report:
    """What a sweep did and found."""

    broken: int = 0
    places: Counter[str] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)
    seconds: float = 0.0


class Sweep:
    """Stories on copies of one prepared database, each play in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ready = folder / "ready"
        self._plays = 0
        _prepare(self._ready)

    def run(
        self, *, modes: Sequence[str] = MODES, names: Sequence[str] = (), share: tuple[int, int] = (1, 1)
    ) -> Report:
        """Break the stories. `share` (n, of): only every `of`-th place, beginning at the n-th."""
        from tests.faults.scenarios import SCENARIOS

        began, report, turn = time.monotonic(), Report(), 0
        for scenario in SCENARIOS:
            if names and scenario.name not in names:
                continue
            unbroken: dict[str, dict[str, Any]] = {}
            for mode in modes:
                # The places of `kill` and `raise` are the same.
                places = "wrappers" if mode == "lie" else "failpoints"
                if places not in unbroken:
                    unbroken[places] = self.play(scenario.name, mode=mode, at=None)
                whole = unbroken[places]
                ended = {one[0] for one in whole["outcome"]["instances"].values()} if whole["outcome"] else set()
                if whole["problems"] or ended != {scenario.ends}:
                    problems = [*whole["problems"], f"it ends as {whole['outcome']}, not {scenario.ends}"]
                    report.found.append(Found(scenario.name, mode, 0, "unbroken", problems))
                    break
                for hit, point in enumerate(whole["points"], 1):
                    turn += 1
                    if (turn - share[0]) % share[1]:
                        continue
                    report.broken += 1
                    report.places[point] += 1
                    said = self.play(scenario.name, mode=mode, at=hit)
                    problems = list(said["problems"])
                    if said["outcome"] != whole["outcome"]:
                        problems.append(f"it ended as {said['outcome']}, unbroken as {whole['outcome']}")
                    if problems:
                        report.found.append(Found(scenario.name, mode, hit, point, problems))
                        print(f"found: {report.found[-1]}", file=sys.stderr, flush=True)
        report.seconds = time.monotonic() - began
        return report

    def keep(self, name: str, folder: Path) -> dict[str, Any]:
        """Play a story unbroken, and leave everything in a folder."""
        shutil.copytree(self._ready, folder)
        return _in_a_process(lambda: _first(name, folder, mode="kill", at=None)) or {}

    def play(self, name: str, *, mode: str, at: int | None) -> dict[str, Any]:
        """Play a story, broken at one place (None: not at all), and give its end: points, outcome, problems."""
        self._plays += 1
        folder = self.folder / f"play-{self._plays}"
        shutil.copytree(self._ready, folder)
        try:
            said = _in_a_process(lambda: _first(name, folder, mode=mode, at=at))
            if said is None:
                # It was killed. Somebody else takes over, some time later.
                said = _in_a_process(lambda: _second(name, folder))
            return said or {"points": [], "outcome": None, "problems": ["the second process died, too"]}
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _first(name: str, folder: Path, *, mode: str, at: int | None) -> dict[str, Any]:
    points: list[str] = []

    def pass_by(point: str, strike: Callable[[], None]) -> None:
        points.append(point)
        if len(points) == at:
            strike()

    if mode == "lie":
        from django.db import OperationalError

        from workflows.messaging.port import BusDown

        def lie_of_the_bus() -> None:
            pass_by("bus", lambda: _throw(BusDown("planted: it was done, you do not know")))

        def lie_of_the_database() -> None:
            # One that is tried again at once, and one that is not, in turns.
            text = "database is locked" if (at or 0) % 2 else "disk I/O error"
            pass_by("commit", lambda: _throw(OperationalError(f"{text} (planted: it was committed)")))

        _commits_lie(lie_of_the_database)
        return _play(name, folder, points, lie=lie_of_the_bus)
    from workflows import failpoints

    strike = (lambda: os._exit(_DIED)) if mode == "kill" else (lambda: _throw(failpoints.Injected("planted")))
    failpoints.ACTIVE = lambda point: pass_by(point, strike)
    return _play(name, folder, points)


def _second(name: str, folder: Path) -> dict[str, Any]:
    return _play(name, folder, [], late=True)


def _play(
    name: str, folder: Path, points: list[str], *, lie: Callable[[], None] = lambda: None, late: bool = False
) -> dict[str, Any]:
    from tests.faults.planted import plant_from_environment
    from tests.faults.scenarios import SCENARIOS
    from tests.faults.world import PAUSE, World
    from workflows import failpoints

    scenario = next(one for one in SCENARIOS if one.name == name)
    plant_from_environment()
    world = World(folder, behaviours=scenario.behaviours, lie=lie)
    if late:
        world.pass_time(PAUSE)
    problems: list[str] = []
    try:
        world.play(scenario.steps)
        world.drain()
    except AssertionError as error:
        problems.append(str(error))
    failpoints.ACTIVE = None
    told = list(points)
    problems += world.violations()
    return {"points": told, "outcome": world.outcome(), "problems": problems}


def _throw(error: Exception) -> None:
    raise error


def _commits_lie(lie: Callable[[], None]) -> None:
    from django.db.backends.base.base import BaseDatabaseWrapper

    true = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]

    def commit(self: Any) -> None:
        true(self)
        lie()

    BaseDatabaseWrapper._commit = commit  # type: ignore[attr-defined]


def _in_a_process(play: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Fork, play there, and give what it says; None where it was killed at its place."""
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(hear)
            said = json.dumps(play()).encode()
            with os.fdopen(tell, "wb") as pipe:
                pipe.write(said)
            code = 0
        except BaseException:
            with os.fdopen(os.dup(2), "w") as loud:
                traceback.print_exc(file=loud)
        finally:
            os._exit(code)
    os.close(tell)
    with os.fdopen(hear, "rb") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == _DIED:
        return None
    if code:
        return {"points": [], "outcome": None, "problems": [f"the play ended with {code}; see what it printed"]}
    return json.loads(said)  # type: ignore[no-any-return]


def _prepare(folder: Path) -> None:
    """Make the database that every play begins with: tables, people, templates, tokens."""
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command
    from django.db import connections
    from django.test import Client

    from orchestrator_site.sqlite.base import close_kept
    from tests.faults.scenarios import SCENARIOS
    from tests.faults.world import NOON
    from workflows.runtime import tokens
    from workflows.runtime.publishing import publish_template

    folder.mkdir(parents=True)
    connections["default"].settings_dict["NAME"] = str(folder / "db.sqlite3")
    call_command("migrate", verbosity=0)
    told = {}
    people = {"service-bot": "api_client", "olivia": "operator", "fred": "finance", "fiona": "finance"}
    for name, group in people.items():
        user = User.objects.create(username=name)
        user.groups.add(Group.objects.get_or_create(name=group)[0])
        told[name] = tokens.issue(user, at=NOON)
    (folder / "tokens.json").write_text(json.dumps(told))
    for scenario in SCENARIOS:
        publish_template({**scenario.template, "component_name": scenario.component}, by="olivia", at=NOON)
    # Whatever is imported by the first request is imported here, once, and not in every play.
    answer = Client().get("/api/v1/instances/", headers={"Authorization": f"Bearer {told['service-bot']}"})
    if answer.status_code != 200:
        raise RuntimeError(f"the site does not work: {answer.content[:500]!r}")
    connections.close_all()
    close_kept()


def _set_up(folder: Path) -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "orchestrator_site.settings_test"
    os.environ.setdefault("TEST_DATA_DIR", str(folder))
    django.setup()
    import logging

    from django.conf import settings

    # Hundreds of processes complain of what was planted in them; what counts is what they leave behind.
    logging.disable(logging.CRITICAL)
    settings.ALLOWED_HOSTS = ["testserver"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Sweep from the command line; the exit code is 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", action="append", choices=MODES)
    parser.add_argument("--scenario", action="append", default=[])
    parser.add_argument("--share", default="1/1", help="n/of: only every of-th place, beginning at the n-th")
    parser.add_argument("--first", action="store_true", help="stop telling after the first finding")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="break nothing; leave what the stories leave, each in a folder here")
    given = parser.parse_args(arguments)
    share = tuple(int(one) for one in given.share.split("/"))
    with _scratch() as folder:
        _set_up(folder)
        if given.keep:
            sweep = Sweep(folder / "plays")
            return max(bool(sweep.keep(name, given.keep / name).get("problems", True)) for name in given.scenario)
        report = Sweep(folder / "plays").run(
            modes=given.mode or MODES, names=given.scenario, share=(share[0], share[1])
        )
    for found in report.found[: 1 if given.first else None]:
        print(found)
    points = ", ".join(f"{point} {count}" for point, count in sorted(report.places.items()))
    print(f"broken {report.broken} times in {report.seconds:.0f} s, {len(report.found)} findings ({points})")
    if given.json:
        given.json.write_text(
            json.dumps(
                {
                    "broken": report.broken,
                    "seconds": round(report.seconds, 1),
                    "places": dict(sorted(report.places.items())),
                    "found": [vars(one) for one in report.found],
                }
            )
        )
    return 1 if report.found else 0


def _scratch() -> Any:
    import contextlib

    @contextlib.contextmanager
    def make() -> Iterator[Path]:
        # In memory where there is such a place: thousands of small databases are written and thrown away.
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        folder = Path(tempfile.mkdtemp(prefix="orchestrator-sweep-", dir=base))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return make()


if __name__ == "__main__":
    sys.exit(main())
