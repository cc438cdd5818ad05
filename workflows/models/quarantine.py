"""Messages that could not be read or matched: kept, shown, resubmitted or discarded."""

from __future__ import annotations

import datetime as dt

from django.db import models

from workflows.engine import lifecycle
from workflows.engine.lifecycle import QuarantineState
from workflows.models.fields import StateField, StateModel, moves, states_check


class QuarantinedMessage(StateModel):
    """One such message, raw (bounded), with the reason."""

    received_at = models.DateTimeField()
    source = models.CharField(max_length=200)
    message_id = models.CharField(max_length=200, blank=True, default="")
    body = models.TextField()
    body_bytes = models.PositiveIntegerField()
    code = models.CharField(max_length=40)
    reason = models.TextField()
    state = StateField(states=QuarantineState, default=QuarantineState.OPEN)
    resolved_by = models.CharField(max_length=150, blank=True, default="")
    resolved_at = models.DateTimeField(null=True)
    resolution = models.TextField(blank=True, default="")

    class Meta:
        constraints = [states_check(name="quarantine_state_is_known", states=QuarantineState)]
        indexes = [models.Index(fields=["state", "-received_at"], name="quarantine_newest")]

    def __str__(self) -> str:
        return f"{self.code} from {self.source} at {self.received_at:%Y-%m-%d %H:%M:%S}"

    @moves(lifecycle.RESUBMIT_QUARANTINED)
    def mark_resubmitted(self, *, at: dt.datetime, by: str, resolution: str) -> None:
        """This will say that it was handed in again, and what came of it."""
        self.resolved_at, self.resolved_by, self.resolution = at, by, resolution

    @moves(lifecycle.DISCARD_QUARANTINED)
    def mark_discarded(self, *, at: dt.datetime, by: str, resolution: str) -> None:
        """This will say that nobody needs it."""
        self.resolved_at, self.resolved_by, self.resolution = at, by, resolution
