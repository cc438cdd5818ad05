"""How the queues stand: what waits, who has work in hand, what comes and goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import paging, parameters, problems
from workflows.api.base import ApiView, answer, moment
from workflows.api.calls import Call
from workflows.api.queues import QueueView
from workflows.runtime import backlog, queues

_LISTED = 50


class Queues(ApiView):
    """All queues."""

    calls = {
        "GET": Call(
            "List queues",
            {200: "QueuePage"},
            about="By name: those that published workflows use, and all with work or with messages to be sent. What a "
            "broker says is a few seconds old at most; a broker that does not answer is no error here.",
            query=(parameters.text("q", "Only queues with this in their name."), *parameters.PAGING),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list queues."""
        unsent = backlog.summary()
        part = (self.query["q"] or "").casefold()
        names = [name for name in queues.known_names(unsent) if part in name.casefold()]
        page = paging.page_of_names(request._request, names, query=self.query)
        look = queues.look(page["results"], unsent=unsent)
        return answer({**page, "results": [_json(queue) for queue in look.queues], **_around(look)})


class QueueState(QueueView):
    """One queue."""

    calls = {"GET": Call("Read one queue", {200: "QueueState"}, refusals=(404,))}

    def look_up(self) -> None:
        """This will read the queue's name, and see whether there is anything to be said of it."""
        super().look_up()
        self.unsent = backlog.summary()
        if not queues.is_known(self.queue, self.unsent):
            raise problems.not_found()

    def get(self, request: Request) -> HttpResponse:
        """This will show the queue."""
        look = queues.look([self.queue], unsent=self.unsent)
        said = {
            **_json(look.queues[0]),
            "held": _works(queues.in_hand(self.queue, most=_LISTED, at=look.at)),
            "oldest": _works(queues.waiting(self.queue, most=_LISTED, at=look.at)),
            "unsent_because": [
                {
                    "reason": str(one.why),
                    "error": one.error,
                    "count": one.count,
                    "oldest_at": moment(one.oldest_at),
                    "tries": one.tries,
                    "next_try_at": moment(one.next_try_at),
                }
                for one in look.backlog
                if one.queue == self.queue
            ],
        }
        return answer({**said, **_around(look)})


def _json(queue: queues.Queue) -> dict[str, Any]:
    moving = queue.traffic
    return {
        "queue": queue.name,
        "use": queue.use,
        "depth": queue.depth,
        "depth_from": "broker" if queue.from_broker else "database",
        "depth_is_least": queue.depth_is_least,
        "waiting": queue.waiting,
        "in_hand": queue.in_hand,
        "oldest_at": moment(queue.oldest_at),
        "in_per_minute": {"last_5_minutes": moving.in_short, "last_60_minutes": moving.in_long},
        "out_per_minute": {"last_5_minutes": moving.out_short, "last_60_minutes": moving.out_long},
        "consumers": queue.consumers,
        "last_consumer": {"id": queue.seen_by, "seen_at": moment(queue.seen_at)} if queue.seen_at else None,
        "unsent": queue.unsent,
    }


def _works(works: Sequence[queues.Work]) -> list[dict[str, Any]]:
    return [
        {
            "instance_id": str(one.instance_id),
            "business_ref_no": one.reference,
            "stage_name": one.stage_name,
            "task_name": one.task_name,
            "attempt": one.attempt,
            "compensation": one.undoing,
            "offered_at": moment(one.offered_at),
            "started_at": moment(one.since),
            "worker_id": one.worker,
            "lease_until": moment(one.until),
        }
        for one in works
    ]


def _around(look: queues.Look) -> dict[str, Any]:
    return {
        "broker": {"used": look.broker.used, "error": look.broker.error},
        "rates_over": {
            "in_seconds": round(look.window.sent.total_seconds(), 1),
            "out_seconds": round(look.window.taken.total_seconds(), 1),
        },
    }
