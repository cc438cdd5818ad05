"""What the overview shows: counts, what needs someone, what was finished when, who has work, what is new."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db import connection
from django.db.models import Count, Min, Q
from django.utils import timezone

from tasks_ui import times, words
from tasks_ui.queries import counts, history
from tasks_ui.words import Sign
from workflows.conf import settings
from workflows.engine.lifecycle import InstanceState, QuarantineState, TaskState
from workflows.models import (
    HumanTask,
    LoggedEvent,
    Person,
    QuarantinedMessage,
    TaskInstance,
    WorkflowInstance,
)

_FAILED_LOOKED_AT = 500
_NEWEST_LOOKED_AT = 250
_TOLD = frozenset({
    "WorkflowStarted", "WorkflowFailed", "WorkflowRecovered", "WorkflowSuspended", "WorkflowResumed",
    "WorkflowTimedOut", "WorkflowCompleted", "WorkflowCancelled", "RollbackStarted", "RollbackFailed",
    "RollbackCompleted", "TaskFailed", "TaskReturned", "TaskClaimed", "ReplayRequested", "CompensationFailed",
    "InputRefused",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that somebody should look at."""

    name: str
    icon: str
    state: str
    count: int
    text: str
    address: str


@dataclass(frozen=True, slots=True)
class Cause:
    """Instances that failed alike."""

    text: str
    where: str
    code: str
    count: int
    newest: dt.datetime
    query: str
    only: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Desk:
    """Whom open human tasks wait for."""

    name: str
    count: int
    oldest: dt.datetime | None
    overdue: int
    nobody: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue with work on offer."""

    name: str
    count: int
    oldest: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of time in the chart; lengths in pixels of the drawing, places in percent."""

    x: str
    width: str
    start: dt.datetime
    completed: int
    failed: int
    y: float
    height: float
    failed_y: float
    failed_height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """What was finished when."""

    bars: tuple[Bar, ...]
    top: int
    labels: tuple[tuple[str, str], ...]
    summary: str
    span: str
    step: str


@dataclass(frozen=True, slots=True)
class News:
    """One thing that happened lately."""

    sequence: int
    instance: uuid.UUID
    reference: str
    entry: history.Entry


def figures(person: Person, by_health: Mapping[str, int], *, now: dt.datetime) -> list[Figure]:
    """This will count what needs someone."""
    stuck = counts.at_most(WorkflowInstance.objects.filter(state=InstanceState.ROLLBACK_FAILED))
    tasks = HumanTask.objects.visible_to(person)
    overdue = counts.at_most(tasks.overdue(now))
    nobodys = counts.at_most(tasks.open().filter(claimed_by=None).filter(Q(assigned_to=None) | Q(assigned_kind="")))
    held = counts.at_most(QuarantinedMessage.objects.filter(state=QuarantineState.OPEN))
    failed, retrying = by_health["failed"], by_health["retrying"]
    still = "instances stand still" if failed else "nothing stands still"
    found = [
        (
            "Failed",
            "failed",
            "failed",
            failed,
            f"{stuck} of them in a rollback" if stuck else still,
            "instances:failed",
        ),
        ("Retrying", "retrying", "retrying", retrying, "go on by themselves", "instances:retrying"),
        ("Overdue with people", "clock", "failed", overdue, "past their due time", "overdue"),
        ("Nobody’s tasks", "person", "failed", nobodys, "assigned to nobody here", "nobody"),
        ("Quarantined messages", "queues", "retrying", held, "could not be read or matched", "quarantine"),
    ]
    if person.is_api_client and not person.is_operator:
        # Neither people's work nor other senders' messages are a program's.
        found = [one for one in found if one[-1] not in ("overdue", "nobody", "quarantine")]
    return [
        Figure(name, icon, state if count else "pending", count, text, address)
        for name, icon, state, count, text, address in found
    ]


def shares(by_health: Mapping[str, int]) -> list[tuple[str, str, str]]:
    """This will give the bar of open instances: state, place and width."""
    shown = [
        name for name in ("running", "person", "retrying", "failed", "suspended", "rolling_back") if by_health[name]
    ]
    total = sum(by_health[name] for name in shown)
    result, x = [], 0.0
    for name in shown:
        width = max(0.6, 100 * by_health[name] / total)
        result.append((name, f"{x:.2f}%", f"{max(width - 0.25, 0.3):.2f}%"))
        x += width
    return result


