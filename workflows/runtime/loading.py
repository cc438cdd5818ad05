"""Rows in, frozen values out: definitions of templates, and snapshots folded from the log.

Note [Snapshots come from the log]
State is the fold of the log, so the log is what snapshots are made of; the rows beside it are what lists, inboxes and
people read. A process keeps the snapshots it made (bounded by the tasks they hold) and, once an instance is locked,
only folds the events that others have added since. A snapshot enters the cache after its commit and never before.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workflows.conf import settings
from workflows.definitions.parsing import read_definition
from workflows.definitions.schema import WorkflowDefinition
from workflows.engine import evolve
from workflows.engine.codec import Reader
from workflows.engine.events import Event
from workflows.engine.lifecycle import ENDED
from workflows.engine.snapshot import Snapshot
from workflows.models import LoggedEvent, WorkflowTemplate
from workflows.models.writes import Database

_HISTORY = (
    "SELECT e.instance_id, e.occurred_at, e.event, e.shape, e.stage_name, e.task_name, e.attempt, e.data"
    " FROM {keys} JOIN workflows_loggedevent e ON e.instance_id = k.a AND e.sequence > k.b AND e.sequence <= k.c"
    " ORDER BY e.instance_id, e.sequence"
)


MOST_ENDED = 20
"""Of instances that have ended so many are kept: a late answer may come, but to few, and thousands end."""


class SnapshotCache:
    """The newest snapshots that this process knows, least recently used out first.

    Safe between threads: values never change.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[uuid.UUID, Snapshot] = OrderedDict()
        self._ended: OrderedDict[uuid.UUID, None] = OrderedDict()
        self._lock, self._weight = threading.Lock(), 0

    def get(self, key: uuid.UUID) -> Snapshot | None:
        """This will give what is known of an instance."""
        with self._lock:
            snapshot = self._kept.get(key)
            if snapshot is not None:
                self._kept.move_to_end(key)
            return snapshot

    def put(self, items: Iterable[tuple[uuid.UUID, Snapshot]]) -> None:
        """This will keep committed snapshots; an older one never replaces a newer one."""
        limit = settings.SNAPSHOT_CACHE_TASKS
        with self._lock:
            for key, snapshot in items:
                was = self._kept.pop(key, None)
                if was is not None and was.last_sequence > snapshot.last_sequence:
                    snapshot = was
                self._weight += _weight(snapshot) - (_weight(was) if was else 0)
                self._kept[key] = snapshot
                self._ended.pop(key, None)
                if snapshot.state in ENDED:
                    self._ended[key] = None
            while len(self._ended) > MOST_ENDED:
                self._drop(next(iter(self._ended)))
            while self._weight > limit and len(self._kept) > 1:
                self._drop(next(iter(self._kept)))

    def drop(self, key: uuid.UUID) -> None:
        """This will forget one instance."""
        with self._lock:
            self._drop(key)

    def forget(self) -> None:
        """This will forget everything."""
        with self._lock:
            self._kept.clear()
            self._ended.clear()
            self._weight = 0

    def _drop(self, key: uuid.UUID) -> None:
        self._ended.pop(key, None)
        gone = self._kept.pop(key, None)
        if gone is not None:
            self._weight -= _weight(gone)


snapshots = SnapshotCache()
_definitions: OrderedDict[uuid.UUID, WorkflowDefinition] = OrderedDict()
_KEPT_DEFINITIONS = 500


def definition_of(template_id: uuid.UUID) -> WorkflowDefinition:
    """This will give the parsed definition of a published version; it never changes, so it is kept."""
    known = _definitions.get(template_id)
    if known is None:
        raw = WorkflowTemplate.objects.values_list("definition", flat=True).get(pk=template_id)
        known = _definitions[template_id] = read_definition(raw)
        while len(_definitions) > _KEPT_DEFINITIONS:
            _definitions.popitem(last=False)
    return known


def definition_after(definition: WorkflowDefinition, snapshot: Snapshot | None) -> WorkflowDefinition:
    """This will give what an instance follows: its template's definition, or what plugins have made of it."""
    return definition if snapshot is None or snapshot.grown is None else snapshot.grown


def load(database: Database, wanted: Sequence[tuple[uuid.UUID, WorkflowDefinition, int]]) -> dict[uuid.UUID, Snapshot]:
    """This will give the snapshots of locked instances (id, definition, last sequence), folding what is new."""
    found: dict[uuid.UUID, Snapshot] = {}
    missing: list[tuple[uuid.UUID, int, int]] = []
    bases: dict[uuid.UUID, tuple[WorkflowDefinition, Snapshot | None]] = {}
    readers: dict[uuid.UUID, Reader] = {}
    for key, definition, sequence in wanted:
        known = snapshots.get(key)
        if known is not None and known.last_sequence == sequence:
            found[key] = known
            continue
        if known is not None and known.last_sequence > sequence:
            # The database went back in time (a restored backup): what was known never happened.
            snapshots.drop(key)
            known = None
        bases[key] = (definition, known)
        readers[key] = Reader(definition_after(definition, known))
        missing.append((key, known.last_sequence if known else 0, sequence))
    if missing:
        histories: dict[uuid.UUID, list[tuple[dt.datetime, Event]]] = {}
        for row in database.rows(_HISTORY, missing, ("uuid", "int", "int")):
            key = _uuid(row[0])
            histories.setdefault(key, []).append((_moment(row[1]), _event(readers[key], row[2:])))
        for key, (definition, known) in bases.items():
            history = histories.get(key, ())
            folded = (
                evolve.catch_up(definition, known, history)
                if known is not None
                else evolve.fold(definition, history, instance_id=str(key))
            )
            assert folded is not None, f"instance {key} has no history"
            found[key] = folded
    return found


def history_of(
    definition: WorkflowDefinition, instance_id: uuid.UUID, *, until: int | None = None
) -> list[tuple[dt.datetime, Event]]:
    """This will read an instance's history, up to and including event number `until`."""
    rows = LoggedEvent.objects.filter(instance=instance_id).order_by("sequence")
    if until is not None:
        rows = rows.filter(sequence__lte=until)
    names = ("occurred_at", "event", "shape", "stage_name", "task_name", "attempt", "data")
    reader = Reader(definition)
    return [
        (at, reader.read(name, shape, stage, task, attempt, data or {}))
        for at, name, shape, stage, task, attempt, data in rows.values_list(*names).iterator(chunk_size=2000)
    ]


def _event(reader: Reader, row: Sequence[Any]) -> Event:
    name, shape, stage_name, task_name, attempt, data = row
    read: Mapping[str, Any] = json.loads(data) if data and data != "{}" else {}
    return reader.read(name, shape, stage_name, task_name, attempt, read)


def _weight(snapshot: Snapshot) -> int:
    return len(snapshot.tasks) + 10


def _uuid(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(hex=value)


def _moment(value: Any) -> dt.datetime:
    moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
    # SQLite keeps moments without a zone, and they are UTC.
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
