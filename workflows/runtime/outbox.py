"""The rows of messages that wait to be sent: claiming some, and writing down what became of them.

See Note [How messages are claimed].
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import F

from workflows import failpoints
from workflows.engine.lifecycle import MARK_SENT, MARK_UNSENT
from workflows.models import OutboxMessage
from workflows.models.locking import writing

CLAIM = dt.timedelta(seconds=30)
LONGEST_BACK_OFF = dt.timedelta(seconds=60)

# Note [How messages are claimed]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
# A claim moves `next_try_at` into the future, in a transaction of its own: other relays no longer find the row, and no
# lock is held while the bus is asked (on SQLite it would stop every writer). A relay that dies leaves rows that are due
# again when the claim has passed. Then they may go out twice, with the same message id; never not at all.
# Rows are found by state and moment, never by "id greater than the last seen": ids are given before the commit.


class Claimed(NamedTuple):
    """A message to be sent: `body` is its JSON, exactly as it was written down; `tries` counts those that failed."""

    pk: int
    message_id: uuid.UUID
    queue: str
    body: str
    tries: int


# One statement, and no rows of models: a relay does this for every message, often right after the commit.
_CLAIM = (
    "UPDATE workflows_outboxmessage SET next_try_at = %s WHERE id IN (SELECT id FROM workflows_outboxmessage"
    " WHERE NOT (state = 'SENT') AND next_try_at <= %s ORDER BY next_try_at, id LIMIT %s {passing})"
    " RETURNING id, message_id, queue, payload, tries"
)


def claim(at: dt.datetime, *, most: int) -> Sequence[Claimed]:
    """This will take messages that are due, the longest due first, so that no other relay sends them meanwhile."""
    write = connection.ops.adapt_datetimefield_value
    values = (write(at + CLAIM), write(at), most)
    if connection.features.has_select_for_update_skip_locked:
        return _claimed(_CLAIM.format(passing="FOR UPDATE SKIP LOCKED"), values)
    # A look without a lock first: many a wake-up finds nothing, and a transaction would stop the writers of SQLite.
    if not OutboxMessage.objects.due(at).exists():
        return []
    with writing():
        return _claimed(_CLAIM.format(passing=""), values)


def _claimed(sql: str, values: tuple[Any, ...]) -> Sequence[Claimed]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        rows = sorted(cursor.fetchall())
    return [
        Claimed(key, named if isinstance(named, uuid.UUID) else uuid.UUID(hex=named), queue, body, tries)
        for key, named, queue, body, tries in rows
    ]


def settle(claimed: Sequence[Claimed], results: Sequence[str | None], *, at: dt.datetime) -> None:
    """This will write down that each claimed message was sent (None), or what went wrong and when to try again."""
    sent = [message.pk for message, error in zip(claimed, results, strict=True) if error is None]
    failed: dict[tuple[str, int], list[int]] = defaultdict(list)
    for message, error in zip(claimed, results, strict=True):
        if error is not None:
            failed[error[:2000], message.tries].append(message.pk)
    failpoints.hit("relay_before_settle")
    with writing():
        # Set-wise, and guarded by the state as the moves of the row are: what is sent already stays as it is.
        OutboxMessage.objects.filter(pk__in=sent, state__in=MARK_SENT.source).update(
            state=MARK_SENT.target, sent_at=at, error=""
        )
        for (error, tries), rows in failed.items():
            OutboxMessage.objects.filter(pk__in=rows, state__in=MARK_UNSENT.source).update(
                state=MARK_UNSENT.target, tries=F("tries") + 1, error=error, next_try_at=at + back_off(tries + 1)
            )
    failpoints.hit("relay_after_settle")


def settle_all(at: dt.datetime, *, most: int) -> int:
    """This will write down that messages that are due were sent, and give how many: for a bus that has them already."""
    due = list(OutboxMessage.objects.due(at).order_by("next_try_at", "id").values_list("pk", flat=True)[:most])
    if due:
        with writing():
            OutboxMessage.objects.filter(pk__in=due, state__in=MARK_SENT.source).update(
                state=MARK_SENT.target, sent_at=at, error=""
            )
    return len(due)


def next_due() -> dt.datetime | None:
    """This will give the moment at which the next message is to be tried, None where none waits."""
    waiting = OutboxMessage.objects.exclude(state=MARK_SENT.target).order_by("next_try_at")
    return waiting.values_list("next_try_at", flat=True).first()


def back_off(tries: int) -> dt.timedelta:
    """This will give the pause after so many failures in a row: 1, 2, 4 … 60 seconds."""
    return min(LONGEST_BACK_OFF, dt.timedelta(seconds=2 ** min(tries - 1, 10)))
