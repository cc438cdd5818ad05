"""Seeing to many quarantined messages at once: those that are named, or those that match, up to a bound."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import bodies, problems
from workflows.api.base import ApiView, answer, moment, refusal
from workflows.api.bodies import Field
from workflows.api.calls import Call
from workflows.models import QuarantinedMessage
from workflows.runtime import quarantine
from workflows.runtime.quarantine import MOST_AT_ONCE, Result

_MATCHING = {"code": "text", "source": "text", "received_until": "moment"}
_WHICH = (
    Field(
        "ids",
        lambda value: bodies.listing("ids", most=MOST_AT_ONCE, of={}).check(value),
        {
            "type": "array",
            "maxItems": MOST_AT_ONCE,
            "items": {"type": "integer", "minimum": 1},
            "description": "These messages. Either this or `matching`.",
        },
    ),
    Field(
        "matching",
        lambda value: bodies.mapping("matching").check(value),
        {
            "type": "object",
            "properties": {
                "code": {"type": "string", "minLength": 1, "maxLength": 200},
                "source": {"type": "string", "minLength": 1, "maxLength": 200},
                "received_until": {"type": "string", "format": "date-time"},
            },
            "additionalProperties": False,
            "description": "The open messages that all of this is true of, oldest first; `{}`: any.",
        },
    ),
    bodies.integer("limit", least=1, most=MOST_AT_ONCE, default=MOST_AT_ONCE, about="At most so many that match."),
)
_ABOUT = (
    "Each message is seen to as if it were alone: `results` has one entry for each. The same wish once more finds "
    f"nothing left to do: 409 for each message by itself. At most {MOST_AT_ONCE} at once; `left`: more match."
)


class SeveralView(ApiView):
    """Sees to several messages."""

    def see_to(self, keys: Sequence[int]) -> Mapping[int, Result]:
        """This will do it."""
        raise NotImplementedError

    def post(self, request: Request) -> HttpResponse:
        """This will see to the messages, and tell of each what came of it."""
        keys, left = self._which()
        results = self.see_to(keys)
        rows = QuarantinedMessage.objects.filter(pk__in=keys).defer("body").in_bulk()
        return answer({"results": [self._single(key, results.get(key), rows.get(key)) for key in keys], "left": left})

    def _which(self) -> tuple[list[int], bool]:
        keys, matching, limit = self.body["ids"], self.body["matching"], self.body["limit"]
        if (keys is None) == (matching is None):
            code, what = ("required", "/ids") if keys is None else ("bad_value", "/matching")
            raise bodies.invalid_body([problems.fault(what, code, "Say either `ids` or `matching`.")])
        if keys is not None:
            if faults := [fault for number, key in enumerate(keys) if (fault := _key_fault(number, key))]:
                raise bodies.invalid_body(faults)
            return keys, False
        rows = quarantine.matching(**_read_matching(matching)).values_list("pk", flat=True)
        found = list(rows[: limit + 1])
        return found[:limit], len(found) > limit

    def _single(self, key: int, result: Result | None, row: QuarantinedMessage | None) -> dict[str, Any]:
        if result is None or row is None:
            problem = problems.not_found()
        elif result.over:
            return {
                "status": 200,
                "id": key,
                "state": row.state,
                "resolved_by": row.resolved_by or None,
                "resolved_at": moment(row.resolved_at),
                "resolution": row.resolution or None,
            }
        else:
            why = refusal(result.answer).detail if result.answer.reason else "It still cannot be read or matched."
            problem = problems.Problem("wrong_state", why)
        return {**problems.document(problem, request_id=self.request_id), "id": key}


class ResubmitSeveral(SeveralView):
    """Hand many messages in again."""

    calls = {
        "POST": Call(
            "Hand many quarantined messages in again",
            {200: "QuarantineOutcomes"},
            about=_ABOUT,
            body=(*_WHICH, bodies.text("reason", about="Why; kept with what took effect.")),
            example={"matching": {"code": "unknown_instance"}, "limit": 100},
        )
    }

    def see_to(self, keys: Sequence[int]) -> Mapping[int, Result]:
        """This will hand them in, in the order they came."""
        return quarantine.resubmit_many(keys, by=self.person.username, reason=self.body["reason"] or "")


class DiscardSeveral(SeveralView):
    """Let many messages go."""

    calls = {
        "POST": Call(
            "Let many quarantined messages go",
            {200: "QuarantineOutcomes"},
            about=_ABOUT,
            body=(*_WHICH, bodies.text("reason", required=True, about="Why nobody needs them.")),
            example={"ids": [1, 2], "reason": "Sent by a test"},
        )
    }

    def see_to(self, keys: Sequence[int]) -> Mapping[int, Result]:
        """This will discard them."""
        return quarantine.discard_many(keys, by=self.person.username, reason=self.body["reason"])


def _key_fault(number: int, key: Any) -> dict[str, str] | None:
    if isinstance(key, bool) or not isinstance(key, int):
        return problems.fault(f"/ids/{number}", "wrong_type", "This takes the id of a message, a whole number.")
    if not 1 <= key < 2**63:
        return problems.fault(f"/ids/{number}", "bad_value", "No message has such an id.")
    return None


def _read_matching(said: Mapping[str, Any]) -> dict[str, Any]:
    faults: list[dict[str, str]] = []
    values: dict[str, Any] = {}
    for name, value in said.items():
        where = f"/matching/{name[:100].replace('~', '~0').replace('/', '~1')}"
        if name not in _MATCHING:
            known = ", ".join(_MATCHING)
            faults.append(problems.fault(where, "bad_value", f"Messages are not matched by this. Known: {known}."))
        elif not isinstance(value, str):
            faults.append(problems.fault(where, "wrong_type", "This takes a text."))
        elif name == "received_until":
            if (at := _moment(value)) is None:
                example = "2026-05-04T12:00:00Z"
                faults.append(
                    problems.fault(where, "bad_value", f"This takes a moment with its zone, such as {example}.")
                )
            values["until"] = at
        elif not 1 <= len(value) <= 200 or "\0" in value:
            faults.append(problems.fault(where, "bad_value", "This takes 1 to 200 characters."))
        else:
            values[name] = value
    if faults:
        raise bodies.invalid_body(faults)
    return values


def _moment(text: str) -> dt.datetime | None:
    try:
        value = dt.datetime.fromisoformat(text)
        return value.astimezone(dt.UTC) if value.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
