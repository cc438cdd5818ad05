"""The line of a queue with limits: who stands in it, and who is let out when there is room.

Note [The waiting line]
~~~~~~~~~~~~~~~~~~~~~~~
The outbox is the line. Work for a queue that has limits is written down as HELD, in the transaction that causes it; so
it is in no relay's way and in no process's memory. Letting out is one short transaction: it locks the row of the limit
(so one relay at a time, and each sees what the one before has done), looks how much room there is, and makes the
oldest PENDING. From there they are sent, tried again and settled as any other message. A process that dies in between
has let out what is sent by the next.

In flight is what was let out and whose attempt is still live, by the rows of the tasks; nobody counts up or down. A
`place` only says which messages are worth a look, so that the look does not grow with the line or with the past: it is
given when a message is let out (or was sent before the limit was set) and taken back when the attempt turns out to be
over. A message that was let out and could not be sent yet is in flight: nobody knows whether the broker has it.

Whose attempt is over before their turn never leave (WITHDRAWN), and nor do the cancels that belong to them.

The rate is a moment, `next_at`: each message moves it on by 1/rate. Who comes late may make up for BEHIND at most. So
from the first message of a rush on, N messages take (N-1)/rate seconds at least.

What other processes do not know yet of a limit that was just set does not matter: what they write without HELD is put
into the line by the relay that claims it, and what they send is given a place. Nobody asks the database for this: it
is known from the look at the pause (`pausing.known.limited`).
"""

from __future__ import annotations

import datetime as dt
import json
import math
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db import connection

from workflows.engine import outgoing
from workflows.engine.lifecycle import HOLD_MESSAGE, LET_OUT_MESSAGE, WITHDRAW_MESSAGE, MessageState
from workflows.engine.outgoing import CANCEL_TASK, COMPENSATE_TASK, START_TASK
from workflows.models import OutboxMessage, QueueLimit
from workflows.models.locking import writing
from workflows.runtime import pausing, stopped_clocks
from workflows.runtime.claimed import Claimed
from workflows.runtime.fresh import FreshMessage
from workflows.runtime.identity import message_id
from workflows.runtime.sql import moment_of, names_of_queues

BEHIND = dt.timedelta(seconds=0.25)
"""How much of a rate may be made up for by who comes late."""
MOST = 500
"""How many of a line are looked at in one transaction."""
SPARE = 20
"""How many more are looked at than there is room for: some may be over."""
MOST_UNSENT = 10
"""Of a queue with a rate, so many may have been let out and not be sent; then the broker does not take them."""

# Attempts as the rows tell them. A compensation's attempt is told by its messages alone: the newest is live.
IS_LIVE = """CASE WHEN m.event_name = 'StartTask'
  THEN t.task_type <> 'HUMAN' AND (t.state = 'SCHEDULED' OR t.state = 'STARTED') AND t.attempt = m.attempt
  ELSE m.event_name = 'CompensateTask' AND t.state = 'COMPENSATING' AND t.queue = m.queue AND NOT EXISTS (
    SELECT 1 FROM workflows_outboxmessage n WHERE n.instance_id = m.instance_id AND n.position = m.position
    AND n.event_name = 'CompensateTask' AND n.attempt > m.attempt) END"""
_ROWS = f"""SELECT m.id, m.state, m.created_at, {IS_LIVE} FROM workflows_outboxmessage m
  JOIN workflows_taskinstance t ON t.instance_id = m.instance_id AND t.position = m.position"""  # noqa: S608
_IN_LINE = f"{_ROWS} WHERE m.queue = %s AND m.state = 'HELD' ORDER BY m.id LIMIT %s"
_IN_PLACE = f"{_ROWS} WHERE m.queue = %s AND m.place AND m.id > %s ORDER BY m.id LIMIT %s"
_WITH_A_LINE = """SELECT l.queue FROM workflows_queuelimit l WHERE EXISTS (
  SELECT 1 FROM workflows_outboxmessage m WHERE m.queue = l.queue AND m.state = 'HELD') ORDER BY l.queue"""
_LINES = (
    names_of_queues("workflows_outboxmessage", "state = 'HELD'")  # noqa: S608
    + " SELECT queue FROM names WHERE queue IS NOT NULL AND queue NOT IN (SELECT l.queue FROM workflows_queuelimit l)"
)


@dataclass(frozen=True, slots=True)
class LetOut:
    """What was let out: of which queues, how many, and when it is worth another look by the clock (None: never).

    `deadline`: the earliest time-out that has begun to run.
    """

    queues: frozenset[str] = frozenset()
    count: int = 0
    again_at: dt.datetime | None = None
    deadline: dt.datetime | None = None


