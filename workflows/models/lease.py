"""Work handed out over HTTP for a limited time."""

from __future__ import annotations

from django.db import models

from workflows.models.instance import WorkflowInstance


class Lease(models.Model):
    """Who works on an attempt until when. Taking it over replaces the row, so an older lease id is lost."""

    id = models.UUIDField(primary_key=True, editable=False)
    queue = models.CharField(max_length=200)
    instance = models.ForeignKey(WorkflowInstance, on_delete=models.PROTECT, db_index=False, related_name="leases")
    position = models.PositiveIntegerField()
    compensation = models.BooleanField(default=False)
    attempt = models.PositiveIntegerField()
    worker_id = models.CharField(max_length=200)
    lease_until = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["instance", "position", "compensation", "attempt"], name="one_lease_per_attempt"
            )
        ]

    def __str__(self) -> str:
        return f"{self.queue} by {self.worker_id}"
