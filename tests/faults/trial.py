"""One run of one seed: load and faults, then calm, then the question whether anything was lost or doubled."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.faults import records
from tests.faults.cast import Cast, HarnessBroken
from tests.faults.evidence import Depth, Sample
from tests.faults.schedule import Fault, draw
from tests.faults.shapes import Plan, plan
from tests.faults.system import Ground, System, build

ENDED = ("COMPLETED", "CANCELLED", "ROLLED_BACK")
DRAINED_WITHIN = 120.0


@dataclass
class Trial:
    """What came of a seed: the system is still up when this is handed over, for the checker to look at."""

    seed: int
    system: System
    plan: Plan
    schedule: Sequence[Fault]
    folder: Path
    timings: dict[str, float] = field(default_factory=dict)
    drained: bool = False
    left_over: list[str] = field(default_factory=list)
    anchors: list[Mapping[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """Instances by state, as the database has them, and (below) as the API shows them."""
    counts_shown: dict[str, int] | None = None
    depths: dict[str, Depth] | None = None
    samples: list[Sample] = field(default_factory=list)


@contextlib.contextmanager
def run(
    ground: Ground,
    *,
    seed: int,
    instances: int,
    faults: int,
    seconds: float,
    folder: Path,
    say: Callable[[str], None],
) -> Iterator[Trial]:
    """Run a seed, and hand over what it has left while its system is still up."""
    begun = time.monotonic()
    system = build(ground, seed=seed, folder=folder)
    schedule = draw(seed=seed, faults=faults, seconds=seconds, targets=system.targets())
    load = plan(seed=seed, instances=instances, seconds=seconds, broker=bool(system.inbound))
    trial = Trial(seed, system, load, schedule, folder)
    write_schedule(trial)
    try:
        system.start()
        trial.timings["start"] = time.monotonic() - begun
        cast = Cast(system, load, ground.tokens, folder=folder)
        cast.publish()
        system.declare_queues()
        say(f"seed {seed}: {instances} instances, {len(schedule)} faults in {seconds:.0f} s")
        before = _usage(system)
        cast.start()
        try:
            _break_things(trial, cast, seconds)
            trial.timings["faults"] = time.monotonic() - begun - trial.timings["start"]
            _calm_down(trial, cast, say)
        finally:
            cast.stop()
        cast.complain()
        trial.depths = cast.depths()
        trial.counts = states(system.database_url)
        trial.counts_shown = cast.counted()
        trial.samples = _compared(before, _usage(system))
        yield trial
    finally:
        system.stop()


# --- faults -------------------------------------------------------------------------------------------------------


def _break_things(trial: Trial, cast: Cast, seconds: float) -> None:
    begun = time.monotonic()
    happened = records.Lines(trial.folder / "faults.jsonl")
    failures: list[BaseException] = []

    def happen(fault: Fault) -> None:
        try:
            time.sleep(max(0.0, begun + fault.at - time.monotonic()))
            happened.add({"begin": time.time(), **fault.record()})
            try:
                if fault.kind == "delete_queue":
                    cast.delete_queue(fault.target, fault.seconds)
                else:
                    trial.system.strike(fault)
                time.sleep(fault.seconds)
            finally:
                trial.system.end(fault)
                happened.add({"end": time.time(), **fault.record()})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=happen, args=(fault,), daemon=True) for fault in trial.schedule]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    # What the history says by now, it says for ever. Asked past the proxies; the server may be down just now.
    with contextlib.suppress(OSError, psycopg.Error, sqlite3.Error):
        trial.anchors.append(_anchor(trial))
    time.sleep(max(0.0, begun + seconds - time.monotonic()))
    for thread in threads:
        thread.join(120)
    happened.close()
    if failures:
        raise HarnessBroken("a fault could not be injected") from failures[0]


def _calm_down(trial: Trial, cast: Cast, say: Callable[[str], None]) -> None:
    trial.system.calm()
    cast.calm()
    begun = time.monotonic()
    trial.anchors.append(_anchor(trial))
    quiet = 0
    told = begun
    while time.monotonic() - begun < DRAINED_WITHIN:
        trial.left_over = list(undrained(trial, cast)) if cast.started_everything else ["not everything is started"]
        quiet = 0 if trial.left_over else quiet + 1
        if time.monotonic() - told > 10:
            told = time.monotonic()
            say(f"  after {told - begun:.0f} s: {len(trial.left_over)} left, {', '.join(trial.left_over[:3])}")
        # Twice in a row: between two looks a message may be on its way.
        if quiet == 2:
            trial.drained = True
            break
        time.sleep(0.5)
    trial.timings["drain"] = time.monotonic() - begun
    say(f"  drained in {trial.timings['drain']:.1f} s" if trial.drained else f"  NOT drained: {trial.left_over[:5]}")


def _anchor(trial: Trial) -> Mapping[str, Any]:
    from tests.faults.facts import anchor

    return anchor(trial.system.database_url)


# --- what processes use -------------------------------------------------------------------------------------------

# What a process may use more of than when it had just begun: pools and caches fill. A leak in a run of hundreds of
# instances and dozens of broken lines is larger than that.
_SLACK = {"threads": 40.0, "files": 60.0, "MiB": 150.0}


def _usage(system: System) -> dict[str, dict[str, float]]:
    """Measure the processes of the site."""
    found = {}
    for program in system.programs.values():
        if (pid := program.pid) is None:
            continue
        with contextlib.suppress(OSError, StopIteration):
            words = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
            values = {one[0].rstrip(":"): one[1] for one in words if len(one) > 1}
            found[program.name] = {
                "threads": float(values["Threads"]),
                "MiB": float(values["VmRSS"]) / 1024,
                "files": float(len(list(Path(f"/proc/{pid}/fd").iterdir()))),
            }
    return found


def _compared(before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]) -> list[Sample]:
    return [
        Sample(f"{name}: {what}", used, after[name][what], _SLACK[what])
        for name, each in before.items()
        if name in after
        for what, used in each.items()
    ]


# --- what is still to be done -------------------------------------------------------------------------------------

_OPEN = "SELECT business_ref_no, state FROM workflows_workflowinstance WHERE state NOT IN ('COMPLETED', 'CANCELLED', 'ROLLED_BACK')"
_UNSENT = "SELECT count(*) FROM workflows_outboxmessage WHERE state <> 'SENT'"
_LIVE = (
    "SELECT i.business_ref_no, t.task_name, t.state FROM workflows_taskinstance t"
    " JOIN workflows_workflowinstance i ON i.id = t.instance_id"
    " WHERE i.state = 'FAILED' AND t.state IN ('SCHEDULED', 'STARTED', 'WAITING')"
)
_STATES = "SELECT state, count(*) FROM workflows_workflowinstance GROUP BY state"


def undrained(trial: Trial, cast: Cast) -> Iterator[str]:
    """Tell what is still under way."""
    url = trial.system.database_url
    for reference, state in _rows(url, _OPEN):
        start = trial.plan.by_reference.get(reference)
        if state in ("RUNNING", "ROLLING_BACK") or start is None or not start.left:
            yield f"{reference} is {state}"
    for reference, task, state in _rows(url, _LIVE):
        yield f"{task} of {reference} is {state}"
    for (count,) in _rows(url, _UNSENT):
        if count:
            yield f"{count} messages are not sent"
    for queue, depth in (cast.depths() or {}).items():
        if depth.ready:
            yield f"{depth.ready} messages wait in {queue}"
    if cast.in_hand:
        yield f"services have {cast.in_hand} messages in hand"


def states(url: str) -> dict[str, int]:
    """Count the instances by state."""
    return dict(_rows(url, _STATES))


def _rows(url: str, sql: str) -> list[Any]:
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
            return database.execute(sql).fetchall()
    with psycopg.connect(url) as connection:
        return list(connection.execute(sql.encode()).fetchall())


def write_schedule(trial: Trial) -> None:
    """Write down what is going to happen."""
    said = {"seed": trial.seed, "faults": [fault.record() for fault in trial.schedule]}
    (trial.folder / "schedule.json").write_text(json.dumps(said, indent=1))
