"""Messages that were written down to be sent and are not sent yet, and why."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import or_

from django.db import connection
from django.db.models import Q, QuerySet

from workflows.conf import settings
from workflows.models import OutboxMessage
from workflows.runtime.sql import moment_of

# The relay and the adapters say what went wrong in words for people; these are how their sentences begin.
_BUS_DOWN = ("The bus does not answer", "The broker takes no messages for now", "The broker did not confirm")
_NO_QUEUE = ("There is no queue", "The queue ")


class Why(StrEnum):
    """Why a message is not sent yet."""

    WAITING = "waiting"
    UNROUTABLE = "unroutable"
    BROKER_DOWN = "broker_down"
    REFUSED = "refused"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages to one queue that are not sent for one reason; `count` at `cap` was not counted to its end."""

    queue: str
    why: Why
    error: str
    count: int
    oldest_at: dt.datetime
    tries: int
    next_try_at: dt.datetime


# Rows by the index on what is unsent; most errors of one queue are the same sentence.
_SUMMARY = """SELECT queue, error, COUNT(*), MIN(created_at), MAX(tries), MIN(next_try_at)
FROM (SELECT queue, error, created_at, tries, next_try_at FROM workflows_outboxmessage
  WHERE (state = 'PENDING' OR state = 'FAILED') ORDER BY next_try_at, id LIMIT %s) few
GROUP BY queue, error ORDER BY COUNT(*) DESC, queue, error LIMIT %s"""
_GROUPS = 200


def summary() -> Sequence[Backlog]:
    """This will sum up what is unsent by queue and reason, most first, looking at no more than the cap."""
    with connection.cursor() as cursor:
        cursor.execute(_SUMMARY, [int(settings.COUNT_CAP), _GROUPS])
        rows = cursor.fetchall()
    return [
        Backlog(queue, why_of(error), error, count, _at(oldest), tries, _at(soonest))
        for queue, error, count, oldest, tries, soonest in rows
    ]


def why_of(error: str) -> Why:
    """This will give the reason that an error stands for."""
    if not error:
        return Why.WAITING
    if error.startswith(_BUS_DOWN):
        return Why.BROKER_DOWN
    return Why.UNROUTABLE if error.startswith(_NO_QUEUE) else Why.REFUSED


def unsent(*, queue: str | None = None, why: Why | None = None) -> QuerySet[OutboxMessage]:
    """This will give the unsent messages, to be paged by `next_try_at` and `id`, without their payloads.

    Those that stand in the line of a queue with limits only where `why` asks for them.
    """
    rows = OutboxMessage.objects.filter(state="HELD") if why is Why.HELD else OutboxMessage.objects.to_send()
    rows = rows.defer("payload")
    if queue is not None:
        rows = rows.filter(queue=queue)
    match why:
        case Why.WAITING:
            rows = rows.filter(error="")
        case Why.BROKER_DOWN:
            rows = rows.filter(_begins(_BUS_DOWN))
        case Why.UNROUTABLE:
            rows = rows.filter(_begins(_NO_QUEUE))
        case Why.REFUSED:
            rows = rows.exclude(Q(error="") | _begins(_BUS_DOWN) | _begins(_NO_QUEUE))
    return rows


def _begins(words: tuple[str, ...]) -> Q:
    return reduce(or_, (Q(error__startswith=word) for word in words))


def _at(value: object) -> dt.datetime:
    moment = moment_of(value)
    assert moment is not None, "the column is never null"
    return moment
