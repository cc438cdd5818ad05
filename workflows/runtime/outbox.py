"""The rows of messages that wait to be sent: claiming some, and writing down what became of them.

See Note [How messages are claimed] and Note [In their turn].
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.db import connection
from django.db.models import F, Q, QuerySet

from workflows import failpoints
from workflows.engine import outgoing
from workflows.engine.lifecycle import MARK_SENT, MARK_UNSENT, MessageState
from workflows.models import OutboxMessage
from workflows.models.locking import writing
from workflows.runtime import line
from workflows.runtime.claimed import Claimed
from workflows.runtime.fresh import FreshMessage

CLAIM = dt.timedelta(seconds=30)
IN_HAND = dt.timedelta(milliseconds=50)
"""When to look again at a message whose predecessor another relay is sending just now."""
LONGEST_BACK_OFF = dt.timedelta(seconds=60)

# Note [How messages are claimed]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
# Rows are found by state and moment, never by "id greater than the last seen": ids are given before the commit.
#
# On PostgreSQL one transaction locks the rows (SKIP LOCKED), has them sent, and writes down what became of them. The
# locks are on rows that nobody but relays writes, and other relays pass them by; so they hold up nobody, at worst for
# as long as a silent broker is waited for. In exchange a message leaves without a commit of ours before it, a row is
# written once instead of twice, and the rows of a relay that has died are free at once.
#
# On SQLite such a transaction would stop every writer. There a claim moves `next_try_at` into the future, in a
# transaction of its own, and the rows of a relay that has died are due again when the claim has passed.
#
# Either way what was sent by a relay that died before it could write that down goes out again, with the same message
# id; never not at all.

# Note [In their turn]
# ~~~~~~~~~~~~~~~~~~~~
# Messages of one task to one queue go out in the order in which they were written down (a `CancelTask` behind its
# `StartTask`), although each row has pauses of its own and two relays may work at once: whatever has an earlier one
# that is neither sent nor in the same batch is put behind it. The first message of a task has none.


Send = Callable[[Sequence[Claimed]], Sequence[str | None]]
"""Sends messages and tells of each, in their order, None (the bus has it) or what went wrong."""

_COLUMNS = (
    "id, message_id, queue, payload, tries, next_try_at, instance_id, position, event_name, attempt, place, trace"
)
_DUE = (
    "SELECT o.* FROM {{keys}} CROSS JOIN LATERAL (SELECT {columns} FROM workflows_outboxmessage"
    " WHERE (state = 'PENDING' OR state = 'FAILED') AND next_try_at <= k.a ORDER BY next_try_at, id LIMIT {most}"
    " FOR UPDATE SKIP LOCKED) o"
)
# One statement, and no rows of models: a relay does this for every message, often right after the commit.
_CLAIM = (
    "UPDATE workflows_outboxmessage SET next_try_at = %s WHERE id IN (SELECT id FROM workflows_outboxmessage"
    " WHERE (state = 'PENDING' OR state = 'FAILED') AND next_try_at <= %s ORDER BY next_try_at, id LIMIT %s {passing})"
    " RETURNING {columns}"
)


def hand_over(at: dt.datetime, *, most: int, send: Send) -> int:
    """This will have messages that are due sent, write down what became of each, and give how many were looked at."""
    if connection.vendor != "postgresql":
        claimed = claim(at, most=most)
        return _send(claimed, at, send)
    with writing() as database:
        rows = database.rows(_DUE.format(columns=_COLUMNS, most=int(most)), [(at,)], ("time",))
        return _send(_read(rows), at, send)


def _send(claimed: Sequence[Claimed], at: dt.datetime, send: Send) -> int:
    if not claimed:
        return 0
    failpoints.hit("relay_claimed")
    looked_at = len(claimed)
    claimed = line.only_those_let_out(claimed)
    waiting = _behind(claimed, at)
    in_turn = [message for message in claimed if message.pk not in waiting] if waiting else claimed
    results = send(in_turn) if in_turn else ()
    settle(in_turn, results, at=at)
    if waiting:
        _put_behind(waiting)
    return looked_at


def _behind(claimed: Sequence[Claimed], at: dt.datetime) -> dict[int, dt.datetime]:
    """Those that are not to be sent now, each with the moment of the one that goes before: see Note [In their turn]."""
    later = {message.task for message in claimed if not message.is_first}
    if not later:
        return {}
    ours = {message.pk for message in claimed}
    # Those that have a pause, and those that another relay has in hand: our batch has passed them by.
    last = max(message.next_try_at for message in claimed)
    unsent = OutboxMessage.objects.filter(
        Q(next_try_at__gt=at) | Q(next_try_at__lte=last),
        state__in=MARK_SENT.source,
        instance_id__in={instance for instance, _, _ in later},
        pk__lt=max(message.pk for message in claimed if not message.is_first),
    )
    earlier = {
        (instance, position, queue): (pk, moment)
        for pk, instance, position, queue, moment in unsent.order_by("-id").values_list(
            "pk", "instance_id", "position", "queue", "next_try_at"
        )
        if pk not in ours
    }
    waiting: dict[int, dt.datetime] = {}
    for message in claimed:
        pk, moment = earlier.get(message.task, (message.pk, at))
        if pk < message.pk:
            waiting[message.pk] = max(moment, at + IN_HAND)
    return waiting


def _put_behind(waiting: Mapping[int, dt.datetime]) -> None:
    rows: dict[dt.datetime, list[int]] = defaultdict(list)
    for pk, moment in waiting.items():
        rows[moment].append(pk)
    with writing():
        for moment, keys in rows.items():
            OutboxMessage.objects.filter(pk__in=keys, state__in=MARK_SENT.source).update(next_try_at=moment)


def claim(at: dt.datetime, *, most: int) -> Sequence[Claimed]:
    """This will take messages that are due, the longest due first, so that no other relay sends them meanwhile."""
    write = connection.ops.adapt_datetimefield_value
    values = (write(at + CLAIM), write(at), most)
    if connection.features.has_select_for_update_skip_locked:
        return _claimed(_CLAIM.format(columns=_COLUMNS, passing="FOR UPDATE SKIP LOCKED"), values)
    # A look without a lock first: many a wake-up finds nothing, and a transaction would stop the writers of SQLite.
    if not OutboxMessage.objects.due(at).exists():
        return []
    with writing():
        return _claimed(_CLAIM.format(columns=_COLUMNS, passing=""), values)


def _claimed(sql: str, values: tuple[Any, ...]) -> Sequence[Claimed]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return _read(cursor.fetchall())


def _read(rows: Iterable[Sequence[Any]]) -> Sequence[Claimed]:
    return [
        Claimed(
            pk,
            _dashed(message_id),
            queue,
            body,
            tries,
            _aware(moment),
            (_uuid(instance), position, queue),
            outgoing.is_first(event, attempt),
            event,
            attempt,
            bool(place),
            trace,
        )
        for pk, message_id, queue, body, tries, moment, instance, position, event, attempt, place, trace in sorted(
            map(tuple, rows)
        )
    ]


def _dashed(key: Any) -> str:
    return str(key if isinstance(key, uuid.UUID) else uuid.UUID(hex=key))


def _aware(moment: Any) -> dt.datetime:
    # SQLite tells a moment as it was written, in UTC.
    moment = dt.datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _uuid(key: Any) -> uuid.UUID:
    return key if isinstance(key, uuid.UUID) else uuid.UUID(hex=key)


def settle(claimed: Sequence[Claimed], results: Sequence[str | None], *, at: dt.datetime) -> None:
    """This will write down that each claimed message was sent (None), or what went wrong and when to try again."""
    sent = [message.pk for message, error in zip(claimed, results, strict=True) if error is None]
    failed: dict[tuple[str, int], list[int]] = defaultdict(list)
    for message, error in zip(claimed, results, strict=True):
        if error is not None:
            failed[error[:2000], message.tries].append(message.pk)
    failpoints.hit("relay_before_settle")
    with writing():
        if sent:
            _mark_sent(sent, at)
        for (error, tries), rows in failed.items():
            OutboxMessage.objects.filter(pk__in=rows, state__in=MARK_UNSENT.source).update(
                state=MARK_UNSENT.target, tries=F("tries") + 1, error=error, next_try_at=at + back_off(tries + 1)
            )
    failpoints.hit("relay_after_settle")


_MARK_SENT = (
    "UPDATE workflows_outboxmessage SET state = %s, sent_at = %s, error = '' WHERE id = ANY(%s) AND state = ANY(%s)"
)


def _mark_sent(keys: Sequence[int], at: dt.datetime) -> None:
    # Set-wise, and guarded by the state as the moves of the row are: what is sent already stays as it is.
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_MARK_SENT, (str(MARK_SENT.target), at, list(keys), [str(one) for one in MARK_SENT.source]))
        return
    OutboxMessage.objects.filter(pk__in=keys, state__in=MARK_SENT.source).update(
        state=MARK_SENT.target, sent_at=at, error=""
    )


_SETTLE_FRESH = (
    "UPDATE workflows_outboxmessage o SET state = %s, sent_at = k.at, error = ''"
    " FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[]) AS k(instance_id, message_id, at)"
    " WHERE o.instance_id = k.instance_id AND o.message_id = k.message_id AND o.state = ANY(%s)"
)


def settle_fresh(sent: Sequence[tuple[FreshMessage, dt.datetime]]) -> None:
    """This will write down that messages were sent from memory, each with the moment at which the bus had it."""
    failpoints.hit("relay_before_settle")
    with writing():
        if connection.vendor == "postgresql":
            instances, keys = [one.instance_id for one, _ in sent], [one.message_id for one, _ in sent]
            states = [str(one) for one in MARK_SENT.source]
            with connection.cursor() as cursor:
                cursor.execute(_SETTLE_FRESH, (str(MARK_SENT.target), instances, keys, [at for _, at in sent], states))
        else:
            for one, at in sent:
                _of(one).filter(state__in=MARK_SENT.source).update(state=MARK_SENT.target, sent_at=at, error="")
        line.take_places(one for one, _ in sent)
    failpoints.hit("relay_after_settle")


def hand_back(left: Sequence[FreshMessage], *, at: dt.datetime) -> None:
    """This will have messages that could not be sent from memory go the usual way, at once."""
    with writing():
        for one in left:
            _of(one).filter(state=MessageState.PENDING).update(next_try_at=at)


def _of(message: FreshMessage) -> QuerySet[OutboxMessage]:
    return OutboxMessage.objects.filter(instance=message.instance_id, message_id=message.message_id)


def due_again(error: str, *, at: dt.datetime) -> int:
    """This will have messages that failed for a reason that is over tried at once, in the order they had."""
    with writing():
        failed = OutboxMessage.objects.filter(state=MARK_UNSENT.target, next_try_at__gt=at, error__startswith=error)
        return failed.update(next_try_at=at)


def settle_all(at: dt.datetime, *, most: int) -> int:
    """This will write down that messages that are due were sent: for a bus that has them already.

    It gives how many were looked at.
    """
    held = line.hold_due(at, most=most)
    due = list(OutboxMessage.objects.due(at).order_by("next_try_at", "id").values_list("pk", flat=True)[:most])
    if due:
        with writing():
            OutboxMessage.objects.filter(pk__in=due, state__in=MARK_SENT.source).update(
                state=MARK_SENT.target, sent_at=at, error=""
            )
    return held + len(due)


def next_due() -> dt.datetime | None:
    """This will give the moment at which the next message is to be tried, None where none waits."""
    waiting = OutboxMessage.objects.to_send().order_by("next_try_at")
    return waiting.values_list("next_try_at", flat=True).first()


def back_off(tries: int) -> dt.timedelta:
    """This will give the pause after so many failures in a row: 1, 2, 4 … 60 seconds."""
    return min(LONGEST_BACK_OFF, dt.timedelta(seconds=2 ** min(tries - 1, 10)))
