"""The least that a pizza costs on this machine: hand-written SQL, no product code.

Durable like the product and otherwise as little as can be: one row for the run, its phases and its jobs, a fact for
all that happens, a parcel for every message to send, which is deleted when it is sent, up to 100 at a time. A run is
6 events (a start, five completions), 12 facts and 5 parcels. Each event reads the run under a lock, is decided in
Python, and is written in one transaction: alone, or together with up to 99 others.
"""

import argparse
import contextlib
import json
import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import psycopg

from tests.benchmarks.racing import Share, percentile, race, shares


class Job(NamedTuple):
    """One of the five jobs of a pizza."""

    name: str
    phase: int
    kind: str = "SERVICE"
    after: tuple[int, ...] = ()

    @property
    def queue(self) -> str:
        """Return where it is offered."""
        return f"{self.name}_queue"


PHASES = ("START", "ORDER", "PREPARE", "DELIVER")
JOBS = (
    Job("confirm_order", 1),
    Job("make_food", 2),
    Job("assign_executive", 2),
    Job("confirm_delivery", 2, after=(1, 2)),
    Job("deliver_food", 3, kind="HUMAN"),
)
WAITING, OPEN, DONE = "NEW", "RUN", "DONE"
FACTS_OF_A_RUN = 12
PARCELS_AT_ONCE = 100
EVENTS_AT_ONCE = 100

Event = tuple[int, int | None]
"""A run, and the job that was done; None: the run begins."""


class Step(NamedTuple):
    """What one completion leads to."""

    opened: list[int]
    closed_phase: int | None
    phase: int
    over: bool


def decide(states: list[str], done: int) -> Step:
    """Work out what follows when a job is done; `states` is brought up to date."""
    phase = JOBS[done].phase
    states[done] = DONE
    left = [at for at, job in enumerate(JOBS) if job.phase == phase and states[at] != DONE]
    closed, over = None, False
    if not left:
        closed, phase = phase, phase + 1
        over = phase == len(PHASES)
    opened = [
        at
        for at, job in enumerate(JOBS)
        if job.phase == phase and states[at] == WAITING and all(states[parent] == DONE for parent in job.after)
    ]
    for at in opened:
        states[at] = OPEN
    return Step(opened, closed, min(phase, len(PHASES) - 1), over)


def _facts(done: int | None, opened: Iterable[int], over: bool) -> list[tuple[str, str | None]]:
    first: tuple[str, str | None] = ("StartWorkflow", None) if done is None else ("TaskCompleted", JOBS[done].name)
    last = [("WorkflowCompleted", None)] if over else []
    return [first, *(("StartTask", JOBS[at].name) for at in opened), *last]


def _body(run: int, name: str, job: str | None) -> str:
    return json.dumps(
        {"business_ref_no": f"ORDER-{run}", "component_name": "ITALIAN", "event_name": name, "task_name": job}
    )


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

_TABLES = """
CREATE TABLE run (
    id bigint PRIMARY KEY, template text NOT NULL, reference text NOT NULL, state text NOT NULL, phase int NOT NULL,
    made timestamptz NOT NULL DEFAULT now(), changed timestamptz NOT NULL DEFAULT now());
CREATE INDEX run_newest ON run (made DESC, id DESC);
CREATE TABLE phase (
    run bigint NOT NULL REFERENCES run, at int NOT NULL, name text NOT NULL, state text NOT NULL,
    begun timestamptz, ended timestamptz, PRIMARY KEY (run, at));
CREATE TABLE job (
    run bigint NOT NULL REFERENCES run, at int NOT NULL, name text NOT NULL, phase int NOT NULL, kind text NOT NULL,
    queue text NOT NULL, state text NOT NULL, begun timestamptz, ended timestamptz, PRIMARY KEY (run, at));
CREATE TABLE fact (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run bigint NOT NULL REFERENCES run, name text NOT NULL,
    job text, body jsonb NOT NULL, happened timestamptz NOT NULL DEFAULT now());
CREATE INDEX fact_of_run ON fact (run, id);
CREATE TABLE parcel (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run bigint NOT NULL, queue text NOT NULL, body jsonb NOT NULL,
    made timestamptz NOT NULL DEFAULT now());
"""

