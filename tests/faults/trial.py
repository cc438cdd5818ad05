"""One run of one seed: load and faults, then calm, then the question whether anything was lost or doubled."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.faults import records
from tests.faults.client import Client
from tests.faults.operators import Operator
from tests.faults.people import PEOPLE, Driver, Person, Starter
from tests.faults.schedule import Fault, draw
from tests.faults.services import Desk, HttpService, Memory
from tests.faults.shapes import QUEUES, Plan, plan, prefixed
from tests.faults.system import Ground, System, build

ENDED = ("COMPLETED", "CANCELLED", "ROLLED_BACK")
DRAINED_WITHIN = 120.0


class HarnessBroken(Exception):
    """The harness itself did not do its part; nothing is said about the system."""


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
    operations: Counter[str] = field(default_factory=Counter)
    depths: dict[str, int] | None = None


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
        cast = _Cast(trial, ground.tokens)
        cast.publish()
        say(f"seed {seed}: {instances} instances, {len(schedule)} faults in {seconds:.0f} s")
        cast.start()
        try:
            _break_things(trial, cast, seconds)
            trial.timings["faults"] = time.monotonic() - begun - trial.timings["start"]
            _calm_down(trial, cast, say)
        finally:
            cast.stop()
        cast.complain()
        trial.counts = states(system.database_url)
        yield trial
    finally:
        system.stop()


class _Cast:
    """Everybody who uses the system in a run."""

    def __init__(self, trial: Trial, tokens: Mapping[str, str]) -> None:
        self._trial = trial
        system, seed, folder = trial.system, trial.seed, trial.folder
        self._stop, self._pause_services = threading.Event(), threading.Event()
        self._logs: list[records.OperationLog] = []
        begun = time.monotonic()

        def client(user: str, driver: str) -> Client:
            log = records.OperationLog(folder / f"operations-{driver}.jsonl", driver=driver)
            self._logs.append(log)
            return Client(system.web_ports, tokens[user], log)

        self._publisher = client("admin", "publisher")
        self.starters = [
            Starter(trial.plan, client("service-bot", f"starter{part}"), begun=begun, stop=self._stop, part=(part, 3))
            for part in range(3)
        ]
        self.operator = Operator(trial.plan, client("olivia", "operator"), begun=begun, stop=self._stop)
        self.people = [
            Person(
                name,
                client(name, name),
                client(other, f"{other}-beside-{name}"),
                client("olivia", f"olivia-for-{name}"),
                seed=seed,
                stop=self._stop,
            )
            for name, other in (PEOPLE, PEOPLE[::-1])
        ]
        memory = Memory()
        self.services = [
            HttpService(
                lambda queue=queue, idempotent=idempotent: Desk(  # type: ignore[misc]
                    queue, idempotent=idempotent, ledger=folder / "ledger.sqlite3", seed=seed, memory=memory
                ),
                client("service-bot", f"service-{queue}"),
                queue=queue,
                stop=self._stop,
                paused=self._pause_services,
            )
            for queue, idempotent in QUEUES.items()
        ]

    @property
    def _everybody(self) -> list[Driver | HttpService]:
        return [*self.starters, self.operator, *self.people, *self.services]

    def publish(self) -> None:
        for template in prefixed(self._trial.system.prefix):
            answer = self._publisher.ask(
                "/api/v1/templates/", template, kind="read", key=template["workflow_name"], request={}
            )
            if not answer.ok:
                raise HarnessBroken(f"{template['workflow_name']} was not published: {answer}")

    def start(self) -> None:
        for one in self._everybody:
            one.start()

    def calm(self) -> None:
        self.operator.calm = True
        for person in self.people:
            person.calm = True

    @property
    def started_everything(self) -> bool:
        return all(starter.finished for starter in self.starters)

    def stop(self) -> None:
        self._stop.set()
        for one in self._everybody:
            if one.ident is not None:
                one.join(30)
        for log in self._logs:
            log.close()

    def complain(self) -> None:
        for one in self._everybody:
            if one.failure is not None:
                raise HarnessBroken(f"{one.name} failed") from one.failure
            if one.is_alive():
                raise HarnessBroken(f"{one.name} has not ended")


# --- faults -------------------------------------------------------------------------------------------------------


def _break_things(trial: Trial, cast: _Cast, seconds: float) -> None:
    begun = time.monotonic()
    happened = records.Lines(trial.folder / "faults.jsonl")
    failures: list[BaseException] = []

    def happen(fault: Fault) -> None:
        try:
            time.sleep(max(0.0, begun + fault.at - time.monotonic()))
            happened.add({"begin": time.time(), **fault.record()})
            try:
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


def _calm_down(trial: Trial, cast: _Cast, say: Callable[[str], None]) -> None:
    trial.system.calm()
    cast.calm()
    begun = time.monotonic()
    trial.anchors.append(_anchor(trial))
    quiet = 0
    while time.monotonic() - begun < DRAINED_WITHIN:
        trial.left_over = list(undrained(trial)) if cast.started_everything else ["not everything is started"]
        quiet = 0 if trial.left_over else quiet + 1
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


# --- what is still to be done -------------------------------------------------------------------------------------

_OPEN = "SELECT business_ref_no, state FROM workflows_workflowinstance WHERE state NOT IN ('COMPLETED', 'CANCELLED', 'ROLLED_BACK')"
_UNSENT = "SELECT count(*) FROM workflows_outboxmessage WHERE state <> 'SENT'"
_LIVE = (
    "SELECT i.business_ref_no, t.task_name, t.state FROM workflows_taskinstance t"
    " JOIN workflows_workflowinstance i ON i.id = t.instance_id"
    " WHERE i.state = 'FAILED' AND t.state IN ('SCHEDULED', 'STARTED', 'WAITING')"
)
_STATES = "SELECT state, count(*) FROM workflows_workflowinstance GROUP BY state"


def undrained(trial: Trial) -> Iterator[str]:
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
