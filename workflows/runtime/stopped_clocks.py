"""Time-outs of attempts that stand in a queue's line: their clocks stand still until they are let out.

Note [Stopped clocks]
~~~~~~~~~~~~~~~~~~~~~
The engine's state says when an attempt times out, counted from its scheduling; the row of the deadline says when
somebody comes to ask. A clock that goes off late is nothing new to the engine, so the row alone is moved: by STOPPED
when the message is put into the line, and back, and on by the time that it has waited, when it is let out. A resume
of a suspended instance arms its clocks anew, from the scheduling: it stops none.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from typing import NamedTuple
from uuid import UUID

from workflows.engine.outgoing import COMPENSATE_TASK
from workflows.models import Deadline, DeadlineKind, OutboxMessage

STOPPED = dt.timedelta(days=36_500)


class Attempt(NamedTuple):
    """What a time-out is of."""

    instance: UUID
    position: int
    compensation: bool
    attempt: int


def stop(messages: Collection[int]) -> None:
    """This will stop the clocks of these messages, which are put into a line."""
    attempts = _attempts(messages)
    _move((clock, clock.due_at + STOPPED) for clock in _clocks(attempts) if not _is_stopped(clock, attempts))


def go_on(messages: Collection[int], at: dt.datetime) -> dt.datetime | None:
    """This will have the clocks of these messages begin, which are let out of a line; the earliest that goes off."""
    attempts = _attempts(messages)
    return _move(
        (clock, clock.due_at - STOPPED + (at - attempts[_of(clock)]))
        for clock in _clocks(attempts)
        if _is_stopped(clock, attempts)
    )


def _attempts(messages: Collection[int]) -> dict[Attempt, dt.datetime]:
    rows = OutboxMessage.objects.filter(pk__in=messages)
    values = rows.values_list("instance_id", "position", "event_name", "attempt", "created_at")
    return {
        Attempt(instance, position, event == COMPENSATE_TASK, attempt): created_at
        for instance, position, event, attempt, created_at in values
    }


def _clocks(attempts: Collection[Attempt]) -> list[Deadline]:
    clocks = Deadline.objects.filter(kind=DeadlineKind.TASK_TIMEOUT, instance_id__in={one.instance for one in attempts})
    return [clock for clock in clocks if _of(clock) in attempts]


def _of(clock: Deadline) -> Attempt:
    return Attempt(clock.instance_id, clock.position, clock.compensation, clock.attempt)


def _is_stopped(clock: Deadline, attempts: dict[Attempt, dt.datetime]) -> bool:
    return clock.due_at - attempts[_of(clock)] > STOPPED


def _move(moved: Iterable[tuple[Deadline, dt.datetime]]) -> dt.datetime | None:
    clocks = []
    for clock, due_at in moved:
        clock.due_at = due_at
        clocks.append(clock)
    if not clocks:
        return None
    Deadline.objects.bulk_update(clocks, ["due_at"], batch_size=100)
    return min(clock.due_at for clock in clocks)
