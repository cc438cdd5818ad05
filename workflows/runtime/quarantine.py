"""Messages that can't be read or matched are kept here, and handed in again or discarded by operators."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from django.db import connection
from django.db.models import QuerySet

from workflows import failpoints
from workflows.conf import settings
from workflows.definitions.strict_json import InvalidJson, parse
from workflows.engine.lifecycle import QuarantineState
from workflows.models import QuarantinedMessage
from workflows.models.locking import writing
from workflows.runtime import moments
from workflows.runtime.asking import Answer, Asked, Outcome
from workflows.runtime.handling import handle
from workflows.runtime.inbound import UnreadableEvent, read_event
from workflows.runtime.refusals import STATUS
from workflows.runtime.sql import moment_of

MOST_AT_ONCE = 200
"""How many messages one person sees to with one wish."""
KEPT_BYTES = 65_536
"""How much of a message is kept; of a longer one only its beginning, which cannot be handed in again."""
_HELD = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of seeing to one message; `over`: by this wish it waits for nobody any more."""

    answer: Answer
    over: bool


@dataclass(frozen=True, slots=True)
class Aside:
    """A message that is to be kept: `size` is that of the whole, `again` says that it may be here from before."""

    body: bytes
    source: str
    code: str
    reason: str
    message_id: str = ""
    size: int | None = None
    again: bool = False


def hold(
    body: bytes, *, source: str, message_id: str = "", code: str, reason: str, at: dt.datetime | None = None
) -> QuarantinedMessage:
    """This will keep a message with the reason why it was not carried out (its first 64 KiB)."""
    (held,) = hold_all([Aside(body, source, code, reason, message_id)], at=at)
    return held


def hold_all(messages: Sequence[Aside], *, at: dt.datetime | None = None) -> list[QuarantinedMessage]:
    """This will keep messages, in one transaction, and give the new rows.

    A process may end after this and before it has acknowledged them: then they arrive `again`, the same bytes under
    the same id, and one row is enough.
    """
    failpoints.hit("quarantine_hold")
    moment = at or moments.now()
    rows = [_row(message, moment) for message in messages]
    with writing():
        here = _here([row for row, message in zip(rows, messages, strict=True) if message.again])
        new = [row for row, message in zip(rows, messages, strict=True) if not message.again or _same(row) not in here]
        QuarantinedMessage.objects.bulk_create(new)
    failpoints.hit("quarantine_held")
    return new


def _row(message: Aside, at: dt.datetime) -> QuarantinedMessage:
    return QuarantinedMessage(
        received_at=at,
        source=message.source[:200],
        message_id=_plain(message.message_id)[:200],
        body=_plain(message.body[:KEPT_BYTES].decode(errors="replace")),
        body_bytes=len(message.body) if message.size is None else message.size,
        code=message.code,
        reason=_plain(message.reason),
    )


def _same(row: QuarantinedMessage) -> tuple[str, str, int, str]:
    return row.source, row.message_id, row.body_bytes, row.body


def _here(rows: Sequence[QuarantinedMessage]) -> set[tuple[str, str, int, str]]:
    if not rows:
        return set()
    like = QuarantinedMessage.objects.filter(
        source__in={row.source for row in rows},
        message_id__in={row.message_id for row in rows},
        body_bytes__in={row.body_bytes for row in rows},
    )
    return {_same(row) for row in like.iterator()}


# By the index on state and moment: the newest only, so that a flood of them costs no more than a few.
_REASONS = """SELECT code, COUNT(*), MAX(received_at) FROM (SELECT code, received_at FROM workflows_quarantinedmessage
  WHERE state = 'OPEN' ORDER BY received_at DESC LIMIT %s) few GROUP BY code ORDER BY COUNT(*) DESC, code"""


@dataclass(frozen=True, slots=True)
class Reason:
    """Open messages that are held for one reason."""

    code: str
    count: int
    newest: dt.datetime


def reasons() -> list[Reason]:
    """This will count open messages by their reason, most first, looking at no more than the cap."""
    with connection.cursor() as cursor:
        cursor.execute(_REASONS, [int(settings.COUNT_CAP)])
        rows = cursor.fetchall()
    return [Reason(code, count, moment) for code, count, at in rows if (moment := moment_of(at)) is not None]


def matching(
    *, code: str | None = None, source: str | None = None, until: dt.datetime | None = None
) -> QuerySet[QuarantinedMessage]:
    """This will give those that wait for somebody, were held for this reason and came from there; the oldest first."""
    rows = QuarantinedMessage.objects.filter(state=QuarantineState.OPEN)
    for name, value in (("code", code), ("source", source), ("received_at__lte", until)):
        if value is not None:
            rows = rows.filter(**{name: value})
    return rows.order_by("received_at", "id")


def resubmit(message: QuarantinedMessage, *, by: str, reason: str = "", at: dt.datetime | None = None) -> Answer:
    """This will hand the message in again; what can still not be read or matched stays where it is."""
    return _see_to(message, resubmit_many([message.pk], by=by, reason=reason, at=at))


def discard(message: QuarantinedMessage, *, by: str, reason: str, at: dt.datetime | None = None) -> Answer:
    """This will say that nobody needs the message; it stays readable."""
    return _see_to(message, discard_many([message.pk], by=by, reason=reason, at=at))


