"""Messages that can't be read or matched are kept here, and handed in again or discarded by operators."""

from __future__ import annotations

import datetime as dt

from django.db.models import Q
from django.utils import timezone

from workflows import failpoints
from workflows.definitions.strict_json import InvalidJson, parse
from workflows.engine.lifecycle import QuarantineState
from workflows.models import QuarantinedMessage
from workflows.models.locking import writing
from workflows.runtime.asking import Answer, Outcome
from workflows.runtime.handling import handle
from workflows.runtime.inbound import UnreadableEvent, read_event
from workflows.runtime.refusals import STATUS

_KEPT_BYTES = 65_536
_HELD = dt.timedelta(minutes=1)


def hold(
    body: bytes, *, source: str, message_id: str = "", code: str, reason: str, at: dt.datetime | None = None
) -> QuarantinedMessage:
    """This will keep a message with the reason why it was not carried out (its first 64 KiB)."""
    failpoints.hit("quarantine_hold")
    with writing():
        held = QuarantinedMessage.objects.create(
            received_at=at or timezone.now(),
            source=source[:200],
            message_id=_plain(message_id)[:200],
            body=_plain(body[:_KEPT_BYTES].decode(errors="replace")),
            body_bytes=len(body),
            code=code,
            reason=_plain(reason),
        )
    failpoints.hit("quarantine_held")
    return held


def resubmit(message: QuarantinedMessage, *, by: str, at: dt.datetime | None = None) -> Answer:
    """This will hand the message in again; what can still not be read or matched stays where it is."""
    moment = at or timezone.now()
    if not _take(message, by=by, at=moment):
        return _elsewhere(message)
    failpoints.hit("quarantine_taken")
    answer = _hand_in(message, by=by, at=moment)
    failpoints.hit("quarantine_handed_in")
    with writing():
        if answer.applied or STATUS.get(answer.code or "", 500) == 409:  # what the state refuses is in the history now
            said = str(answer.outcome) if answer.applied else f"{answer.outcome}: {answer.reason}"
            message.mark_resubmitted(at=moment, by=by, resolution=said)
        else:
            message.resolved_at, message.resolved_by = None, ""
        message.save()
    return answer


def discard(message: QuarantinedMessage, *, by: str, reason: str, at: dt.datetime | None = None) -> Answer:
    """This will say that nobody needs the message; it stays readable."""
    moment = at or timezone.now()
    if not _take(message, by=by, at=moment):
        return _elsewhere(message)
    with writing():
        message.mark_discarded(at=moment, by=by, resolution=reason)
        message.save()
    return Answer(Outcome.APPLIED)


def _take(message: QuarantinedMessage, *, by: str, at: dt.datetime) -> bool:
    """One operator at a time: the row is theirs from here. Whoever dies in between loses it after a minute."""
    free = Q(resolved_at=None) | Q(resolved_at__lt=at - _HELD)
    with writing():
        taken = QuarantinedMessage.objects.filter(free, pk=message.pk, state=QuarantineState.OPEN)
        if not taken.update(resolved_at=at, resolved_by=by):
            return False
    message.refresh_from_db()
    return True


def _elsewhere(message: QuarantinedMessage) -> Answer:
    message.refresh_from_db()
    said = f"The message is {message.state}."
    if message.state == QuarantineState.OPEN:
        said = f"{message.resolved_by} is at it just now."
    return Answer(Outcome.REFUSED, code="wrong_state", reason=said)


def _hand_in(message: QuarantinedMessage, *, by: str, at: dt.datetime) -> Answer:
    if message.body_bytes > _KEPT_BYTES:
        return Answer(Outcome.REFUSED, code="too_large", reason="Only the beginning of the message was kept.")
    try:
        asked = read_event(
            parse(message.body.encode()),
            actor=by,
            cause=f"quarantine:{message.pk}",
            message_id=message.message_id or None,
        )
    except (InvalidJson, UnreadableEvent) as error:
        return Answer(Outcome.REFUSED, code=error.code, reason=str(error), errors=getattr(error, "errors", ()))
    return handle(asked, at=at)[0]


def _plain(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
