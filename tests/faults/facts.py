"""What the database says, read through a connection that cannot write, in one snapshot, without the product's code."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import sqlite3
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(slots=True)
class Event:
    """One row of the log."""

    instance: str
    sequence: int
    name: str
    at: dt.datetime
    actor: str
    cause: str | None
    stage: str | None
    task: str | None
    attempt: int | None
    data: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.instance}#{self.sequence} {self.name} {self.stage or ''}/{self.task or ''}"


@dataclass(slots=True)
class Row:
    """A row of another table, by the names of its columns."""

    values: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(slots=True)
class Instance:
    """An instance with everything that belongs to it."""

    row: Row
    events: list[Event] = field(default_factory=list)
    stages: list[Row] = field(default_factory=list)
    tasks: list[Row] = field(default_factory=list)
    people: list[Row] = field(default_factory=list)
    outbox: list[Row] = field(default_factory=list)
    handled: list[Row] = field(default_factory=list)
    deadlines: list[Row] = field(default_factory=list)
    leases: list[Row] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Give the instance's id."""
        return str(self.row.id)

    @property
    def reference(self) -> tuple[str, str, str]:
        """Give what the business calls it."""
        return self.row.component_name, self.row.workflow_name, self.row.business_ref_no


@dataclass(slots=True)
class Facts:
    """The whole database, as far as the checker asks."""

    instances: dict[str, Instance]
    templates: dict[str, Row]
    quarantine: list[Row]
    users: set[str]
    orphans: list[str]
    sessions: list[Mapping[str, Any]]
    now: dt.datetime

    def task_of(self, instance: Instance, stage: str | None, name: str | None) -> Mapping[str, Any]:
        """Give what the instance's template says of a task, or the event with which a plugin has become it."""
        for event in instance.events:
            if event.name == "PhaseStarted" and event.stage == stage:
                for plugin in event.data.get("plugins", ()):
                    if plugin["name"] == name:
                        policy = {} if plugin["mandatory"] else {"on_failure": "continue"}
                        return {**plugin["task"], **policy}
        template = self.templates[str(instance.row.template_id)]
        for one in template.definition["stages"]:
            if one["stage_name"] == stage:
                for task in one.get("tasks", ()):
                    if task["task_name"] == name:
                        return task  # type: ignore[no-any-return]
        raise LookupError(f"the template has no task {stage}/{name}")


_TABLES: Mapping[str, Sequence[str]] = {
    "workflowinstance": (
        "id", "template_id", "workflow_name", "component_name", "version", "business_ref_no", "state",
        "business_status", "context", "last_sequence", "started_by", "created_at", "updated_at", "finished_at",
    ),
    "stageinstance": ("instance_id", "position", "stage_name", "stage_order", "state"),
    "taskinstance": (
        "instance_id", "position", "stage_position", "stage_name", "task_name", "task_type", "state", "attempt",
        "queue", "assigned_to", "claimed_by", "outcome", "output", "error",
    ),
    "humantask": (
        "id", "instance_id", "position", "stage_name", "task_name", "attempt", "compensation", "state", "assigned_to",
        "claimed_by", "decided_by", "outcome", "data", "closed_at",
    ),
    "outboxmessage": (
        "message_id", "instance_id", "event_name", "queue", "position", "stage_name", "task_name", "attempt",
        "payload", "state", "created_at", "sent_at", "tries", "error",
    ),
    "handledmessage": ("instance_id", "event_id", "digest", "handled_at"),
    "deadline": ("instance_id", "kind", "position", "compensation", "attempt", "due_at"),
    "lease": ("id", "instance_id", "queue", "position", "compensation", "attempt", "lease_until"),
}  # fmt: skip
_TEMPLATE = ("id", "workflow_name", "component_name", "version", "fingerprint", "definition")
_QUARANTINE = ("id", "received_at", "source", "message_id", "body", "code", "state", "resolved_at")
_EVENT = "instance_id, sequence, event, occurred_at, actor, cause, stage_name, task_name, attempt, data"
_BELONGING = {
    "stageinstance": "stages", "taskinstance": "tasks", "humantask": "people", "outboxmessage": "outbox",
    "handledmessage": "handled", "deadline": "deadlines", "lease": "leases",
}  # fmt: skip
_IDS = frozenset({"id", "instance_id", "template_id", "message_id"})
_MOMENTS = frozenset(
    {"created_at", "updated_at", "finished_at", "closed_at", "sent_at", "due_at", "lease_until", "handled_at",
     "received_at", "resolved_at"}
)  # fmt: skip
_JSON = frozenset({"definition", "output", "data"})
_FLAGS = frozenset({"compensation"})


def read(database_url: str) -> Facts:
    """Read everything. The url is that of the site: `sqlite:///PATH` or `postgresql://…`."""
    database = _Sqlite(database_url) if database_url.startswith("sqlite") else _Postgresql(database_url)
    try:
        return _read(database)
    finally:
        database.close()


