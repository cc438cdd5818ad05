"""The append-only log: what happened to an instance, numbered without gaps."""

from __future__ import annotations

from django.db import models

from workflows.models.fields import JsonText
from workflows.models.instance import WorkflowInstance


class LoggedEvent(models.Model):
    """One event of one instance. Triggers refuse UPDATE and DELETE on both databases (see `triggers`)."""

    instance = models.ForeignKey(
        WorkflowInstance, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="history"
    )
    sequence = models.PositiveIntegerField()
    event = models.CharField(max_length=40)
    shape = models.PositiveSmallIntegerField(default=1)
    occurred_at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    cause = models.CharField(max_length=200, null=True)  # noqa: DJ001 (null = nothing outside caused it)
    stage_name = models.CharField(max_length=200, null=True)  # noqa: DJ001 (null = not about a stage)
    task_name = models.CharField(max_length=200, null=True)  # noqa: DJ001
    attempt = models.PositiveIntegerField(null=True)
    data = JsonText()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["instance", "sequence"], name="one_event_per_number"),
            models.CheckConstraint(condition=models.Q(sequence__gte=1), name="events_count_from_one"),
        ]

    def __str__(self) -> str:
        return f"{self.instance_id}#{self.sequence} {self.event}"
