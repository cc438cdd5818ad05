"""What came and went lately, queue by queue, and who was seen at work there: read from the newest rows."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection

from workflows.conf import settings
from workflows.engine import events as e
from workflows.engine.outgoing import COMPENSATE_TASK, START_TASK
from workflows.models import LoggedEvent
from workflows.runtime.identity import read_uuid
from workflows.runtime.queue_names import queues_of
from workflows.runtime.sql import moment_of, written

SHORT, LONG = dt.timedelta(minutes=5), dt.timedelta(minutes=60)

_MOST_ROWS = 5_000
"""How many of the newest messages, and of the newest events, are looked at."""
_DONE = (e.TASK_COMPLETED, e.TASK_FAILED)
_UNDONE = (e.COMPENSATION_COMPLETED, e.COMPENSATION_FAILED)
_TOLD = (e.TASK_STARTED, *_DONE, *_UNDONE)
_NOBODY = frozenset({"clock", "step"})

_SENT = """SELECT queue, COUNT(CASE WHEN sent_at >= %s THEN 1 END), COUNT(CASE WHEN sent_at >= %s THEN 1 END), COUNT(*),
  MIN(created_at)
FROM (SELECT queue, sent_at, created_at FROM workflows_outboxmessage ORDER BY id DESC LIMIT %s) few GROUP BY queue"""
_TAKEN = """SELECT i.template_id, few.stage_name, few.task_name, few.event,
  COUNT(CASE WHEN few.occurred_at >= %s THEN 1 END), COUNT(*), MAX(few.id)
FROM (SELECT id, instance_id, stage_name, task_name, event, occurred_at FROM workflows_loggedevent
  ORDER BY id DESC LIMIT %s) few JOIN workflows_workflowinstance i ON i.id = few.instance_id
WHERE few.event IN (%s, %s, %s, %s, %s) AND few.occurred_at >= %s
GROUP BY i.template_id, few.stage_name, few.task_name, few.event"""
_OF_PLUGINS = """SELECT i.template_id, few.stage_name, few.task_name, few.event_name, MAX(few.queue)
FROM (SELECT instance_id, stage_name, task_name, event_name, queue FROM workflows_outboxmessage
  ORDER BY id DESC LIMIT %s) few JOIN workflows_workflowinstance i ON i.id = few.instance_id
GROUP BY i.template_id, few.stage_name, few.task_name, few.event_name"""
_FURTHEST = "SELECT occurred_at FROM workflows_loggedevent ORDER BY id DESC LIMIT 1 OFFSET %s"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Messages a minute: sent to a queue, and answered (or given up), over the short and the long window."""

    in_short: float = 0.0
    in_long: float = 0.0
    out_short: float = 0.0
    out_long: float = 0.0


@dataclass(frozen=True, slots=True)
class Window:
    """How far back the rows went: less than an hour where more happened than is looked at."""

    sent: dt.timedelta
    taken: dt.timedelta
    rows: int

    @property
    def whole(self) -> bool:
        """This will tell whether both counts reach back the whole hour."""
        return self.sent >= LONG and self.taken >= LONG


@dataclass(frozen=True, slots=True)
class Seen:
    """When somebody was last at work, and who where that is known."""

    at: dt.datetime
    by: str | None


@dataclass(frozen=True, slots=True)
class Moving:
    """The traffic of all queues."""

    queues: Mapping[str, Traffic]
    seen: Mapping[str, Seen]
    window: Window

    def of(self, queue: str) -> Traffic:
        """This will give the traffic of one queue."""
        return self.queues.get(queue) or Traffic()


def read(*, at: dt.datetime) -> Moving:
    """This will read what came and went: four statements, each over no more rows than the cap."""
    sent, sent_back = _sent(at)
    taken, newest, taken_back = _taken(at)
    window = Window(sent=sent_back, taken=taken_back, rows=_cap())
    queues = {
        name: Traffic(*_rates(sent.get(name, (0, 0)), sent_back), *_rates(taken.get(name, (0, 0)), taken_back))
        for name in sent.keys() | taken.keys()
    }
    return Moving(queues, _seen(newest), window)


