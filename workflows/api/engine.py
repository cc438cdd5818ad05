"""The engine as a whole: whether it works, pausing it, letting it go on, and retrying all that has failed."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import bodies, paging, parameters, problems
from workflows.api.base import ApiView, answer, moment
from workflows.api.calls import Call
from workflows.models import BulkRetry, ControlRecord
from workflows.runtime import bulk_retry, pausing
from workflows.runtime.masking import masked

_NEWEST = (paging.moments("at", descending=True), paging.numbers("id", descending=True))


class Engine(ApiView):
    """The engine."""

    calls = {"GET": Call("Whether the engine works, or who has paused it", {200: "Engine"})}

    def get(self, request: Request) -> HttpResponse:
        """This will tell how the engine stands."""
        return answer(engine_json(pausing.standing()))


class PauseEngine(ApiView):
    """Pausing."""

    calls = {
        "POST": Call(
            "Pause everything",
            {200: "Engine"},
            about="Steps that run come to their end (`PAUSING`, then `PAUSED`); nothing new starts: what would begin "
            "or carry on something is answered with 503 `engine_paused`, messages in the broker wait there, nothing "
            "is sent, no deadline and no schedule goes off. Reading, cancelling, suspending, claiming and commenting "
            "work. A pause that there is already stays as it is.",
            body=(bodies.text("reason", required=True, about="Why; every page shows it."),),
            example={"reason": "The warehouse moves"},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will pause the engine."""
        return answer(engine_json(pausing.pause(by=self.person.username, reason=self.body["reason"].strip())))


class ResumeEngine(ApiView):
    """Going on."""

    calls = {
        "POST": Call(
            "Let everything go on",
            {200: "Engine"},
            about="By itself, also what was stopped between two steps. Where nothing is paused nothing happens.",
            body=(bodies.text("reason", about="Why; it is kept."),),
            example={"reason": "The move is over"},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will let the engine go on."""
        return answer(engine_json(pausing.resume(by=self.person.username, reason=self.body["reason"] or "")))


class RetryFailed(ApiView):
    """Retrying all failed instances."""

    calls = {
        "POST": Call(
            "Retry all failed instances",
            {202: "BulkRetry"},
            about="Those that failed until now and that all of this is true of, the oldest first; each failed task "
            "gets a new attempt, in the name of the caller. Answers at once; it is done in small batches, and one "
            "that cannot be retried stops no other. `retry` of the engine tells how far it has come. 409 while it "
            "is busy with an earlier wish.",
            body=(
                bodies.text("reason", required=True, about="Why; it is kept in the history of each."),
                bodies.identifier("component_name", about="Only instances of this component."),
                bodies.identifier("workflow_name", about="Only instances of workflows of this name."),
                bodies.text("q", most=200, about="Part of the reference, component, workflow name or business status."),
                bodies.integer("limit", least=1, most=bulk_retry.MOST, default=bulk_retry.MOST, about="At most these."),
            ),
            refusals=(409,),
            example={"reason": "The bank is back", "component_name": "ITALIAN"},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will begin to retry them."""
        filters = {name: self.body[name] for name in ("component_name", "workflow_name", "q")}
        try:
            wish, more = bulk_retry.ask(
                by=self.person.username, reason=self.body["reason"], filters=filters, limit=self.body["limit"]
            )
        except bulk_retry.Busy as busy:
            other = retry_json(busy.other) if busy.other else None
            raise problems.Problem("busy", str(busy), headers={"Retry-After": "5"}, retry=other) from None
        return answer({**retry_json(wish), "left": more}, status=202)


class EngineLog(ApiView):
    """Who did what to the engine."""

    calls = {
        "GET": Call("Who has paused, resumed, retried or scheduled", {200: "ControlPage"}, query=parameters.PAGING)
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list it, newest first."""
        rows = ControlRecord.objects.all()
        return answer(paging.page(request._request, rows, keys=_NEWEST, query=self.query, render=_record_json))


def engine_json(standing: pausing.Standing) -> dict[str, Any]:
    """This will give the engine as the API shows it."""
    pause, retry = standing.pause, bulk_retry.newest()
    return {
        "state": str(standing.state),
        "paused_at": moment(pause.at) if pause else None,
        "paused_by": pause.by if pause else None,
        "reason": pause.reason if pause else None,
        "running_steps": standing.running_steps,
        "retry": retry_json(retry) if retry else None,
    }


def retry_json(wish: BulkRetry) -> dict[str, Any]:
    """This will give a bulk retry as the API shows it."""
    return {
        "id": str(wish.pk),
        "asked_by": wish.asked_by,
        "asked_at": moment(wish.asked_at),
        "reason": wish.reason,
        "filters": wish.filters,
        "count": wish.count,
        "done": wish.position,
        "retried": wish.retried,
        "refused": wish.refused,
        "finished_at": moment(wish.finished_at),
    }


def _record_json(record: ControlRecord) -> dict[str, Any]:
    return {
        "at": moment(record.at),
        "actor": record.actor,
        "action": record.action,
        "subject": record.subject or None,
        "reason": record.reason or None,
        "data": masked(record.data),
    }