def resubmit_many(
    keys: Sequence[int], *, by: str, reason: str = "", at: dt.datetime | None = None
) -> Mapping[int, Result]:
    """This will hand messages in again, in the order they came, and tell of each what came of it.

    A message that somebody else has in hand, or that is over, is refused with `wrong_state`; one that is not there is
    left out. What can still not be read or matched stays where it is. `reason` is kept with what took effect.
    """
    moment = at or moments.now()
    taken, answers = _take(keys, by=by, at=moment)
    failpoints.hit("quarantine_taken")
    asked: dict[int, Asked] = {}
    for key, message in taken.items():
        said = _read(message, by=by)
        if isinstance(said, Asked):
            asked[key] = said
        else:
            answers[key] = said
    # One batch: what comes later in it sees what earlier ones did.
    answers.update(zip(asked, handle(*asked.values(), at=moment) if asked else (), strict=True))
    failpoints.hit("quarantine_handed_in")

    def settle(message: QuarantinedMessage) -> None:
        answer = answers[message.pk]
        # What the state refuses is in the history now, unless it was a start.
        if answer.applied or (STATUS.get(answer.code or "", 500) == 409 and answer.instance is not None):
            said = str(answer.outcome) if answer.applied else f"{answer.outcome}: {answer.reason}"
            message.mark_resubmitted(at=moment, by=by, resolution=f"{said} ({reason})" if reason else said)
        else:
            message.resolved_at, message.resolved_by = None, ""

    return _results(answers, over=_settle(taken, settle))


def discard_many(keys: Sequence[int], *, by: str, reason: str, at: dt.datetime | None = None) -> Mapping[int, Result]:
    """This will say that nobody needs these messages, and tell of each whether that could be said."""
    moment = at or moments.now()
    taken, answers = _take(keys, by=by, at=moment)
    over = _settle(taken, lambda message: message.mark_discarded(at=moment, by=by, resolution=reason))
    return _results({**answers, **dict.fromkeys(taken, Answer(Outcome.APPLIED))}, over=over)


def _see_to(message: QuarantinedMessage, results: Mapping[int, Result]) -> Answer:
    message.refresh_from_db()
    return results[message.pk].answer


def _take(keys: Sequence[int], *, by: str, at: dt.datetime) -> tuple[dict[int, QuarantinedMessage], dict[int, Answer]]:
    """One operator at a time: the rows are theirs from here. Whoever dies in between loses them after a minute.

    The messages that were free, oldest first, and the answers about the others.
    """
    with writing():
        # Locked in the order of their ids, so that two operators with the same list do not wait for each other.
        rows = list(QuarantinedMessage.objects.filter(pk__in=set(keys)).order_by("pk").select_for_update())
        free = {row.pk: row for row in rows if _is_free(row, at)}
        QuarantinedMessage.objects.filter(pk__in=free).update(resolved_at=at, resolved_by=by)
    for row in free.values():
        row.resolved_at, row.resolved_by = at, by
    ordered = sorted(free.values(), key=lambda row: (row.received_at, row.pk))
    return {row.pk: row for row in ordered}, {row.pk: _elsewhere(row) for row in rows if row.pk not in free}


def _is_free(message: QuarantinedMessage, at: dt.datetime) -> bool:
    nobodys = message.resolved_at is None or message.resolved_at < at - _HELD
    return message.state == QuarantineState.OPEN and nobodys


def _settle(taken: Mapping[int, QuarantinedMessage], settle: Callable[[QuarantinedMessage], None]) -> frozenset[int]:
    """This will settle the messages that are still ours, and give those that are over."""
    if not taken:
        return frozenset()
    over = []
    with writing():
        # Again, and locked: whoever took so long that somebody else has taken them over changes nothing any more.
        for row in QuarantinedMessage.objects.filter(pk__in=taken).order_by("pk").select_for_update():
            mine = taken[row.pk]
            if (row.state, row.resolved_at, row.resolved_by) == (mine.state, mine.resolved_at, mine.resolved_by):
                settle(row)
                row.save()
                if row.state != QuarantineState.OPEN:
                    over.append(row.pk)
    return frozenset(over)


def _results(answers: Mapping[int, Answer], *, over: frozenset[int]) -> dict[int, Result]:
    # Whoever took longer than a minute may have done it, but somebody else has the message now.
    late = Answer(Outcome.REFUSED, code="wrong_state", reason="Somebody else has taken the message over meanwhile.")
    return {
        key: Result(late if answer.applied and key not in over else answer, key in over)
        for key, answer in answers.items()
    }


def _elsewhere(message: QuarantinedMessage) -> Answer:
    said = f"The message is {message.state}."
    if message.state == QuarantineState.OPEN:
        said = f"{message.resolved_by} is at it just now."
    return Answer(Outcome.REFUSED, code="wrong_state", reason=said)


def _read(message: QuarantinedMessage, *, by: str) -> Asked | Answer:
    if message.body_bytes > KEPT_BYTES:
        return Answer(Outcome.REFUSED, code="too_large", reason="Only the beginning of the message was kept.")
    try:
        return read_event(
            parse(message.body.encode()),
            actor=by,
            cause=f"quarantine:{message.pk}",
            message_id=message.message_id or None,
        )
    except (InvalidJson, UnreadableEvent) as error:
        return Answer(Outcome.REFUSED, code=error.code, reason=str(error), errors=getattr(error, "errors", ()))


def _plain(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
