"""Moments at which something falls due: time-outs, retries, the limit of a whole instance."""

from __future__ import annotations

from enum import StrEnum

from django.db import models

from workflows.models.instance import WorkflowInstance


class DeadlineKind(StrEnum):
    """What falls due."""

    TASK_TIMEOUT = "TASK_TIMEOUT"
    RETRY = "RETRY"
    INSTANCE_TIMEOUT = "INSTANCE_TIMEOUT"


class Deadline(models.Model):
    """One armed clock.

    The engine's state knows the moment, too; the row is how the clock finds it (position -1: the instance).
    """

    instance = models.ForeignKey(
        WorkflowInstance, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="deadlines"
    )
    kind = models.CharField(max_length=20)
    position = models.IntegerField(default=-1)
    compensation = models.BooleanField(default=False)
    attempt = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["instance", "kind", "position", "compensation"], name="one_clock_per_kind")
        ]
        indexes = [models.Index(fields=["due_at", "id"], name="deadline_due")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.instance_id} at {self.due_at:%Y-%m-%d %H:%M:%S}"
