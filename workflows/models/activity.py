"""Activities that workflows share, the plugins registered for them, and who registered what. No policy."""

from __future__ import annotations

import uuid
from typing import Self

from django.db import models

from workflows.models.fields import JsonText


class Activity(models.Model):
    """An activity that somebody has registered a plugin for; the row stays when the last one goes.

    `revision` counts changes of its plugins. `stamp` is new with each of them: what was read of its plugins is good for
    as long as the stamp is the same, also in a database that was put back to an older state.
    """

    name = models.CharField(max_length=200, unique=True)
    revision = models.PositiveIntegerField(default=0)
    stamp = models.UUIDField(default=uuid.uuid4, editable=False)

    def __str__(self) -> str:
        return self.name


class PluginQuerySet(models.QuerySet["Plugin"]):
    """Reads of plugins."""

    def registered(self) -> Self:
        """This will keep those that are registered now, in the order in which they came."""
        return self.filter(deregistered_at=None).order_by("registered_at", "pk")


class Plugin(models.Model):
    """One plugin as it is registered now; `said` is what was registered, every key filled in.

    `revision` is that of the activity when the plugin was last changed. `secret` signs calls and is shown nowhere.
    The row of a plugin that is deregistered stays: instances that expect it are still called with its secret.
    """

    activity = models.ForeignKey(Activity, on_delete=models.PROTECT, db_index=False, related_name="plugins")
    name = models.CharField(max_length=200)
    said = JsonText()
    secret = models.CharField(max_length=200, blank=True, default="")
    revision = models.PositiveIntegerField()
    registered_by = models.CharField(max_length=150)
    registered_at = models.DateTimeField()
    changed_by = models.CharField(max_length=150)
    changed_at = models.DateTimeField()
    deregistered_at = models.DateTimeField(null=True)

    objects = models.Manager.from_queryset(PluginQuerySet)()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["activity", "name"], name="one_plugin_of_a_name")]

    def __str__(self) -> str:
        return self.name


class ActivityRecordKind(models.TextChoices):
    """What can happen to the plugins of an activity."""

    REGISTERED = "REGISTERED"
    CHANGED = "CHANGED"
    DEREGISTERED = "DEREGISTERED"


class ActivityRecord(models.Model):
    """One line of an activity's history: which plugin, what it was, what it is. Triggers keep it as it was written."""

    activity = models.ForeignKey(Activity, on_delete=models.PROTECT, db_index=False, related_name="history")
    revision = models.PositiveIntegerField()
    kind = models.CharField(max_length=16, choices=ActivityRecordKind.choices)
    plugin = models.CharField(max_length=200)
    at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    reason = models.TextField(blank=True, default="")
    before = JsonText(null=True)
    after = JsonText(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["activity", "revision"], name="one_record_per_revision")]

    def __str__(self) -> str:
        return f"{self.kind} {self.plugin} by {self.actor}"