_ADD_RUNS = "INSERT INTO run (id, template, reference, state, phase) SELECT r, 'Deliver Pizza', 'ORDER-' || r, 'OPEN', 1 FROM unnest(%s::bigint[]) r"
_ADD_PHASES = (
    "INSERT INTO phase (run, at, name, state, begun, ended) SELECT r, p.at, p.name, p.state,"
    " CASE WHEN p.state <> 'NEW' THEN now() END, CASE WHEN p.state = 'DONE' THEN now() END FROM unnest(%s::bigint[]) r,"
    " unnest(%s::int[], %s::text[], %s::text[]) p(at, name, state)"
)
_ADD_JOBS = (
    "INSERT INTO job (run, at, name, phase, kind, queue, state, begun) SELECT r, j.at, j.name, j.phase, j.kind, j.queue,"
    " j.state, CASE WHEN j.state = 'RUN' THEN now() END FROM unnest(%s::bigint[]) r,"
    " unnest(%s::int[], %s::text[], %s::int[], %s::text[], %s::text[], %s::text[]) j(at, name, phase, kind, queue, state)"
)
_ADD_FACTS = (
    "INSERT INTO fact (run, name, job, body) SELECT f.run, f.name, f.job, f.body::jsonb"
    " FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[]) f(run, name, job, body)"
)
_ADD_PARCELS = (
    "INSERT INTO parcel (run, queue, body) SELECT p.run, p.queue, p.body::jsonb"
    " FROM unnest(%s::bigint[], %s::text[], %s::text[]) p(run, queue, body)"
)
_READ = (
    "SELECT r.id, r.state, j.at, j.state FROM run r JOIN job j ON j.run = r.id WHERE r.id = {which}"
    " ORDER BY r.id, j.at FOR UPDATE OF r"
)
_READ_ONE, _READ_MANY = _READ.format(which="%s"), _READ.format(which="ANY(%s)")
_SENT = "DELETE FROM parcel WHERE id IN (SELECT id FROM parcel ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)"

_PLAN_OF_PHASES = [list(range(4)), list(PHASES), [DONE, OPEN, WAITING, WAITING]]
_PLAN_OF_JOBS = [
    list(range(len(JOBS))),
    [job.name for job in JOBS],
    [job.phase for job in JOBS],
    [job.kind for job in JOBS],
    [job.queue for job in JOBS],
    [OPEN, WAITING, WAITING, WAITING, WAITING],
]


def _add(db: Any, runs: Sequence[int]) -> None:
    db.execute(_ADD_RUNS, [list(runs)])
    db.execute(_ADD_PHASES, [list(runs), *_PLAN_OF_PHASES])
    db.execute(_ADD_JOBS, [list(runs), *_PLAN_OF_JOBS])


def _tell(db: Any, facts: Sequence[tuple[int, str, str | None]], opened: Sequence[tuple[int, int]]) -> None:
    db.execute(_ADD_FACTS, [*_columns([(run, name, job, _body(run, name, job)) for run, name, job in facts])])
    if opened:
        parcels = [(run, JOBS[at].queue, _body(run, "StartTask", JOBS[at].name)) for run, at in opened]
        db.execute(_ADD_PARCELS, [*_columns(parcels)])


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def begin_alone(db: psycopg.Connection[Any], run: int) -> list[int]:
    """Begin one run, in one transaction; return the jobs that are open."""
    with db.pipeline(), db.transaction():
        _add(db, [run])
        _tell(db, [(run, *fact) for fact in _facts(None, [0], over=False)], [(run, 0)])
    return [0]


