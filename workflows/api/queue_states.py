"""How the queues stand: what waits, who has work in hand, what comes and goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import bodies, paging, parameters, problems
from workflows.api.base import ApiView, answer, moment
from workflows.api.calls import Call
from workflows.api.queues import QueueView
from workflows.runtime import backlog, limits, queues

_LISTED = 50
_WHY = bodies.text("reason", about="Why; it is kept.")


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


class QueueLimits(QueueView):
    """The limits of one queue."""

    calls = {
        "GET": Call("Read the limits of a queue", {200: "QueueLimits"}, refusals=(404,)),
        "PUT": Call(
            "Limit a queue",
            {200: "QueueLimits"},
            about="In place of the limits that it has; say one or both. What goes over them waits in a line, the "
            "oldest first. Once this is answered nobody sends anything past them; what is in flight already counts. "
            "A time-out runs from the moment at which the attempt leaves the line.",
            body=(
                bodies.integer(
                    "max_in_flight",
                    least=1,
                    most=limits.MOST_IN_FLIGHT,
                    about="So many attempts at most are sent and not answered.",
                ),
                bodies.number(
                    "max_per_second",
                    least=limits.LEAST_PER_SECOND,
                    most=limits.MOST_PER_SECOND,
                    about="So many messages a second at most; 0.1: one in ten seconds.",
                ),
                _WHY,
            ),
            refusals=(404,),
            example={"max_in_flight": 5, "max_per_second": 2.5, "reason": "The printer is slow"},
        ),
        "DELETE": Call(
            "Take the limits of a queue away",
            {204: ""},
            about="What is in the line is sent.",
            query=(parameters.text("reason", "Why; it is kept."),),
            refusals=(404,),
        ),
    }

    def get(self, request: Request) -> HttpResponse:
        """This will show the limits."""
        return self._show()

    def put(self, request: Request) -> HttpResponse:
        """This will set the limits."""
        wanted = {name: self.body[name] for name in ("max_in_flight", "max_per_second")}
        try:
            limits.put(self.queue, **wanted, by=self.person.username, reason=self.body["reason"] or "")
        except limits.BadLimit as bad:
            pointer = f"/{bad.field}" if bad.field else ""
            raise bodies.invalid_body([problems.fault(pointer, bad.code, str(bad))]) from None
        return self._show()

    def delete(self, request: Request) -> HttpResponse:
        """This will take the limits away."""
        if not limits.remove(self.queue, by=self.person.username, reason=self.query["reason"] or ""):
            raise problems.not_found()
        return HttpResponse(status=204)

    def _show(self) -> HttpResponse:
        standing = limits.standings().get(self.queue)
        if standing is None:
            raise problems.not_found()
        return answer(_limits_json(standing))


def _limits_json(standing: limits.Standing) -> dict[str, Any]:
    return {
        "max_in_flight": standing.max_in_flight,
        "max_per_second": standing.max_per_second,
        "in_flight": standing.in_flight,
        "line": standing.line,
        "line_is_least": standing.line_is_least,
        "oldest_in_line_at": moment(standing.oldest_at),
        "changed_by": standing.changed_by,
        "changed_at": moment(standing.changed_at),
    }


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
        "limits": _limits_json(queue.limits) if queue.limits else None,
        "line_takes_seconds": queue.line_takes.total_seconds() if queue.line_takes is not None else None,
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
