"""Message ids that must not count twice."""

from __future__ import annotations

from django.db import models

from workflows.models.instance import WorkflowInstance


class HandledMessage(models.Model):
    """An applied message's id, with a digest of its content: the same id with other content is refused."""

    instance = models.ForeignKey(
        WorkflowInstance, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="handled_messages"
    )
    event_id = models.CharField(max_length=200)
    digest = models.CharField(max_length=64)
    handled_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["instance", "event_id"], name="a_message_counts_once")]

    def __str__(self) -> str:
        return f"{self.instance_id}/{self.event_id}"
