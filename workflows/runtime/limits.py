"""Limits of queues: how much of a queue's work may be in flight, and how fast it is fed; set while everything runs.

What they mean, and how they are kept, is in `line`.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection

from workflows.conf import settings
from workflows.models import ControlRecord, OutboxMessage, QueueLimit
from workflows.models.locking import writing
from workflows.runtime import broker, leasing, line, listeners, moments, pausing
from workflows.runtime.listeners import Committed
from workflows.runtime.projection import STEP_QUEUE
from workflows.runtime.sql import moment_of

MOST_IN_FLIGHT = 100_000
LEAST_PER_SECOND, MOST_PER_SECOND = 1 / 86_400, 100_000.0
_OURS = STEP_QUEUE[:1]
"""How the queues inside this site begin."""
_CLOSED = dt.timedelta(seconds=10)
"""For how long nothing is let out at most while limits begin; it is opened much sooner by who sets them."""
_SETTLED = 0.3
"""Seconds after which a relay has written down what it sent from memory (`relay.SETTLE_AT_LAST`)."""


class BadLimit(Exception):
    """The limits make no sense: `field`, `code` and `message` say why. Nothing was changed."""

    def __init__(self, field: str, code: str, message: str) -> None:
        super().__init__(message)
        self.field, self.code, self.message = field, code, message


class NotLimitable(BadLimit):
    """This queue is the site's own, and no limits are kept for it. Limit the queues of services."""


def check(queue: str, *, max_in_flight: int | None, max_per_second: float | None) -> None:
    """This will raise BadLimit for limits that cannot be."""
    if queue.startswith(_OURS) or queue in broker.own_queues():
        raise NotLimitable("", "bad_value", "This queue is the site's own; limits are for queues of services.")
    if max_in_flight is None and max_per_second is None:
        raise BadLimit("max_in_flight", "required", "Say max_in_flight, max_per_second, or both.")
    if max_in_flight is not None and not 1 <= max_in_flight <= MOST_IN_FLIGHT:
        raise BadLimit("max_in_flight", "bad_value", f"This takes 1 to {MOST_IN_FLIGHT:,}.")
    if max_per_second is not None and not (
        math.isfinite(max_per_second) and LEAST_PER_SECOND <= max_per_second <= MOST_PER_SECOND
    ):
        raise BadLimit("max_per_second", "bad_value", f"This takes 1/86,400 (one a day) to {MOST_PER_SECOND:,.0f}.")


def put(
    queue: str,
    *,
    max_in_flight: int | None,
    max_per_second: float | None,
    by: str,
    reason: str = "",
    at: dt.datetime | None = None,
) -> QueueLimit:
    """This will set the limits of a queue, in place of those that it has. Raises BadLimit.

    Once it is back, no process sends anything past them.
    """
    check(queue, max_in_flight=max_in_flight, max_per_second=max_per_second)
    moment = at or moments.now()
    wanted = {"max_in_flight": max_in_flight, "max_per_second": max_per_second}
    with writing():
        was = QueueLimit.objects.select_for_update().filter(pk=queue).first()
        before = _said(was)
        if was is not None and before == wanted:
            return was
        begins = was is None or (was.max_in_flight is None and max_in_flight is not None)
        # Closed until it is known what is in flight already.
        values = {**wanted, "next_at": moment + _CLOSED if begins else None, "changed_by": by, "changed_at": moment}
        limit, _ = QueueLimit.objects.update_or_create(
            queue=queue, defaults=values, create_defaults={**values, "let_out_to": moment}
        )
        _record(moment, by, "QUEUE_LIMITED", queue, reason, before, wanted)
    _tell(moment)
    if begins:
        _wait(_SETTLED)
        if max_in_flight is not None:
            _give_places(queue)
        QueueLimit.objects.filter(pk=queue, changed_at=moment).update(next_at=None)
        _tell(moment)
    return limit


