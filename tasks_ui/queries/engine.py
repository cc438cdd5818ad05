"""What the page of the engine prints, as plain values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks_ui.queries.instances import choices as choices
from tasks_ui.words import Sign
from workflows.conf import settings
from workflows.models import BulkRetry, ControlRecord, Schedule
from workflows.runtime import bulk_retry
from workflows.runtime import schedules as runtime

_SHOWN = 100
_RECORDS = 20
_FILTERS = ("component_name", "workflow_name", "q")
_RUNS = 3

_ACTIONS: Mapping[str, str] = {
    "PAUSED": "paused the engine",
    "RESUMED": "let the engine go on",
    "RETRIED_FAILED": "retried failed instances",
    "SCHEDULE_ADDED": "added the schedule",
    "SCHEDULE_CHANGED": "changed the schedule",
    "SCHEDULE_ENABLED": "enabled the schedule",
    "SCHEDULE_DISABLED": "disabled the schedule",
    "QUEUE_LIMITED": "limited the queue",
    "QUEUE_UNLIMITED": "took away the limits of the queue",
}
_OUTCOMES: Mapping[str, Sign] = {
    "started": Sign("completed", "completed", "Started"),
    "duplicate": Sign("completed", "completed", "Started before"),
    "missed": Sign("retrying", "skipped", "Missed"),
    "refused": Sign("failed", "failed", "Refused"),
    "failed": Sign("failed", "failed", "Failed"),
}


@dataclass(frozen=True, slots=True)
class Retry:
    """How far a bulk retry has come."""

    wish: BulkRetry
    sign: Sign
    about: str


@dataclass(frozen=True, slots=True)
class Line:
    """One schedule."""

    schedule: Schedule
    trigger: str
    next_runs: Sequence[dt.datetime]
    last: Sign | None


@dataclass(frozen=True, slots=True)
class Record:
    """Something that somebody has done to the engine."""

    record: ControlRecord
    what: str


def read_filters(asked: Mapping[str, str]) -> dict[str, str]:
    """This will read which failed instances are meant."""
    values = {name: asked.get(name, "").strip()[:200].replace("\0", "") for name in _FILTERS}
    return {name: value for name, value in values.items() if value}


def count_failed(filters: Mapping[str, str]) -> int:
    """This will count the failed instances that the filters keep, up to the cap."""
    cap = int(settings.COUNT_CAP)
    return len(bulk_retry.failed(**filters).order_by().values_list("pk")[:cap])


def retry(wish: BulkRetry | None) -> Retry | None:
    """This will put a bulk retry into words."""
    if wish is None or not wish.count:
        return None
    sign = Sign("completed", "completed", "Done") if wish.finished_at else Sign("retrying", "retrying", "Under way")
    return Retry(wish, sign, ", ".join(f"{_LABELS[name]} {value}" for name, value in wish.filters.items()))


_LABELS = {"component_name": "component", "workflow_name": "workflow", "q": "containing"}


def schedules() -> list[Line]:
    """This will put the schedules into words."""
    return [_line(one) for one in Schedule.objects.order_by("name")[:_SHOWN]]


def _line(one: Schedule) -> Line:
    trigger = one.cron if one.cron else _every(one.interval_seconds or 0)
    return Line(one, trigger, runtime.next_runs(one, most=_RUNS), _OUTCOMES.get(one.last_outcome))


def _every(seconds: int) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds % length == 0:
            count = seconds // length
            return f"every {unit}" if count == 1 else f"every {count:,} {unit}s"
    return f"every {seconds:,} seconds"


def records() -> list[Record]:
    """This will give what was done last, newest first."""
    rows = ControlRecord.objects.order_by("-at", "-id")[:_RECORDS]
    return [Record(row, _ACTIONS.get(row.action, row.action.lower())) for row in rows]