def _read(database: _Sqlite | _Postgresql) -> Facts:
    instances: dict[str, Instance] = {}
    orphans: list[str] = []
    for row in _rows(database, "workflowinstance", _TABLES["workflowinstance"]):
        instances[row.id] = Instance(row)
    for table, place in _BELONGING.items():
        for row in _rows(database, table, _TABLES[table], order="position" if "position" in _TABLES[table] else None):
            if (owner := instances.get(row.instance_id)) is not None:
                getattr(owner, place).append(row)
            else:
                orphans.append(f"{table} of {row.instance_id}")
    events: dict[str, list[Event]] = defaultdict(list)
    for one in database.all(f"SELECT {_EVENT} FROM workflows_loggedevent ORDER BY instance_id, sequence"):
        key = _id(one[0])
        data = json.loads(one[9]) if one[9] and one[9] != "{}" else {}
        actor, cause, stage, task, attempt = one[4:9]
        events[key].append(Event(key, one[1], one[2], _moment(one[3]), actor, cause, stage, task, attempt, data))
    for key, history in events.items():
        if key in instances:
            instances[key].events = history
        else:
            orphans.append(f"events of {key}")
    templates = {row.id: row for row in _rows(database, "workflowtemplate", _TEMPLATE)}
    return Facts(
        instances=instances,
        templates=templates,
        quarantine=list(_rows(database, "quarantinedmessage", _QUARANTINE, order="id", ids=frozenset())),
        users={name for (name,) in database.all("SELECT username FROM auth_user")},
        orphans=orphans,
        sessions=database.sessions(),
        now=database.now(),
    )


def _rows(
    database: _Sqlite | _Postgresql,
    table: str,
    columns: Sequence[str],
    *,
    order: str | None = None,
    ids: frozenset[str] = _IDS,
) -> Sequence[Row]:
    sql = f"SELECT {', '.join(columns)} FROM workflows_{table}" + (f" ORDER BY {order}" if order else "")
    return [
        Row({name: _value(name, value, ids) for name, value in zip(columns, one, strict=True)})
        for one in database.all(sql)
    ]


def _value(name: str, value: Any, ids: frozenset[str]) -> Any:
    if value is None:
        return None
    if name in ids:
        return _id(value)
    if name in _MOMENTS:
        return _moment(value)
    if name in _JSON:
        return json.loads(value)
    return bool(value) if name in _FLAGS else value


def _id(value: Any) -> str:
    return str(value) if isinstance(value, uuid.UUID) else str(uuid.UUID(value))


def _moment(value: Any) -> dt.datetime:
    moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


class _Sqlite:
    def __init__(self, url: str) -> None:
        self._database = sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True, timeout=60)
        self._database.execute("BEGIN")

    def all(self, sql: str) -> list[Any]:
        return self._database.execute(sql).fetchall()

    def sessions(self) -> list[Mapping[str, Any]]:
        return []

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)

    def close(self) -> None:
        self._database.close()


class _Postgresql:
    def __init__(self, url: str) -> None:
        import psycopg

        self._name = urlsplit(url).path.lstrip("/")
        self._database = psycopg.connect(url.replace("postgres://", "postgresql://", 1), autocommit=False)
        self._database.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._database.read_only = True

    def all(self, sql: str) -> list[Any]:
        return self._database.execute(sql).fetchall()  # type: ignore[call-overload, no-any-return]

    def sessions(self) -> list[Mapping[str, Any]]:
        rows = self.all(
            "SELECT a.pid, a.state, extract(epoch FROM now() - a.state_change), a.query,"
            " (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory')"
            " FROM pg_stat_activity a WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()"
        )
        return [
            {"pid": pid, "state": state, "seconds": float(seconds or 0), "query": query, "advisory": advisory}
            for pid, state, seconds, query, advisory in rows
        ]

    def now(self) -> dt.datetime:
        ((moment,),) = self.all("SELECT now()")
        return moment  # type: ignore[no-any-return]

    def close(self) -> None:
        self._database.close()


# --- anchors: what may never change again -------------------------------------------------------------------------


def anchor(database_url: str) -> dict[str, Any]:
    """Give what must still be there later: of each instance the number and the digest of its events, and templates."""
    facts = read(database_url)
    return {
        "histories": {
            key: [len(one.events), digest_of(one.events)] for key, one in facts.instances.items() if one.events
        },
        "templates": {key: template_digest(row) for key, row in facts.templates.items()},
    }


def digest_of(events: Sequence[Event]) -> str:
    """Give the digest of some events: every column of them counts."""
    whole = hashlib.sha256()
    for event in events:
        told = (event.sequence, event.name, event.at.isoformat(), event.actor, event.cause, event.stage, event.task,
                event.attempt, event.data)  # fmt: skip
        whole.update(json.dumps(told, sort_keys=True).encode())
    return whole.hexdigest()


def template_digest(row: Row) -> str:
    """Give the digest of what a template says."""
    return hashlib.sha256(json.dumps(row.definition, sort_keys=True).encode()).hexdigest()