def remove(queue: str, *, by: str, reason: str = "", at: dt.datetime | None = None) -> bool:
    """This will take the limits of a queue away, have its line sent, and tell whether there were any."""
    moment = at or moments.now()
    with writing():
        was = QueueLimit.objects.select_for_update().filter(pk=queue).first()
        if was is None:
            return False
        was.delete()
        line.give_up(queue, moment)
        _record(moment, by, "QUEUE_UNLIMITED", queue, reason, _said(was), None)
    _tell(moment)
    _wait(0.0)
    # Also what was put into the line meanwhile, by those who did not know; and clocks run that stood still.
    line.free_strays(moment)
    _tell(moment)
    return True


def _said(limit: QueueLimit | None) -> dict[str, Any] | None:
    if limit is None:
        return None
    return {"max_in_flight": limit.max_in_flight, "max_per_second": limit.max_per_second}


def _record(at: dt.datetime, by: str, action: str, queue: str, reason: str, before: Any, after: Any) -> None:
    data = {"from": before, "to": after}
    ControlRecord.objects.create(at=at, actor=by, action=action, subject=queue, reason=reason, data=data)


def _tell(at: dt.datetime) -> None:
    pausing.known.forget()
    listeners.tell(Committed(at=at, changes=(), everything=True))


def _wait(longer: float) -> None:
    """Until nobody goes by what it knew before: see pausing, Note [Nothing new starts]."""
    if connection.vendor == "postgresql":
        time.sleep(pausing.FRESH + longer)
    pausing.known.now()


def _give_places(queue: str) -> None:
    """What was sent before the queue had a limit is in flight as well."""
    for instances, messages in leasing.live_messages(queue):
        sent = OutboxMessage.objects.filter(instance_id__in=instances, message_id__in=messages, state="SENT")
        sent.update(place=True)


# --- looking -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """How a queue with limits stands. Counts at `cap` are at least so many; `in_flight` None: it is not limited."""

    max_in_flight: int | None
    max_per_second: float | None
    in_flight: int | None
    line: int
    cap: int
    oldest_at: dt.datetime | None
    changed_by: str
    changed_at: dt.datetime

    @property
    def line_is_least(self) -> bool:
        """This will tell whether there may be more in the line."""
        return self.line >= self.cap


# Correlated, so that each count ends at the cap and reads nothing but its queue's part of a small index.
_STANDINGS = f"""SELECT l.queue, l.max_in_flight, l.max_per_second, l.changed_by, l.changed_at,
  (SELECT COUNT(*) FROM (SELECT 1 FROM workflows_outboxmessage m
     WHERE m.queue = l.queue AND m.state = 'HELD' LIMIT %s) few),
  (SELECT m.created_at FROM workflows_outboxmessage m
     WHERE m.queue = l.queue AND m.state = 'HELD' ORDER BY m.id LIMIT 1),
  CASE WHEN l.max_in_flight IS NOT NULL THEN (SELECT COUNT(*) FROM (SELECT {line.IS_LIVE} AS is_live
     FROM workflows_outboxmessage m
     JOIN workflows_taskinstance t ON t.instance_id = m.instance_id AND t.position = m.position
     WHERE m.queue = l.queue AND m.place LIMIT %s) few WHERE few.is_live) END
FROM workflows_queuelimit l ORDER BY l.queue"""  # noqa: S608 (constants of our own)


def standings() -> Mapping[str, Standing]:
    """This will tell how the queues that have limits stand: one statement for all of them."""
    cap = int(settings.COUNT_CAP)
    with connection.cursor() as cursor:
        cursor.execute(_STANDINGS, [cap, cap])
        rows = cursor.fetchall()
    return {queue: _standing(rest, cap) for queue, *rest in rows}


def _standing(row: Iterable[Any], cap: int) -> Standing:
    in_flight, per_second, by, changed_at, waiting, oldest, count = row
    moment = moment_of(changed_at)
    assert moment is not None, "the column is never null"
    return Standing(in_flight, per_second, count, waiting, cap, moment_of(oldest), by, moment)