def causes() -> list[Cause]:
    """This will group what failed in the newest failed instances (two queries)."""
    ids = WorkflowInstance.objects.filter(health="failed").order_by("-updated_at", "-pk").values_list("pk", flat=True)
    newest = list(ids[:_FAILED_LOOKED_AT])
    rows = TaskInstance.objects.filter(
        instance__in=newest, state__in=[TaskState.FAILED, TaskState.COMPENSATION_FAILED]
    ).values_list(
        "instance_id", "instance__workflow_name", "instance__component_name", "task_name", "state", "error",
        "instance__updated_at",
    )[:2000]  # fmt: skip
    groups: dict[tuple[str, str, str, str, str], list[tuple[uuid.UUID, dt.datetime, str]]] = defaultdict(list)
    for instance, workflow, component, task, state, error, at in rows:
        error = error or {}
        key = (workflow, component, task, state, str(error.get("code") or ""))
        groups[key].append((instance, at, str(error.get("message") or "")))
    found = [_cause(key, members) for key, members in groups.items()]
    return sorted(found, key=lambda one: (-one.count, -one.newest.timestamp()))[:6]


def _cause(key: tuple[str, str, str, str, str], members: Sequence[tuple[uuid.UUID, dt.datetime, str]]) -> Cause:
    workflow, component, task, state, code = key
    _, at, message = max(members, key=lambda one: one[1])
    title = words.readable(task)
    undo = state == TaskState.COMPENSATION_FAILED
    ids = {instance for instance, _, _ in members}
    return Cause(
        text=message or code or (f"Undoing of “{title}” failed" if undo else "Failed without a reason"),
        where=f"{workflow} · {title}", code=code, count=len(ids), newest=at,
        query=urlencode({"health": "failed", "workflow_name": workflow, "component_name": component}),
        only=next(iter(ids)) if len(ids) == 1 else None,
    )  # fmt: skip


def desks(person: Person, *, now: dt.datetime) -> list[Desk]:
    """This will tell whom open human tasks wait for."""
    some = HumanTask.objects.visible_to(person).open().order_by().values("pk")[: int(settings.COUNT_CAP)]
    rows = (
        HumanTask.objects.filter(pk__in=some)
        .order_by()
        .values_list("assigned_to", "assigned_kind")
        .annotate(n=Count("pk"), oldest=Min("created_at"), late=Count("pk", filter=Q(due_at__lt=now)))
    )
    found = [
        Desk(words.readable(name or "Nobody"), count, oldest, late, nobody=not name or not kind)
        for name, kind, count, oldest, late in rows
    ]
    return sorted(found, key=lambda desk: (not desk.nobody, -desk.overdue, -desk.count))[:8]


def queues() -> list[Queue]:
    """This will tell which queues have work on offer."""
    live = Q(state__in=[TaskState.SCHEDULED, TaskState.STARTED, TaskState.COMPENSATING])
    offers = TaskInstance.objects.filter(live).exclude(queue="").order_by().values("queue", "offered_at")
    some, values = offers[: int(settings.COUNT_CAP)].query.sql_with_params()
    # Around the slice, as the index has all of it; the ORM would look each row up. `raw` wants an id, nobody reads it.
    rows: Any = TaskInstance.objects.raw(
        "SELECT 0 AS id, queue, MIN(offered_at) AS offered_at, COUNT(*) AS n "  # noqa: S608 (no input)
        f"FROM ({some}) AS few GROUP BY queue",
        values,
    )
    return sorted((Queue(row.queue, row.n, row.offered_at) for row in rows), key=lambda queue: -queue.count)[:8]


