"""What the pages of the queues print, as plain values."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from tasks_ui import words
from tasks_ui.words import Sign
from workflows.conf import settings
from workflows.models import OutboxMessage
from workflows.runtime import backlog, limits
from workflows.runtime.backlog import Why
from workflows.runtime.quarantine import Reason
from workflows.runtime.queues import Look, Queue

SIZE = 50
"""How many queues stand on one page."""
_PATIENCE = dt.timedelta(minutes=1)
_NAMED = 5

_WHY: Mapping[Why, Sign] = {
    Why.WAITING: Sign("pending", "pending", "To be sent"),
    Why.UNROUTABLE: Sign("failed", "failed", "There is no such queue"),
    Why.BROKER_DOWN: Sign("retrying", "retrying", "The broker does not answer"),
    Why.REFUSED: Sign("failed", "failed", "The broker does not take them"),
    Why.HELD: Sign("waiting", "pending", "In the line"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number over all queues of the page; `least`: there may be more."""

    name: str
    icon: str
    state: str
    count: int
    least: bool
    text: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Unsent:
    """Messages to one queue that are not sent for one reason."""

    queue: str
    sign: Sign
    error: str
    count: int
    oldest_at: dt.datetime
    tries: int
    next_try_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps messages from being sent: how many, and to which queues, most first (`more` are not named)."""

    sign: Sign
    error: str
    count: int
    oldest_at: dt.datetime
    tries: int
    next_try_at: dt.datetime
    queues: Sequence[tuple[str, int]]
    more: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message that is not sent yet."""

    pk: int
    instance: object
    event: str
    task: str
    attempt: int
    sign: Sign
    error: str
    tries: int
    created_at: dt.datetime
    next_try_at: dt.datetime


def portion(names: Sequence[str], *, text: str, after: str) -> tuple[list[str], bool]:
    """This will take the names of one page, those behind `after` that hold the text; and tell whether more follow."""
    found = [name for name in names if text.casefold() in name.casefold() and name > after]
    return found[:SIZE], len(found) > SIZE


def figures(look: Look, held: Sequence[Reason], *, troubled: bool, waiting_text: str) -> list[Figure]:
    """This will give the numbers over these queues."""
    cap = int(settings.COUNT_CAP)
    least = any(queue.depth_is_least for queue in look.queues)
    count = sum(one.count for one in look.backlog)
    quarantined = sum(one.count for one in held)
    dead = sum(queue.depth or 0 for queue in look.queues if queue.use == "dead")
    depth = sum(queue.depth or 0 for queue in look.queues) - dead
    in_hand = sum(queue.in_hand for queue in look.queues)
    letters = [Figure("Dead letters", "failed", "failed", dead, False, "the broker gave them up")] if dead else []
    return [
        Figure("Waiting", "queues", "pending", depth, least, waiting_text),
        Figure("In hand", "running", "pending", in_hand, not all(one.counted for one in look.queues), "worked on"),
        Figure("Not sent", "sent", "retrying" if troubled else "pending", count, count >= cap, "kept, tried again"),
        *letters,
        Figure(
            "Quarantined", "info", "retrying" if quarantined else "pending", quarantined, quarantined >= cap,
            "could not be read or matched", "quarantine",
        ),
    ]  # fmt: skip


def troubles(look: Look) -> list[Trouble]:
    """This will give what should have been sent by now, by cause: what failed, and what waits for long."""
    late = look.at - _PATIENCE
    causes: dict[tuple[Why, str], list[backlog.Backlog]] = defaultdict(list)
    for one in look.backlog:
        if one.why is not Why.WAITING or one.oldest_at < late:
            causes[one.why, one.error].append(one)
    found = [
        Trouble(
            sign=_WHY[why],
            error=error,
            count=sum(one.count for one in group),
            oldest_at=min(one.oldest_at for one in group),
            tries=max(one.tries for one in group),
            next_try_at=min(one.next_try_at for one in group),
            queues=[(one.queue, one.count) for one in group[:_NAMED]],
            more=len(group[_NAMED:]),
        )
        for (why, error), group in causes.items()
    ]
    return sorted(found, key=lambda one: -one.count)


def unsent(rows: Sequence[backlog.Backlog]) -> list[Unsent]:
    """This will put the reasons into words."""
    return [
        Unsent(one.queue, _WHY[one.why], one.error, one.count, one.oldest_at, one.tries, one.next_try_at)
        for one in rows
    ]


def unsent_of(queue: str) -> QuerySet[OutboxMessage]:
    """This will give the unsent messages of a queue, to be paged."""
    return backlog.unsent(queue=queue)


def as_messages(rows: Sequence[OutboxMessage]) -> list[Message]:
    """This will put unsent messages into words."""
    return [
        Message(
            row.pk, row.instance_id, row.event_name, words.readable(row.task_name), row.attempt,
            _WHY[backlog.why_of(row.error)], row.error, row.tries, row.created_at, row.next_try_at,
        )
        for row in rows
    ]  # fmt: skip


_USES = {
    "steps": "steps, inside this site",
    "inbound": "what services report",
    "dead": "dead letters, on their way to the quarantine",
}


def use(queue: Queue) -> str:
    """This will say what is special about a queue."""
    return _USES.get(queue.use, "")


def read_limits(typed: Mapping[str, str]) -> tuple[int | None, float | None]:
    """This will read what somebody has typed, in flight and a second; nothing is no limit. Raises BadLimit."""
    in_flight, per_second = typed["max_in_flight"], typed["max_per_second"]
    try:
        count = int(in_flight) if in_flight else None
    except ValueError:
        raise limits.BadLimit("max_in_flight", "wrong_type", "This takes a whole number.") from None
    try:
        return count, float(per_second) if per_second else None
    except ValueError:
        raise limits.BadLimit("max_per_second", "wrong_type", "This takes a number.") from None


def typed_limits(standing: limits.Standing | None) -> dict[str, str]:
    """This will give the limits as somebody would type them."""
    if standing is None:
        return {"max_in_flight": "", "max_per_second": ""}
    rate = standing.max_per_second
    return {
        "max_in_flight": str(standing.max_in_flight or ""),
        "max_per_second": "" if rate is None else f"{rate:.10g}",
    }
