"""Work for services without a broker: lease it, keep it, and report with a message."""

from __future__ import annotations

import time

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import bodies, problems
from workflows.api.base import ApiView, answer, read_id
from workflows.api.calls import Call
from workflows.runtime import leasing

_SECONDS = bodies.integer("lease_seconds", least=1, most=3_600, default=60, about="How long the work is yours.")


# The bell rings in the process that committed. What another one has put on the queue is found by looking again.
_LOOK_AGAIN_SECONDS = 1.0


class QueueView(ApiView):
    """A route below one queue. A queue is a name; nobody has to make it."""

    queue: str

    def look_up(self) -> None:
        """This will read the queue's name; what no task could be sent to is not there."""
        self.queue = self.kwargs["queue"]
        if bodies.name_fault(self.queue):
            raise problems.not_found()


class QueueLease(QueueView):
    """What a queue offers."""

    calls = {
        "POST": Call(
            "Take work from a queue",
            {200: "LeasedTasks"},
            about="Work that is not finished when its lease ends is leased again to someone, as the same attempt.",
            body=(
                bodies.identifier("worker_id", required=True, about="Who takes it."),
                bodies.integer("max_tasks", least=1, most=100, default=1),
                _SECONDS,
                bodies.integer("wait_seconds", least=0, most=30, default=0, about="How long to wait for work."),
            ),
            refusals=(404,),
            example={"worker_id": "oven-1", "max_tasks": 1, "lease_seconds": 60, "wait_seconds": 0},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will hand out work, as soon as there is some."""
        deadline = time.monotonic() + self.body["wait_seconds"]
        while True:
            # Before the look: what is offered between the look and the wait rings, too.
            rung = leasing.bell.count(self.queue)
            tasks = leasing.lease(
                self.queue,
                worker_id=self.body["worker_id"],
                max_tasks=self.body["max_tasks"],
                lease_seconds=self.body["lease_seconds"],
                actor=self.person.username,
            )
            left = deadline - time.monotonic()
            if tasks or left <= 0:
                return answer({"tasks": tasks})
            leasing.bell.wait(self.queue, min(left, _LOOK_AGAIN_SECONDS), since=rung)


class LeaseExtension(QueueView):
    """One lease."""

    calls = {
        "POST": Call(
            "Keep leased work for longer",
            {200: "Lease"},
            body=(_SECONDS,),
            refusals=(404, 409),
            example={"lease_seconds": 60},
        )
    }

    def look_up(self) -> None:
        """This will read the names in the address."""
        super().look_up()
        self.lease_id = str(read_id(self.kwargs["lease_id"]))

    def post(self, request: Request) -> HttpResponse:
        """This will move the end of the lease."""
        try:
            lease = leasing.extend(self.queue, self.lease_id, lease_seconds=self.body["lease_seconds"])
        except leasing.LeaseLost:
            why = "This lease has ended: its work may be somebody else's by now."
            raise problems.Problem("lease_lost", why) from None
        return answer(lease)