def chart(*, now: dt.datetime, asked: str = "") -> Chart:
    """This will draw what was completed, and what failed, over the last hour, or the last day once there is one."""
    oldest = WorkflowInstance.objects.order_by("created_at").values_list("created_at", flat=True).first()
    young = oldest is None or now - oldest < dt.timedelta(hours=4)
    span = asked if asked in ("hour", "day") else "hour" if young else "day"
    step = dt.timedelta(minutes=5) if span == "hour" else dt.timedelta(hours=1)
    size = 12 if span == "hour" else 24
    floor = dt.datetime.fromtimestamp(now.timestamp() // step.total_seconds() * step.total_seconds(), dt.UTC)
    starts = [floor - step * number for number in range(size - 1, -1, -1)]
    completed, failed = _finished(starts, step)
    top = _round_up(max([a + b for a, b in zip(completed, failed, strict=True)], default=0))
    width = 96 / size
    bars = []
    for number, (start, good, bad) in enumerate(zip(starts, completed, failed, strict=True)):
        high, low = 120 * good / top, max(120 * bad / top, 2)
        failed_y = 128 - high - low - (0.6 if good else 0)
        bars.append(
            Bar(
                x=f"{number * width + 0.4:.2f}%", width=f"{width - 0.8:.2f}%", start=start, completed=good, failed=bad,
                y=round(128 - high, 1), height=round(high, 1), failed_y=round(failed_y, 1),
                failed_height=round(low, 1) if bad else 0,
            )
        )  # fmt: skip
    every = 3 if span == "hour" else 6
    labels = tuple(
        (f"{number * width + 0.4:.2f}%", f"{timezone.localtime(start):%H:%M}")
        for number, start in enumerate(starts) if number % every == 0
    )  # fmt: skip
    total, most = sum(completed), max(completed, default=0)
    summary = (
        f"{total:,} instances completed in the last {span}, at most {most:,} in {times.length(step)}; "
        f"{sum(failed):,} failed and have not moved since"
    )
    return Chart(tuple(bars), top, labels, summary, span, "5 min" if span == "hour" else "hour")


def _finished(starts: Sequence[dt.datetime], step: dt.timedelta) -> tuple[list[int], list[int]]:
    """Two counts per stretch in one statement, each a short walk along the index of what was completed or failed when.

    The index is partial, hence the words in the statement: only so do both databases see that it holds what is asked.
    """
    table = connection.ops.quote_name(WorkflowInstance._meta.db_table)
    stretches = ", ".join(["(%s, %s, %s)"] * (2 * len(starts)))
    values: list[Any] = []
    for health in ("completed", "failed"):
        for start in starts:
            values += [health, *(connection.ops.adapt_datetimefield_value(at) for at in (start, start + step))]
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH stretch(word, first, behind) AS (VALUES {stretches}) "  # noqa: S608 (no input)
            f"SELECT word, (SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE \"health\" IN ('completed', 'failed') "
            "AND health = word AND updated_at >= first AND updated_at < behind "
            f"LIMIT {int(settings.COUNT_CAP)}) AS few) FROM stretch ORDER BY word, first",
            values,
        )
        found = [count for _, count in cursor.fetchall()]
    return found[: len(starts)], found[len(starts) :]


def _round_up(value: int) -> int:
    if value <= 4:
        return 4
    size = 10 ** (len(str(value)) - 1)
    return next(step * size // 2 for step in range(2, 21) if step * size // 2 >= value)


def newest(*, most: int = 12) -> list[News]:
    """This will tell what happened lately, over all instances."""
    latest = LoggedEvent.objects.order_by("-pk").values("pk")[:_NEWEST_LOOKED_AT]
    rows = LoggedEvent.objects.filter(pk__in=latest, event__in=_TOLD).order_by("-pk").values(
        "pk", "instance_id", "instance__business_ref_no", "sequence", "event", "occurred_at", "actor", "cause",
        "stage_name", "task_name", "attempt", "data",
    )[:most]  # fmt: skip
    return [
        News(
            row["pk"],
            row["instance_id"],
            row["instance__business_ref_no"],
            history.entry_of(row, titles={}, with_data=False),
        )
        for row in rows
    ]


def strip(by_health: Mapping[str, int]) -> list[tuple[str, Sign, int]]:
    """This will give the counts that lead to the list."""
    shown = ("running", "person", "retrying", "failed", "suspended", "rolling_back", "completed")
    return [(name, words.health_sign(name), by_health[name]) for name in shown]
