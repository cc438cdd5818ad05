"""Who took part in the activities of an instance: written when a phase begins, never changed.

Who was kept out is told by the history alone: of a thousand registered plugins that may be most, in every instance.
"""

from __future__ import annotations

from django.db import models

from workflows.models.instance import WorkflowInstance

LABEL_LENGTH = 200


class PluginRun(models.Model):
    """A plugin that takes part in a phase of an instance; its state is that of the task at `position`."""

    instance = models.ForeignKey(WorkflowInstance, on_delete=models.PROTECT, db_index=False, related_name="plugins")
    stage_name = models.CharField(max_length=200)
    activity = models.CharField(max_length=200)
    phase = models.CharField(max_length=16)
    name = models.CharField(max_length=200)
    position = models.PositiveIntegerField()
    mandatory = models.BooleanField()
    system = models.CharField(max_length=LABEL_LENGTH, blank=True, default="")
    regulation = models.CharField(max_length=LABEL_LENGTH, blank=True, default="")
    frozen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["instance", "position"], name="one_plugin_per_task")]
        indexes = [models.Index(fields=["activity", "-frozen_at"], name="plugin_by_activity")]

    def __str__(self) -> str:
        return f"{self.instance_id}/{self.stage_name}/{self.phase}/{self.name}"