def _cap() -> int:
    return min(_MOST_ROWS, int(settings.COUNT_CAP))


def _rates(counts: tuple[int, int], back: dt.timedelta) -> tuple[float, float]:
    short, long = counts
    return _rate(short, min(SHORT, back)), _rate(long, min(LONG, back))


def _rate(count: int, span: dt.timedelta) -> float:
    # At least a second: everything at once is no endless rate.
    return round(60 * count / max(1.0, span.total_seconds()), 2)


def _sent(at: dt.datetime) -> tuple[dict[str, tuple[int, int]], dt.timedelta]:
    cap = _cap()
    with connection.cursor() as cursor:
        cursor.execute(_SENT, [written(at - SHORT), written(at - LONG), cap])
        rows = cursor.fetchall()
    back = LONG
    if sum(row[3] for row in rows) >= cap:
        back = min(LONG, at - min(_moment(row[4]) for row in rows))
    return {queue: (short, long) for queue, short, long, _, _ in rows}, back


def _taken(at: dt.datetime) -> tuple[dict[str, tuple[int, int]], dict[str, list[int]], dt.timedelta]:
    """How much was answered in both windows, and the newest events of those who work there."""
    cap = _cap()
    with connection.cursor() as cursor:
        cursor.execute(_TAKEN, [written(at - SHORT), cap, *_TOLD, written(at - LONG)])
        rows = [(read_uuid(row[0]), *row[1:]) for row in cursor.fetchall()]
        cursor.execute(_FURTHEST, [cap - 1])
        furthest = cursor.fetchone()
    back = LONG if furthest is None else min(LONG, at - _moment(furthest[0]))
    known = queues_of(key for key, *_ in rows if key is not None)
    plugins = _of_plugins(cap) if any(row[0] in known and row[1] in known[row[0]].activities for row in rows) else {}
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    newest: dict[str, list[int]] = defaultdict(list)
    for template, stage, task, event, short, long, last in rows:
        of = known.get(template) if template is not None else None
        if of is None:
            continue
        if stage in of.activities:
            queue = plugins.get((template, stage, task, COMPENSATE_TASK if event in _UNDONE else START_TASK), "")
        else:
            queue = of.undo(stage, task) if event in _UNDONE else of.work(stage, task)
        if not queue:
            continue
        newest[queue].append(last)
        if event != e.TASK_STARTED:
            counts[queue][0] += short
            counts[queue][1] += long
    return {name: (short, long) for name, (short, long) in counts.items()}, newest, back


def _of_plugins(cap: int) -> dict[tuple[uuid.UUID | None, str, str, str], str]:
    """Where plugins are sent their work, by (template, stage, task, what is asked), as the newest messages say."""
    with connection.cursor() as cursor:
        cursor.execute(_OF_PLUGINS, [cap])
        return {(read_uuid(row[0]), *row[1:4]): row[4] for row in cursor.fetchall()}


def _seen(newest: Mapping[str, list[int]]) -> dict[str, Seen]:
    """The newest of these events that is a worker's: not a person's by hand, not the clock's."""
    candidates = {key for keys in newest.values() for key in sorted(keys)[-3:]}
    rows = LoggedEvent.objects.filter(pk__in=candidates).values("pk", "event", "occurred_at", "actor", "data")
    events = {row["pk"]: row for row in rows}
    found = {}
    for queue, keys in newest.items():
        theirs = (events[key] for key in sorted(keys, reverse=True) if key in events)
        if (row := next((row for row in theirs if _is_a_workers(row)), None)) is not None:
            worker = (row["data"] or {}).get("worker")
            found[queue] = Seen(row["occurred_at"], str(worker) if worker else _named(row["actor"]))
    return found


def _is_a_workers(row: Mapping[str, Any]) -> bool:
    return row["actor"] not in _NOBODY and not (row["data"] or {}).get("by_hand")


def _named(actor: str) -> str | None:
    return None if actor == "bus" else actor


def _moment(value: Any) -> dt.datetime:
    moment = moment_of(value)
    assert moment is not None, "the column is never null"
    return moment
