"""How far somebody's work is, as they said last: one row for each task that says so, no history."""

from __future__ import annotations

from django.db import models

from workflows.models.instance import WorkflowInstance

MESSAGE_LENGTH = 500


class TaskProgress(models.Model):
    """What was said last of an attempt of a task, or of its undoing. What an older attempt said is nobody's business.

    See recording, Note [Progress is no event].
    """

    instance = models.ForeignKey(WorkflowInstance, on_delete=models.PROTECT, db_index=False, related_name="progress")
    position = models.PositiveIntegerField()
    compensation = models.BooleanField()
    attempt = models.PositiveIntegerField()
    percent = models.FloatField(null=True)
    message = models.CharField(max_length=MESSAGE_LENGTH, blank=True, default="")
    reported_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["instance", "position", "compensation"], name="one_progress_per_task"),
        ]

    def __str__(self) -> str:
        return f"{self.instance_id}/{self.position}: {self.percent} {self.message}"
