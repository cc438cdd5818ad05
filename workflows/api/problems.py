"""Problem documents (RFC 9457): the one shape of every error that leaves the API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.http import HttpResponse

from workflows.models.fields import dump
from workflows.runtime import refusals

DOCS = "/api/v1/docs/"
MEDIA_TYPE = "application/problem+json"

# The contract's codes, and four more that only HTTP has.
STATUS: Mapping[str, int] = {
    **refusals.STATUS,
    "not_acceptable": 406,
    "request_in_progress": 409,
    "busy": 409,
    "internal_error": 500,
    "unavailable": 503,
}

TITLES: Mapping[str, str] = {
    "invalid_json": "This is not the JSON we take",
    "invalid_body": "The body has faults",
    "invalid_template": "The template has faults",
    "invalid_parameter": "A parameter of the address cannot be used",
    "unknown_event_name": "There is no such event",
    "ambiguous_workflow": "Several workflows could be meant",
    "not_authenticated": "Sign in first",
    "permission_denied": "You may not do this",
    "four_eyes": "Somebody else has to decide this",
    "not_found": "There is nothing here",
    "unknown_template": "There is no such template",
    "unknown_instance": "There is no such instance",
    "unknown_task": "There is no such task",
    "unknown_subscription": "There is no such subscription",
    "method_not_allowed": "This address does not take that method",
    "not_acceptable": "We answer in JSON only",
    "duplicate_instance": "This instance exists already",
    "event_id_reused": "The event id stands for another message",
    "stale_attempt": "A newer attempt has replaced this one",
    "unknown_attempt": "There is no such attempt yet",
    "not_its_turn": "The task's turn has not come",
    "attempt_closed": "The attempt is over",
    "instance_closed": "The instance has ended",
    "instance_suspended": "The instance is suspended",
    "wrong_state": "The state does not allow this",
    "already_claimed": "Somebody else has claimed this task",
    "not_claimed": "Nobody has claimed this task",
    "already_registered": "Another plugin bears this name",
    "lease_lost": "The lease has ended",
    "subscription_held": "Another workflow holds this subscription",
    "subscription_status": "The subscription's status does not allow this",
    "subscription_in_use": "Other subscriptions use this one",
    "wrong_product": "The workflow is for other products",
    "request_in_progress": "The first request with this key is still under way",
    "busy": "An earlier wish of this kind is still being carried out",
    "precondition_failed": "It has changed since you read it",
    "too_large": "The body is too large",
    "unsupported_media_type": "Send JSON",
    "idempotency_key_reused": "The key was used for another request",
    "engine_paused": "The engine is paused",
    "internal_error": "Something went wrong on our side",
    "unavailable": "Not available at the moment",
}


class Problem(Exception):
    """A request that cannot be answered as asked. `code` says why in one word, `detail` in a sentence."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Iterable[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.members = members
        super().__init__(detail)

    @property
    def status(self) -> int:
        """This will give the HTTP status that belongs to the code."""
        return STATUS[self.code]


def fault(pointer: str, code: str, message: str) -> dict[str, str]:
    """This will make one entry of `errors`."""
    return {"pointer": pointer, "code": code, "message": message}


def document(problem: Problem, *, request_id: str) -> dict[str, Any]:
    """This will give the problem as it is sent."""
    said: dict[str, Any] = {
        "type": f"{DOCS}#problem-{problem.code}",
        "title": TITLES.get(problem.code, problem.code.replace("_", " ")),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
    }
    if problem.errors:
        said["errors"] = [dict(error) for error in problem.errors]
    return {**said, **problem.members}


def response(problem: Problem, *, request_id: str) -> HttpResponse:
    """This will give the answer that carries the problem."""
    return HttpResponse(
        dump(document(problem, request_id=request_id)),
        status=problem.status,
        content_type=MEDIA_TYPE,
        headers=problem.headers,
    )


def not_found(what: str = "There is nothing here, or nothing that you may see.") -> Problem:
    """This will say the same of what is missing and of what the caller may not see."""
    return Problem("not_found", what)