def complete_alone(db: psycopg.Connection[Any], run: int, done: int, *, ring: bool = False) -> list[int]:
    """Complete one job, in one transaction; return the jobs that have become open. `ring` notifies who listens."""
    with db.transaction():
        rows = db.execute(_READ_ONE, [run]).fetchall()
        states = [row[3] for row in rows]
        assert rows[0][1] == "OPEN", f"run {run} is over"
        assert states[done] == OPEN, f"job {done} of run {run} is {states[done]}"
        step = decide(states, done)
        with db.pipeline():
            db.execute("UPDATE job SET state = 'DONE', ended = now() WHERE run = %s AND at = %s", [run, done])
            if step.opened:
                db.execute(
                    "UPDATE job SET state = 'RUN', begun = now() WHERE run = %s AND at = ANY(%s)", [run, step.opened]
                )
            if step.closed_phase is not None:
                db.execute(
                    "UPDATE phase SET state = 'DONE', ended = now() WHERE run = %s AND at = %s",
                    [run, step.closed_phase],
                )
                if not step.over:
                    db.execute(
                        "UPDATE phase SET state = 'RUN', begun = now() WHERE run = %s AND at = %s", [run, step.phase]
                    )
            db.execute(
                "UPDATE run SET phase = %s, state = %s, changed = now() WHERE id = %s",
                [step.phase, "OVER" if step.over else "OPEN", run],
            )
            facts = _facts(done, step.opened, step.over)
            _tell(db, [(run, *fact) for fact in facts], [(run, at) for at in step.opened])
            if ring and step.opened:
                db.execute("SELECT pg_notify('jobs', %s)", [json.dumps([run, step.opened])])
    return step.opened


def together(db: psycopg.Connection[Any], events: Sequence[Event]) -> list[Event]:
    """Carry out many events in one transaction, set-wise; return what has become open."""
    begun = [run for run, done in events if done is None]
    ended = [(run, done) for run, done in events if done is not None]
    facts = [(run, *fact) for run in begun for fact in _facts(None, [0], over=False)]
    opened = [(run, 0) for run in begun]
    moved: list[tuple[int, int]] = []
    closed: list[tuple[int, int]] = []
    entered: list[tuple[int, int]] = []
    now: dict[int, tuple[int, str]] = {}
    with db.transaction():
        states: dict[int, list[str]] = {}
        if ended:
            for run, _, _, state in db.execute(_READ_MANY, [sorted({run for run, _ in ended})]).fetchall():
                states.setdefault(run, []).append(state)
        for run, done in ended:
            step = decide(states[run], done)
            facts += [(run, *fact) for fact in _facts(done, step.opened, step.over)]
            moved += [(run, at) for at in step.opened]
            if step.closed_phase is not None:
                closed.append((run, step.closed_phase))
                if not step.over:
                    entered.append((run, step.phase))
            now[run] = step.phase, "OVER" if step.over else "OPEN"
        with db.pipeline():
            if begun:
                _add(db, begun)
            for table, changes, pairs in (
                ("job", "state = 'DONE', ended = now()", ended),
                ("job", "state = 'RUN', begun = now()", moved),
                ("phase", "state = 'DONE', ended = now()", closed),
                ("phase", "state = 'RUN', begun = now()", entered),
            ):
                if pairs:
                    db.execute(
                        f"UPDATE {table} t SET {changes} FROM unnest(%s::bigint[], %s::int[]) u(run, at)"
                        " WHERE t.run = u.run AND t.at = u.at",
                        [*_columns(pairs)],
                    )
            if now:
                db.execute(
                    "UPDATE run t SET phase = u.phase, state = u.state, changed = now()"
                    " FROM unnest(%s::bigint[], %s::int[], %s::text[]) u(run, phase, state) WHERE t.id = u.run",
                    [*_columns((run, *values) for run, values in now.items())],
                )
            _tell(db, facts, opened := opened + moved)
    return list(opened)


def _event_lane(url: str) -> Callable[[Share, Callable[[], None]], None]:
    def lane(share: Share, ready: Callable[[], None]) -> None:
        with psycopg.connect(url, autocommit=True) as db:

            def alone(event: Event) -> list[Event]:
                run, done = event
                return [(run, at) for at in (begin_alone(db, run) if done is None else complete_alone(db, run, done))]

            def sent(most: int) -> None:
                db.execute(_SENT, [most])

            _drive([-1 - share[0]], lambda events: alone(events[0]), sent, at_once=1)
            ready()
            _drive(share, lambda events: alone(events[0]), sent, at_once=1)

    return lane


