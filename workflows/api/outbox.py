"""Messages that are not sent yet, and why."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import paging, parameters
from workflows.api.base import ApiView, answer, moment
from workflows.api.calls import Call
from workflows.engine.lifecycle import MessageState
from workflows.models import OutboxMessage
from workflows.runtime import backlog
from workflows.runtime.backlog import Why

_NEXT = (paging.moments("next_try_at"), paging.numbers("id"))


class Outbox(ApiView):
    """What waits to be sent."""

    calls = {
        "GET": Call(
            "List messages that are not sent yet",
            {200: "UnsentPage"},
            about="Those first that are tried next. What is sent is no longer here; the messages of one instance are "
            "below that. What stands in the line of a queue with limits is listed where `reason` is `held`.",
            query=(
                parameters.text("queue", "Only messages to this queue."),
                parameters.choice(
                    "reason", [str(why) for why in Why], "Only messages that are not sent because of this."
                ),
                *parameters.PAGING,
            ),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list messages."""
        reason = self.query["reason"]
        rows = backlog.unsent(queue=self.query["queue"], why=Why(reason) if reason else None)
        return answer(paging.page(request._request, rows, keys=_NEXT, query=self.query, render=_json))


def _json(message: OutboxMessage) -> dict[str, Any]:
    return {
        "message_id": str(message.message_id),
        "instance_id": str(message.instance_id),
        "event_name": message.event_name,
        "queue": message.queue,
        "stage_name": message.stage_name,
        "task_name": message.task_name,
        "attempt": message.attempt,
        "reason": str(Why.HELD if message.state == MessageState.HELD else backlog.why_of(message.error)),
        "error": message.error,
        "tries": message.tries,
        "created_at": moment(message.created_at),
        "next_try_at": moment(message.next_try_at),
    }
