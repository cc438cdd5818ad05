"""The addresses that callback steps give to whoever does their work. The token in them is all that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import problems
from workflows.api.base import ApiView, answer
from workflows.api.calls import Call, Document
from workflows.runtime import callbacks

_ABOUT = "No credentials are needed: whoever was given the address may call it."


class CallbackView(ApiView):
    """A route below one token."""

    def look_up(self) -> None:
        """This will tell whether anybody was given the token."""
        if not callbacks.is_known(self.kwargs["token"]):
            raise problems.not_found()

    def say(self, what: Callable[[str, Any], Any]) -> HttpResponse:
        """This will hand on what the caller says; raises Problem where nobody waits for it."""
        try:
            what(self.kwargs["token"], self.body)
        except callbacks.UnknownToken:
            raise problems.not_found() from None
        except callbacks.NotAwaited:
            detail = "This has been called already, or the attempt that it was made for is over."
            raise problems.Problem("attempt_closed", detail) from None
        return answer({"accepted": True})


class Callback(CallbackView):
    """The end of the work."""

    calls = {
        "POST": Call(
            "Call back: the work is done",
            {200: "Accepted"},
            about=f"What is sent is what the step goes on with. {_ABOUT}",
            body=Document("AnyObject"),
            refusals=(404, 409),
            example={"port": "ge-0/0/1", "rc": 0},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will let the step go on."""
        if not isinstance(self.body, dict):
            raise problems.Problem("invalid_body", "Send an object.", errors=[_NO_OBJECT])
        return self.say(callbacks.call)


_NO_OBJECT = problems.fault("", "wrong_type", "This is not an object.")


class CallbackProgress(CallbackView):
    """How far the work is."""

    calls = {
        "POST": Call(
            "Say how far the work is",
            {200: "Accepted"},
            about=f"A text or an object, shown in place of the one before; it extends no time-out. {_ABOUT}",
            body=Document("AnyObject"),
            refusals=(404, 409),
            example={"percent": 40},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will keep it."""
        if not isinstance(self.body, dict | str):
            raise problems.Problem("invalid_body", "Send a text or an object.", errors=[_NO_OBJECT])
        return self.say(callbacks.report)