def _batch_lane(url: str) -> Callable[[Share, Callable[[], None]], None]:
    def lane(share: Share, ready: Callable[[], None]) -> None:
        with psycopg.connect(url, autocommit=True) as db:

            def sent(most: int) -> None:
                db.execute(_SENT, [most])

            _drive([-1 - share[0]], lambda events: together(db, events), sent, at_once=EVENTS_AT_ONCE)
            ready()
            _drive(share, lambda events: together(db, events), sent, at_once=EVENTS_AT_ONCE)

    return lane


def _drive(
    runs: Iterable[int], carry_out: Callable[[list[Event]], list[Event]], sent: Callable[[int], None], *, at_once: int
) -> None:
    """Let all runs begin, and answer every job in the order in which it became open."""
    waiting: deque[Event] = deque((run, None) for run in runs)
    parcels = 0
    while waiting:
        opened = carry_out([waiting.popleft() for _ in range(min(at_once, len(waiting)))])
        waiting.extend(opened)
        parcels += len(opened)
        while parcels >= PARCELS_AT_ONCE:
            sent(PARCELS_AT_ONCE)
            parcels -= PARCELS_AT_ONCE
    sent(1_000_000)


def on_postgresql(url: str, *, instances: int, processes: int, batched: bool) -> dict[str, float]:
    """Time the runs on an empty database."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(_TABLES)
    seconds = race((_batch_lane if batched else _event_lane)(url), shares(1, instances, processes))
    with psycopg.connect(url, autocommit=True) as db:
        _check(db.execute, instances + processes)
    return {"instances": instances, "seconds": seconds}


def latency(url: str, *, instances: int) -> dict[str, float]:
    """Time the way from a completion to the news of the next job in another connection, one run at a time."""
    heard: dict[tuple[int, int], float] = {}
    news, listening = threading.Condition(), threading.Event()
    last = instances + 1

    def listen() -> None:
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("LISTEN jobs")
            listening.set()
            for notice in db.notifies():
                moment = time.perf_counter()
                run, opened = json.loads(notice.payload)
                if run > last:
                    return
                with news:
                    heard.update({(run, at): moment for at in opened})
                    news.notify()

    with psycopg.connect(url, autocommit=True) as db:
        db.execute(_TABLES)
        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        listening.wait(10)
        took = []
        for run in range(1, last + 1):
            jobs = deque(begin_alone(db, run))
            while jobs:
                begun = time.perf_counter()
                opened = complete_alone(db, run, jobs.popleft(), ring=True)
                with news:
                    if not news.wait_for(lambda run=run, opened=opened: all((run, at) in heard for at in opened), 5):
                        raise RuntimeError("A notification did not arrive.")
                # The first run warms up.
                took += [heard[run, at] - begun for at in opened if run > 1]
                jobs.extend(opened)
        db.execute("SELECT pg_notify('jobs', %s)", [json.dumps([last + 1, []])])
        listener.join(5)
        _check(db.execute, last, unsent=5 * last)
    return {"instances": instances, "p50": percentile(took, 0.5), "p95": percentile(took, 0.95)}


# --- SQLite -----------------------------------------------------------------------------------------------------------


def on_sqlite(path: str, *, instances: int) -> dict[str, float]:
    """Time the runs on an empty file, each event in a transaction that is on the disk when it ends."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    tables = _TABLES.replace("timestamptz", "text").replace("now()", "(datetime())").replace("jsonb", "text")
    tables = tables.replace("bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "integer PRIMARY KEY")
    db.executescript(tables.replace("bigint", "integer"))

    def sent(most: int) -> None:
        db.execute("DELETE FROM parcel WHERE id IN (SELECT id FROM parcel ORDER BY id LIMIT ?)", [most])

    def alone(events: list[Event]) -> list[Event]:
        ((run, done),) = events
        db.execute("BEGIN IMMEDIATE")
        opened = [0] if done is None else []
        if done is None:
            _lite_begin(db, run)
            over = False
        else:
            opened, over = _lite_complete(db, run, done)
        facts = [(run, name, job, _body(run, name, job)) for name, job in _facts(done, opened, over)]
        db.executemany("INSERT INTO fact (run, name, job, body) VALUES (?, ?, ?, ?)", facts)
        parcels = [(run, JOBS[at].queue, _body(run, "StartTask", JOBS[at].name)) for at in opened]
        db.executemany("INSERT INTO parcel (run, queue, body) VALUES (?, ?, ?)", parcels)
        db.execute("COMMIT")
        return [(run, at) for at in opened]

    with contextlib.closing(db):
        _drive([-1], alone, sent, at_once=1)
        begun = time.monotonic()
        _drive(range(1, instances + 1), alone, sent, at_once=1)
        seconds = time.monotonic() - begun
        _check(db.execute, instances + 1)
    return {"instances": instances, "seconds": seconds}


def _lite_begin(db: sqlite3.Connection, run: int) -> None:
    db.execute(
        "INSERT INTO run (id, template, reference, state, phase) VALUES (?, 'Deliver Pizza', ?, 'OPEN', 1)",
        (run, f"ORDER-{run}"),
    )
    db.executemany(
        "INSERT INTO phase (run, at, name, state) VALUES (?, ?, ?, ?)",
        [(run, *values) for values in zip(*_PLAN_OF_PHASES, strict=True)],
    )
    db.executemany(
        "INSERT INTO job (run, at, name, phase, kind, queue, state) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(run, *values) for values in zip(*_PLAN_OF_JOBS, strict=True)],
    )


def _lite_complete(db: sqlite3.Connection, run: int, done: int) -> tuple[list[int], bool]:
    states = [row[0] for row in db.execute("SELECT state FROM job WHERE run = ? ORDER BY at", (run,))]
    step = decide(states, done)
    db.execute("UPDATE job SET state = 'DONE', ended = datetime() WHERE run = ? AND at = ?", (run, done))
    for at in step.opened:
        db.execute("UPDATE job SET state = 'RUN', begun = datetime() WHERE run = ? AND at = ?", (run, at))
    if step.closed_phase is not None:
        where = (run, step.closed_phase)
        db.execute("UPDATE phase SET state = 'DONE', ended = datetime() WHERE run = ? AND at = ?", where)
        if not step.over:
            db.execute("UPDATE phase SET state = 'RUN', begun = datetime() WHERE run = ? AND at = ?", (run, step.phase))
    db.execute(
        "UPDATE run SET phase = ?, state = ?, changed = datetime() WHERE id = ?",
        (step.phase, "OVER" if step.over else "OPEN", run),
    )
    return step.opened, step.over


# --- all --------------------------------------------------------------------------------------------------------------


def _check(execute: Callable[[str], Any], runs: int, *, unsent: int = 0) -> None:
    """Count what was written: a fast run that has done something else is a failed run."""
    found = execute(
        "SELECT (SELECT count(*) FROM run WHERE state = 'OVER'), (SELECT count(*) FROM job WHERE state = 'DONE'),"
        " (SELECT count(*) FROM phase WHERE state = 'DONE'), (SELECT count(*) FROM fact), (SELECT count(*) FROM parcel)"
    ).fetchone()
    wanted = (runs, 5 * runs, 4 * runs, FACTS_OF_A_RUN * runs, unsent)
    if tuple(found) != wanted:
        raise AssertionError(f"runs, jobs, phases, facts, parcels: {found}, not {wanted}")


def main(arguments: Sequence[str]) -> None:
    """Run one figure in this process and print it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("figure", choices=["sqlite", "event", "batch", "latency"])
    parser.add_argument("database", help="an empty PostgreSQL database, or the name of a new file")
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=4)
    chosen = parser.parse_args(arguments)
    if chosen.figure == "sqlite":
        result = on_sqlite(chosen.database, instances=chosen.instances)
    elif chosen.figure == "latency":
        result = latency(chosen.database, instances=chosen.instances)
    else:
        result = on_postgresql(
            chosen.database,
            instances=chosen.instances,
            processes=chosen.processes,
            batched=chosen.figure == "batch",
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