def holds(queue: str, event_name: str, body: Mapping[str, Any]) -> bool:
    """This will tell whether a message has to stand in line."""
    return queue in pausing.known.limited and outgoing.is_work(event_name, body)


# --- letting out ---------------------------------------------------------------------------------------------------


def let_out(at: dt.datetime) -> LetOut:
    """This will let out of each line what there is room for, the oldest first."""
    if not pausing.known.limited:
        return LetOut()
    with connection.cursor() as cursor:
        cursor.execute(_WITH_A_LINE)
        queues = [queue for (queue,) in cursor.fetchall()]
    each = {queue: _let_out_of(queue, at) for queue in queues}
    return LetOut(
        queues=frozenset(queue for queue, out in each.items() if out.count),
        count=sum(out.count for out in each.values()),
        again_at=min((out.again_at for out in each.values() if out.again_at is not None), default=None),
        deadline=min((out.deadline for out in each.values() if out.deadline is not None), default=None),
    )


def _let_out_of(queue: str, at: dt.datetime) -> LetOut:
    with writing():
        # Waited for, not passed by: whoever ends work while another relay counts is to be counted, too.
        limit = QueueLimit.objects.select_for_update().filter(pk=queue).first()
        if limit is None:
            return LetOut()
        room, again_at = _room(limit, at)
        if room <= 0:
            return LetOut(again_at=again_at)
        live: list[int] = []
        over: list[int] = []
        newest = limit.let_out_to
        # No more than that: where many are asked for, PostgreSQL rather sorts the whole line.
        size = min(MOST, room + SPARE)
        rows = _ask(_IN_LINE, [queue, size])
        for pk, _, created_at, is_live in rows:
            if len(live) == room:
                break
            (live if is_live else over).append(pk)
            if is_live:
                newest = max(newest, _moment(created_at))
        _withdraw(over)
        deadline = stopped_clocks.go_on(live, at)
        held = OutboxMessage.objects.filter(pk__in=live, state__in=LET_OUT_MESSAGE.source)
        out = held.update(state=LET_OUT_MESSAGE.target, next_try_at=at, place=True)
        limit.let_out_to = newest
        if limit.max_per_second is not None and out:
            limit.next_at = _from(limit, at) + dt.timedelta(seconds=out / limit.max_per_second)
        if out:
            limit.save(update_fields=["let_out_to", "next_at"])
        if len(live) < room:
            # All that was looked at has gone: there may be more behind it.
            again_at = at if len(rows) == size else None
        elif limit.max_per_second is not None:
            again_at = limit.next_at
        else:
            again_at = at if room == MOST else None
        return LetOut(frozenset({queue}), out, again_at, deadline)


def _room(limit: QueueLimit, at: dt.datetime) -> tuple[int, dt.datetime | None]:
    """How many may go now, and when to look again where it is the rate that says no."""
    room, begin = MOST, _from(limit, at)
    if begin > at:
        return 0, begin
    if limit.max_per_second is not None:
        room = min(room, 1 + math.floor((at - begin).total_seconds() * limit.max_per_second))
    if limit.max_in_flight is not None:
        return min(room, limit.max_in_flight - _in_flight(limit.queue, most=limit.max_in_flight)), None
    if _not_taken(limit.queue) >= MOST_UNSENT:
        return 0, at + BEHIND
    return room, None


def _from(limit: QueueLimit, at: dt.datetime) -> dt.datetime:
    """The moment from which the rate is counted on."""
    if limit.next_at is None or limit.next_at < at - BEHIND:
        return at
    return limit.next_at


def _in_flight(queue: str, *, most: int) -> int:
    """How many are in flight, counted no further than `most`; places of what is over are taken back."""
    return sum(1 for _ in islice(_places(queue, keeps=lambda state, is_live: is_live), most))


def _not_taken(queue: str) -> int:
    """How many the broker did not take so far; where only the rate is limited, what is sent needs no place."""
    unsent = islice(_places(queue, keeps=lambda state, _: state != MessageState.SENT), MOST)
    return sum(1 for state in unsent if state == MessageState.FAILED)


def _places(queue: str, *, keeps: Callable[[str, bool], bool]) -> Iterator[str]:
    """The states of the messages that keep their places; the places of the others are taken back on the way."""
    last = 0
    while rows := _ask(_IN_PLACE, [queue, last, MOST]):
        gone = [pk for pk, state, _, is_live in rows if not keeps(state, bool(is_live))]
        if gone:
            OutboxMessage.objects.filter(pk__in=gone).update(place=False)
        yield from (state for _, state, _, is_live in rows if keeps(state, bool(is_live)))
        last = rows[-1][0]


