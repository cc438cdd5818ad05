"""Which attempts a commit has ended, and how: read from its events and from the snapshot before them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workflows.engine import events as e
from workflows.engine.events import Event
from workflows.engine.lifecycle import LIVE, TaskState
from workflows.engine.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """An attempt of a task, or of its undoing, that is over. `began` is when it was scheduled, `taken` when somebody
    took it up.
    """

    position: int
    attempt: int
    compensation: bool
    outcome: str
    began: dt.datetime
    taken: dt.datetime | None
    error: Mapping[str, Any] | None = None


_Live = tuple[int, dt.datetime, dt.datetime | None]
"""The number of a live attempt, when it was scheduled, and when it was taken."""

_BEGUN = {e.TASK_SCHEDULED: False, e.COMPENSATION_SCHEDULED: True}
_TAKEN = frozenset({e.TASK_STARTED, e.TASK_CLAIMED})
_OVER = {
    e.TASK_COMPLETED: (False, "completed"),
    e.TASK_FAILED: (False, "failed"),
    e.TASK_RETURNED: (False, "returned"),
    e.TASK_SKIPPED: (False, "skipped"),
    e.TASK_CANCELLED: (False, "cancelled"),
    e.TASK_RESET: (False, "withdrawn"),
    e.COMPENSATION_COMPLETED: (True, "completed"),
    e.COMPENSATION_FAILED: (True, "failed"),
    e.COMPENSATION_SKIPPED: (True, "skipped"),
}


def ended(before: Snapshot | None, events: Iterable[Event], *, at: dt.datetime) -> Iterator[EndedAttempt]:
    """This will give the attempts that these events have ended, in their order. All of them happened at `at`."""
    now: dict[tuple[int, bool], _Live | None] = {}

    def live(position: int, compensation: bool) -> _Live | None:
        key = (position, compensation)
        if key not in now:
            now[key] = _live_in(before, position, compensation=compensation)
        return now[key]

    for event in events:
        if (position := event.position) is None:
            continue
        if event.name in _BEGUN:
            undoing = _BEGUN[event.name]
            if (was := live(position, undoing)) is not None:
                yield EndedAttempt(position, was[0], undoing, "superseded", was[1], was[2])
            now[position, undoing] = (event.attempt or 0, at, None)
        elif event.name in _TAKEN:
            undoing = bool(event.data.get("compensation"))
            if (was := live(position, undoing)) is not None and was[2] is None:
                now[position, undoing] = (was[0], was[1], at)
        elif event.name in _OVER:
            undoing, outcome = _OVER[event.name]
            if (was := live(position, undoing)) is not None:
                yield EndedAttempt(position, was[0], undoing, outcome, was[1], was[2], event.data.get("error"))
            now[position, undoing] = None


def _live_in(before: Snapshot | None, position: int, *, compensation: bool) -> _Live | None:
    if before is None:
        return None
    task = before.tasks[position]
    one = task.compensation if compensation else task
    if one is None or one.scheduled_at is None:
        return None
    # Between two attempts a task waits, too; what waits for a signal is under way.
    if one.state not in LIVE and not (one.state == TaskState.WAITING and one.signal is not None):
        return None
    return one.attempt, one.scheduled_at, one.started_at
