"""Messages of services over HTTP: one, or a batch. Applied before the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import bodies, problems
from workflows.api.base import ApiView, answer, refusal
from workflows.api.calls import Call, Document
from workflows.api.instances import instance_now
from workflows.conf import settings
from workflows.runtime import handling, inbound, pausing
from workflows.runtime.asking import Answer, Asked, Outcome
from workflows.tracecontext import TraceContext

_EXAMPLE = {
    "business_ref_no": "ORDER-001",
    "component_name": "ITALIAN",
    "event_name": "TaskCompleted",
    "stage_name": "ORDER",
    "task_name": "confirm_order",
    "task_type": "SERVICE",
    "output": {"eta": 20},
}


class Events(ApiView):
    """One message."""

    calls = {
        "POST": Call(
            "Send a message",
            {200: "Outcome"},
            about="A refusal is a problem document that also has `outcome`, `reason` and `instance`.",
            body=Document("Message"),
            refusals=(404, 409),
            example=_EXAMPLE,
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will apply the message, or say why not."""
        asked = _read(self.body, actor=self.person.username, trace=self.trace)
        return answer(_outcome(handling.handle(asked)[0]))


class EventBatch(ApiView):
    """Up to a thousand messages, in order, each on its own."""

    calls = {
        "POST": Call(
            "Send messages, in order",
            {200: "BatchOutcome"},
            about="Each entry sees what earlier ones did; one that is refused or cannot be read stops no other.",
            body=(
                bodies.listing(
                    "events", most=settings.MAX_BATCH_EVENTS, of={"$ref": "#/components/schemas/AnyMessage"}
                ),
            ),
            example={"events": [_EXAMPLE]},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will apply what can be applied; `results[i]` is what `events[i]` would have been answered alone."""
        pausing.check()
        results: list[dict[str, Any] | None] = []
        asked: list[Asked] = []
        for message in self.body["events"]:
            try:
                asked.append(_read(message, actor=self.person.username, trace=self.trace))
                results.append(None)
            except problems.Problem as problem:
                results.append(problems.document(problem, request_id=self.request_id))
        said = iter(handling.handle(*asked) if asked else ())
        return answer({"results": [self._single(next(said)) if result is None else result for result in results]})

    def _single(self, said: Answer) -> dict[str, Any]:
        try:
            return {"status": 200, **_outcome(said)}
        except problems.Problem as problem:
            return problems.document(problem, request_id=self.request_id)


def _read(message: Any, *, actor: str, trace: TraceContext | None) -> Asked:
    if not isinstance(message, Mapping):
        raise bodies.invalid_body([problems.fault("", "wrong_type", "A message is an object.")])
    try:
        return inbound.read_event(message, actor=actor, trace=trace)
    except inbound.UnreadableEvent as error:
        raise problems.Problem(error.code, error.message, errors=error.errors) from None


def _outcome(said: Answer) -> dict[str, Any]:
    if said.outcome is not Outcome.REFUSED:
        return {"outcome": str(said.outcome), "reason": said.reason, "instance": instance_now(said)}
    problem = refusal(said)
    if problem.status == 409:
        problem.members.update(outcome="refused", reason=said.reason, instance=instance_now(said))
    raise problem
