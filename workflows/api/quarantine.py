"""Messages that could not be read or matched: look at them, hand them in again, or let them go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import bodies, paging, parameters, problems
from workflows.api.base import ApiView, answer, moment
from workflows.api.calls import Call
from workflows.engine.lifecycle import QuarantineState
from workflows.models import QuarantinedMessage
from workflows.runtime import quarantine
from workflows.runtime.asking import Answer
from workflows.runtime.masking import masked_text

_NEWEST = (paging.moments("received_at", descending=True), paging.numbers("id", descending=True))


class Quarantine(ApiView):
    """All quarantined messages."""

    calls = {
        "GET": Call(
            "List quarantined messages",
            {200: "QuarantinePage"},
            about="Newest first; without `state`: those that wait for somebody.",
            query=(
                parameters.several("state", QuarantineState, "Only messages in one of these states."),
                parameters.text("code", "Only messages quarantined for this reason."),
                parameters.text("source", "Only messages that came from there."),
                parameters.moment("received_until", "Only messages that came no later."),
                *parameters.PAGING,
            ),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list messages."""
        rows = QuarantinedMessage.objects.filter(state__in=self.query["state"] or [QuarantineState.OPEN])
        for name, column in (("code", "code"), ("source", "source"), ("received_until", "received_at__lte")):
            if self.query[name] is not None:
                rows = rows.filter(**{column: self.query[name]})
        return answer(paging.page(request._request, rows, keys=_NEWEST, query=self.query, render=_json))


class QuarantinedView(ApiView):
    """A route below one quarantined message."""

    message: QuarantinedMessage

    def look_up(self) -> None:
        """This will find the message."""
        found = QuarantinedMessage.objects.filter(pk=self.kwargs["message_id"]).first()
        if found is None:
            raise problems.not_found()
        self.message = found

    def show(self) -> HttpResponse:
        """This will give the message as it is now."""
        return answer(_json(QuarantinedMessage.objects.get(pk=self.message.pk)))

    def see_to(self, act: Callable[[QuarantinedMessage], Answer]) -> HttpResponse:
        """This will do it and give the message as it is then; raises Problem where it is as it was."""
        before = self.message.state
        said = act(self.message)
        if self.message.state == before:
            raise problems.Problem("wrong_state", said.reason or "It still cannot be read or matched.")
        return self.show()


class Quarantined(QuarantinedView):
    """One quarantined message."""

    calls = {"GET": Call("Read one quarantined message", {200: "QuarantinedMessage"}, refusals=(404,))}

    def get(self, request: Request) -> HttpResponse:
        """This will give the message."""
        return self.show()


class ResubmitQuarantined(QuarantinedView):
    """Hand a message in again."""

    calls = {
        "POST": Call(
            "Hand a quarantined message in again",
            {200: "QuarantinedMessage"},
            about="`resolution` says what came of it. What still cannot be read or matched stays where it is: 409.",
            body=(),
            refusals=(404, 409),
            example={},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will hand it in."""
        return self.see_to(lambda message: quarantine.resubmit(message, by=self.person.username))


class DiscardQuarantined(QuarantinedView):
    """Let a message go."""

    calls = {
        "POST": Call(
            "Let a quarantined message go",
            {200: "QuarantinedMessage"},
            body=(bodies.text("reason", required=True, about="Why nobody needs it."),),
            refusals=(404, 409),
            example={"reason": "Sent by a test"},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will discard it."""
        why = self.body["reason"]
        return self.see_to(lambda message: quarantine.discard(message, by=self.person.username, reason=why))


def _json(message: QuarantinedMessage) -> dict[str, Any]:
    return {
        "id": message.pk,
        "received_at": moment(message.received_at),
        "source": message.source,
        "message_id": message.message_id,
        "body": masked_text(message.body),
        "body_bytes": message.body_bytes,
        "code": message.code,
        "reason": message.reason,
        "state": message.state,
        "resolved_by": message.resolved_by or None,
        "resolved_at": moment(message.resolved_at),
        "resolution": message.resolution or None,
    }
