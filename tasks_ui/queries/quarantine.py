"""What the pages of the quarantine print, as plain values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Left

from workflows.definitions import strict_json
from workflows.definitions.strict_json import InvalidJson
from workflows.engine.lifecycle import QuarantineState
from workflows.models import QuarantinedMessage
from workflows.runtime import quarantine
from workflows.runtime.masking import masked
from workflows.runtime.quarantine import KEPT_BYTES, MOST_AT_ONCE, Result

_IN_A_LIST = 2_000
_ON_ITS_PAGE = 100_000


@dataclass(frozen=True, slots=True)
class Body:
    """What a message says, as it is read: JSON indented, anything else as it came; `cut`: this is its beginning."""

    text: str
    is_json: bool
    cut: bool
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One message in the list. `holder` has it in hand just now."""

    message: QuarantinedMessage
    body: Body
    open: bool
    holder: str


@dataclass(frozen=True, slots=True)
class Matching:
    """The open messages that the filter keeps, by their ids: what was there when the page was made is what is meant."""

    keys: str
    count: int
    more: bool


def listed(*, every: bool, code: str) -> QuerySet[Any]:
    """This will give the messages of the list, each with the beginning of its body only."""
    rows = QuarantinedMessage.objects.all() if every else QuarantinedMessage.objects.filter(state=QuarantineState.OPEN)
    rows = rows.filter(code=code) if code else rows
    return rows.defer("body").annotate(beginning=Left("body", _IN_A_LIST))


def as_rows(messages: Iterable[Any]) -> list[Row]:
    """This will make rows of messages."""
    return [
        Row(
            message=one,
            body=read(one.beginning, whole=len(one.beginning) < _IN_A_LIST and one.body_bytes <= KEPT_BYTES),
            open=one.state == QuarantineState.OPEN,
            holder=one.resolved_by if one.state == QuarantineState.OPEN else "",
        )
        for one in messages
    ]


def read(text: str, *, whole: bool, most: int = _ON_ITS_PAGE) -> Body:
    """This will make a body readable, and no longer than `most` characters; what we would not take is shown raw."""
    shown, is_json, reference = text, False, ""
    if whole:
        try:
            value = strict_json.parse(text.encode(errors="replace"))
        except InvalidJson:
            pass
        else:
            shown, is_json = json.dumps(masked(value), ensure_ascii=False, indent=2), True
            named = value.get("business_ref_no") if isinstance(value, dict) else None
            reference = named[:200] if isinstance(named, str) else ""
    return Body(shown[:most], is_json, cut=not whole or len(shown) > most, reference=reference)


def read_kept(message: QuarantinedMessage) -> Body:
    """This will make all that was kept of a message readable."""
    return read(message.body, whole=message.body_bytes <= KEPT_BYTES)


def matching(code: str) -> Matching:
    """This will name the open messages that the filter keeps, the oldest first, as many as are seen to at once."""
    found = list(quarantine.matching(code=code or None).values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
    keys = found[:MOST_AT_ONCE]
    return Matching(",".join(map(str, keys)), len(keys), more=len(found) > MOST_AT_ONCE)


def said(results: Mapping[int, Result], *, discarding: bool) -> list[tuple[bool, str]]:
    """This will sum up what came of seeing to many messages: sentences, and whether each is good news."""
    over = [one for one in results.values() if one.over]
    elsewhere = sum(not one.over and one.answer.code == "wrong_state" for one in results.values())
    stay = len(results) - len(over) - elsewhere
    found = []
    if discarding:
        found += [(True, f"{_messages(len(over))} discarded; they can still be read under “All”.")] if over else []
    else:
        applied = sum(one.answer.applied for one in over)
        refused = len(over) - applied
        found += [(True, f"{_messages(applied)} handed in again and took effect.")] if applied else []
        found += [(False, f"{_messages(refused)} handed in again and refused; each says why.")] if refused else []
    found += [(False, f"{_messages(stay)} still held: not to be read or matched so far.")] if stay else []
    found += [(False, f"{_messages(elsewhere)} seen to by somebody already.")] if elsewhere else []
    return found


def _messages(count: int) -> str:
    return "1 message was" if count == 1 else f"{count:,} messages were"
