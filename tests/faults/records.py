"""What a fault run leaves behind for the checker: who asked what (operation log), what services did (effect ledger).

Both survive a `kill -9` of whoever writes them: the log is appended a line at a time with one system call, the ledger
is SQLite. The readers take what is there, and a torn last line for what it is.

What the checker reads of an operation, by `kind` (`request` and `answer` may hold more):

| kind     | key                | request                                                        | answer                   |
| -------- | ------------------ | -------------------------------------------------------------- | ------------------------ |
| start    | business_ref_no    | component_name, business_ref_no, workflow_name?, context?      | status, id?              |
| event    | event_id or ""     | the message of contract 4; `message_id` when sent over AMQP    | status, outcome?, code?  |
| decision | human task id      | by, outcome?, data?, comment?, instance_id?                    | status, code?            |
| act      | instance id        | by, action, stage_name?, task_name?, reason?                   | status, code?            |
| lease    | queue              | worker_id                                                      | status, tasks            |
| read     | anything           | anything                                                       | status                   |

`ok`: acknowledged, it must be there. `fail`: refused for good (an answer that says so), it must not be there.
`unknown`: a time-out, a cut connection, a 5xx, or no answer at all: both are right. An operation that was begun and
never ended (its driver was killed) is read back as `unknown`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

OK, FAIL, UNKNOWN = "ok", "fail", "unknown"


class Lines:
    """JSON lines, each appended by one system call: whole or not at all, whoever else writes, whenever killed."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._lock = threading.Lock()

    def add(self, record: Mapping[str, Any]) -> None:
        """Append one record."""
        # The line break comes first: after a torn line (a full disk) the next record begins a line of its own.
        line = b"\n" + json.dumps(record, ensure_ascii=True, separators=(",", ":"), default=str).encode()
        with self._lock:
            while line:
                line = line[os.write(self._file, line) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Give every whole record of a file of JSON lines; a missing file holds none."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


# --- operations -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One thing that a driver asked of the system, and what it was told (see the table above)."""

    id: str
    driver: str
    kind: str
    key: str
    before: float
    after: float | None = None
    outcome: str = UNKNOWN
    request: Mapping[str, Any] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int | None:
        """Give the HTTP status of the answer, if there was one."""
        status = self.answer.get("status")
        return status if isinstance(status, int) else None


class OperationLog:
    """What a driver asks, written down before it is sent and after it has returned."""

    def __init__(self, path: Path, *, driver: str) -> None:
        self._lines = Lines(path)
        self._driver = driver

    def begin(self, kind: str, *, key: str, request: Mapping[str, Any]) -> str:
        """Write down what is about to be asked, and give the operation's id."""
        name = uuid.uuid4().hex
        self._lines.add(
            {"id": name, "driver": self._driver, "kind": kind, "key": key, "before": time.time(), "request": request}
        )
        return name

    def end(self, operation: str, outcome: str, answer: Mapping[str, Any] | None = None) -> None:
        """Write down what came of it: OK, FAIL or UNKNOWN."""
        if outcome not in (OK, FAIL, UNKNOWN):
            raise ValueError(f"no such outcome: {outcome}")
        self._lines.add({"id": operation, "after": time.time(), "outcome": outcome, "answer": answer or {}})

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def outcome_of(status: int | None) -> str:
    """Tell what an HTTP answer (None: there was none) says: 2xx ok, 4xx fail, anything else unknown."""
    if status is None or status >= 500 or status in (408, 429):
        return UNKNOWN
    return OK if status < 400 else FAIL


def read_operations(*paths: Path) -> list[Operation]:
    """Read the operations of some logs, in the order of their beginnings."""
    begun: dict[str, dict[str, Any]] = {}
    ended: dict[str, dict[str, Any]] = {}
    for path in paths:
        for record in read_lines(path):
            (begun if "before" in record else ended)[str(record.get("id"))] = record
    operations = [
        Operation(
            id=name,
            driver=str(record["driver"]),
            kind=str(record["kind"]),
            key=str(record["key"]),
            before=float(record["before"]),
            request=record.get("request") or {},
            after=ended.get(name, {}).get("after"),
            outcome=ended.get(name, {}).get("outcome", UNKNOWN),
            answer=ended.get(name, {}).get("answer") or {},
        )
        for name, record in begun.items()
    ]
    return sorted(operations, key=lambda one: one.before)


# --- the ledger of effects and deliveries ----------------------------------------------------------


class AttemptKey(NamedTuple):
    """What an effect belongs to: one attempt of one task, or of its compensation."""

    instance: str
    stage: str
    task: str
    attempt: int
    compensation: bool = False

    def __str__(self) -> str:
        return f"{self.instance}/{self.stage}/{self.task}/{self.attempt}/{'undo' if self.compensation else 'do'}"

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> AttemptKey:
        """Read it off a StartTask, CompensateTask or CancelTask."""
        return cls(
            instance=str(uuid.UUID(str(body["instance_id"]))),
            stage=str(body["stage_name"]),
            task=str(body["task_name"]),
            attempt=int(body["attempt"]),
            compensation=bool(body.get("compensation", False)),
        )


class Effect(NamedTuple):
    """Something that a service did to the world. `idempotent`: it does it once per `idempotency_key` by itself."""

    attempt_key: AttemptKey
    idempotency_key: str
    queue: str
    message_id: str
    body_sha: str
    idempotent: bool
    received: float
    effect: float


class Delivery(NamedTuple):
    """A message as a service received it, whether it did anything about it or not."""

    queue: str
    message_id: str
    body_sha: str
    event_name: str
    attempt_key: AttemptKey
    received: float
    redelivered: bool


_TABLES = """
CREATE TABLE IF NOT EXISTS effects (
    instance TEXT, stage TEXT, task TEXT, attempt INTEGER, compensation INTEGER, idempotency_key TEXT, queue TEXT,
    message_id TEXT, body_sha TEXT, idempotent INTEGER, received REAL, effect REAL
);
CREATE TABLE IF NOT EXISTS deliveries (
    queue TEXT, message_id TEXT, body_sha TEXT, event_name TEXT, instance TEXT, stage TEXT, task TEXT,
    attempt INTEGER, compensation INTEGER, received REAL, redelivered INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS once_per_key ON effects (idempotency_key) WHERE idempotent = 1;
"""


def sha_of(body: bytes) -> str:
    """Give the digest by which a body is compared with its outbox row."""
    return hashlib.sha256(body).hexdigest()


class Ledger:
    """What services have received and done, in a file of its own outside of the system under test.

    One per thread; any number of processes. Nothing is ever changed or taken out.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing; a power cut might
        self._database.executescript(_TABLES)

    def received(self, queue: str, body: bytes, *, message_id: str, redelivered: bool = False) -> float:
        """Write down that a message came in, before anything is done about it, and give the moment."""
        read, now = json.loads(body), time.time()
        self._database.execute(
            "INSERT INTO deliveries VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (queue, message_id, sha_of(body), read["event_name"], *AttemptKey.of(read), now, redelivered),
        )
        return now

    def effect(
        self, queue: str, body: bytes, *, message_id: str, idempotency_key: str, idempotent: bool, received: float
    ) -> bool:
        """Do the effect: write it down. An idempotent service finds its key and does nothing; tells whether it did."""
        try:
            self._database.execute(
                "INSERT INTO effects VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    *AttemptKey.of(json.loads(body)),
                    idempotency_key,
                    queue,
                    message_id,
                    sha_of(body),
                    idempotent,
                    received,
                    time.time(),
                ),
            )
        except sqlite3.IntegrityError:
            return False
        return True

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def read_effects(path: Path) -> list[Effect]:
    """Read all effects, in the order in which they happened."""
    return [
        Effect._make((AttemptKey._make((*row[:4], bool(row[4]))), *row[5:9], bool(row[9]), *row[10:]))
        for row in _read(path, "SELECT * FROM effects ORDER BY rowid")
    ]


def read_deliveries(path: Path) -> list[Delivery]:
    """Read all deliveries, in the order in which they came."""
    return [
        Delivery._make((*row[:4], AttemptKey._make((*row[4:8], bool(row[8]))), row[9], bool(row[10])))
        for row in _read(path, "SELECT * FROM deliveries ORDER BY rowid")
    ]


def _read(path: Path, sql: str) -> list[tuple[Any, ...]]:
    if not path.exists():
        return []
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)
    try:
        return database.execute(sql).fetchall()
    finally:
        database.close()
