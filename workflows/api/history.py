"""What happened to an instance, and what was sent for it: two lists that only grow."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import paging, parameters
from workflows.api.base import answer, moment
from workflows.api.calls import Call
from workflows.api.instances import InstanceView
from workflows.models import LoggedEvent, OutboxMessage
from workflows.runtime.masking import masked


class History(InstanceView):
    """The event log of one instance."""

    calls = {
        "GET": Call(
            "List what happened to an instance",
            {200: "EventPage"},
            about="Ascending and without gaps; what was refused is in it, too.",
            query=parameters.PAGING,
            refusals=(404,),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list the events."""
        rows = LoggedEvent.objects.filter(instance_id=self.instance.pk)
        return answer(
            paging.page(
                request._request,
                rows,
                keys=(paging.numbers("sequence"),),
                query=self.query,
                render=lambda row: event_json(row, template=self.instance.template_id),
            )
        )


class Commands(InstanceView):
    """The messages that were written down to be sent for one instance."""

    calls = {
        "GET": Call(
            "List the messages that an instance has sent",
            {200: "MessagePage"},
            query=parameters.PAGING,
            refusals=(404,),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list the messages."""
        rows = OutboxMessage.objects.filter(instance_id=self.instance.pk)
        return answer(
            paging.page(
                request._request,
                rows,
                keys=(paging.numbers("id"),),
                query=self.query,
                render=lambda row: _message_json(row, template=self.instance.template_id),
            )
        )


def event_json(event: LoggedEvent, *, template: uuid.UUID) -> dict[str, Any]:
    """This will give an event as the API shows it."""
    return {
        "sequence": event.sequence,
        "event": event.event,
        "occurred_at": moment(event.occurred_at),
        "actor": event.actor,
        "cause": event.cause,
        "stage_name": event.stage_name,
        "task_name": event.task_name,
        "attempt": event.attempt,
        "data": masked(event.data, template=template),
    }


def _message_json(message: OutboxMessage, *, template: uuid.UUID) -> dict[str, Any]:
    return {
        "message_id": str(message.message_id),
        "event_name": message.event_name,
        "queue": message.queue,
        "stage_name": message.stage_name,
        "task_name": message.task_name,
        "attempt": message.attempt,
        "payload": masked(message.payload, template=template),
        "state": message.state,
        "created_at": moment(message.created_at),
        "sent_at": moment(message.sent_at),
    }
