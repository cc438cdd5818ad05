"""Calls that somebody outside has been asked to make when their work is done."""

from __future__ import annotations

from django.db import models

from workflows.models.fields import JsonText
from workflows.models.instance import WorkflowInstance

CALL = "callback:"
"""How the names of signals begin that stand for calls."""


class StepCallback(models.Model):
    """One promise to call back: of which attempt of which task, and what has been said meanwhile.

    The token itself is nowhere; `token_digest` tells whether somebody has it. `signal` is what the step waits for.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    instance = models.ForeignKey(WorkflowInstance, on_delete=models.PROTECT, db_index=False, related_name="callbacks")
    position = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField()
    token_digest = models.CharField(max_length=64)
    signal = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    progress = JsonText(null=True)
    progress_at = models.DateTimeField(null=True)
    called_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["token_digest"], name="one_callback_per_token"),
            models.UniqueConstraint(fields=["instance", "position", "attempt"], name="one_callback_per_attempt"),
        ]

    def __str__(self) -> str:
        return f"{self.instance_id} {self.position}#{self.attempt}"
