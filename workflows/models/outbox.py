"""Messages written down to be sent, in the transaction that caused them."""

from __future__ import annotations

import datetime as dt
from typing import Self

from django.db import models
from django.db.models import Q

from workflows.engine import lifecycle
from workflows.engine.lifecycle import UNSENT, MessageState
from workflows.models.fields import JsonText, StateField, StateModel, is_one_of, moves, states_check
from workflows.models.instance import WorkflowInstance


class OutboxQuerySet(models.QuerySet["OutboxMessage"]):
    """Reads of outbound messages."""

    def to_send(self) -> Self:
        """This will keep what is to be sent, now or later; not what waits in a queue's line."""
        # In the words of the index `message_due`, which PostgreSQL does not find by IN.
        return self.filter(is_one_of(UNSENT))

    def due(self, at: dt.datetime) -> Self:
        """This will keep what should be sent now, by state and never by id: ids are given before the commit."""
        return self.to_send().filter(next_try_at__lte=at)


class OutboxMessage(StateModel):
    """One outbound message; `payload` is exactly what is sent, `trace` the trace context that goes with it.

    `place`: it has been let out of its queue's line, and may count as in flight (runtime/line).
    """

    message_id = models.UUIDField(editable=False)
    instance = models.ForeignKey(
        WorkflowInstance, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="messages"
    )
    event_name = models.CharField(max_length=40)
    queue = models.CharField(max_length=200)
    position = models.PositiveIntegerField()
    stage_name = models.CharField(max_length=200)
    task_name = models.CharField(max_length=200)
    attempt = models.PositiveIntegerField()
    payload = JsonText()
    state = StateField(states=MessageState, default=MessageState.PENDING)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    tries = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField()
    error = models.TextField(blank=True, default="")
    place = models.BooleanField(default=False, db_default=False)
    # With a default in the database: the processes of before the upgrade do not write it.
    trace = models.TextField(blank=True, default="", db_default="")

    objects = models.Manager.from_queryset(OutboxQuerySet)()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["instance", "message_id"], name="one_message_per_attempt"),
            states_check(name="message_state_is_known", states=MessageState),
        ]
        indexes = [
            models.Index(fields=["next_try_at", "id"], name="message_due", condition=is_one_of(UNSENT)),
            # The lines and what was let out of them: of queues without a limit there is nothing in these.
            models.Index(fields=["queue", "id"], name="message_in_line", condition=Q(state="HELD")),
            models.Index(fields=["instance", "position"], name="message_in_line_of", condition=Q(state="HELD")),
            models.Index(fields=["queue", "id"], name="message_in_place", condition=Q(place=True)),
        ]

    def __str__(self) -> str:
        return f"{self.event_name} {self.stage_name}/{self.task_name}#{self.attempt} to {self.queue}"

    @moves(lifecycle.MARK_SENT)
    def mark_sent(self, *, at: dt.datetime) -> None:
        """This will say that the bus has confirmed it."""
        self.sent_at, self.error = at, ""

    @moves(lifecycle.MARK_UNSENT)
    def mark_unsent(self, *, error: str, next_try_at: dt.datetime) -> None:
        """This will keep it for another try, with what went wrong."""
        self.tries += 1
        self.error, self.next_try_at = error[:2000], next_try_at

    @moves(lifecycle.HOLD_MESSAGE)
    def mark_held(self) -> None:
        """This will put it into its queue's line."""

    @moves(lifecycle.LET_OUT_MESSAGE)
    def mark_let_out(self, *, at: dt.datetime) -> None:
        """This will let it out of the line, to be sent now."""
        self.next_try_at, self.place = at, True

    @moves(lifecycle.WITHDRAW_MESSAGE)
    def mark_message_withdrawn(self) -> None:
        """This will say that it is never sent: what it asks for is over."""