def free_strays(at: dt.datetime) -> int:
    """This will have sent what stands in a line of a queue without limits: written by who did not know yet."""
    with connection.cursor() as cursor:
        cursor.execute(_LINES)
        queues = [queue for (queue,) in cursor.fetchall()]
    return sum(_empty(queue, at) for queue in queues)


def _empty(queue: str, at: dt.datetime) -> int:
    with writing():
        if QueueLimit.objects.select_for_update().filter(pk=queue).exists():
            return 0
        return give_up(queue, at)


def give_up(queue: str, at: dt.datetime) -> int:
    """This will let everything out of a line that is no more, in a transaction of the caller's."""
    OutboxMessage.objects.filter(queue=queue, place=True).update(place=False)
    held = (
        OutboxMessage.objects.filter(queue=queue, state=MessageState.HELD).order_by("id").values_list("pk", flat=True)
    )
    count = 0
    while portion := list(held[:MOST]):
        stopped_clocks.go_on(portion, at)
        count += OutboxMessage.objects.filter(pk__in=portion).update(state=LET_OUT_MESSAGE.target, next_try_at=at)
    return count


# --- getting in ----------------------------------------------------------------------------------------------------


def only_those_let_out(claimed: Sequence[Claimed]) -> Sequence[Claimed]:
    """This will put into line what a relay has claimed and what was not let out, and give what may be sent."""
    limited = pausing.known.limited
    if not limited or not any(one.queue in limited for one in claimed):
        return claimed
    concerned = [one for one in claimed if one.queue in limited]
    early = {one.pk for one in concerned if not one.place and outgoing.is_work(one.event, json.loads(one.body))}
    with writing():
        if early:
            _hold(early)
        early |= _cancels_of_nothing([one for one in concerned if one.event == CANCEL_TASK])
    return [one for one in claimed if one.pk not in early]


def hold_due(at: dt.datetime, *, most: int) -> int:
    """This will put into line what is due and was not let out, and count it: for a bus that has all else."""
    if not (limited := pausing.known.limited):
        return 0
    due = OutboxMessage.objects.due(at).filter(queue__in=limited, place=False).order_by("next_try_at", "id")
    early = [row.pk for row in due[:most] if outgoing.is_work(row.event_name, row.payload)]
    if early:
        with writing():
            _hold(early)
    return len(early)


def _hold(keys: Collection[int]) -> None:
    OutboxMessage.objects.filter(pk__in=keys, state__in=HOLD_MESSAGE.source).update(state=HOLD_MESSAGE.target)
    stopped_clocks.stop(keys)


def take_places(sent: Iterable[FreshMessage]) -> None:
    """This will give a place to what was sent from memory to a queue that has got limits meanwhile."""
    if limited := pausing.known.limited:
        for one in sent:
            if one.queue in limited:
                OutboxMessage.objects.filter(instance=one.instance_id, message_id=one.message_id).update(place=True)


def _cancels_of_nothing(cancels: Sequence[Claimed]) -> set[int]:
    """The cancels of what has never left the line: neither of the two is sent."""
    about = {_cancelled(one): one.pk for one in cancels}
    if not about:
        return set()
    never = OutboxMessage.objects.filter(
        instance_id__in={one.task[0] for one in cancels},
        message_id__in=list(about),
        state__in=(MessageState.HELD, MessageState.WITHDRAWN),
    ).values_list("pk", "message_id", "state")
    found = set()
    for pk, key, state in never:
        # Another relay may be letting it out just now: then it is sent, and so is its cancel.
        if state == MessageState.WITHDRAWN or _withdraw([pk]):
            found.add(about[key])
    _withdraw(found, state__in=WITHDRAW_MESSAGE.source)
    return found


def _cancelled(cancel: Claimed) -> uuid.UUID:
    """The id of the message that a cancel takes back."""
    instance, position, _ = cancel.task

    def key(event: str, *, compensation: bool) -> uuid.UUID:
        return message_id(
            instance, event_name=event, position=position, attempt=cancel.attempt, compensation=compensation
        )

    for event, compensation in ((START_TASK, False), (COMPENSATE_TASK, True)):
        if str(key(CANCEL_TASK, compensation=compensation)) == cancel.message_id:
            return key(event, compensation=compensation)
    raise AssertionError("a cancel is of an attempt")


def _withdraw(keys: Collection[int], **more: Any) -> int:
    if not keys:
        return 0
    rows = OutboxMessage.objects.filter(pk__in=keys, **(more or {"state": MessageState.HELD}))
    return rows.update(state=WITHDRAW_MESSAGE.target)


def _ask(sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


def _moment(value: Any) -> dt.datetime:
    moment = moment_of(value)
    assert moment is not None, "the column is never null"
    return moment
