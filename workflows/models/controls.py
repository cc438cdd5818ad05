"""What holds, repeats and starts work for the whole engine: the pause, bulk retries, schedules, and who did what."""

from __future__ import annotations

import uuid
from enum import StrEnum

from django.db import models
from django.db.models import Q

from workflows.models.fields import JsonText


class EnginePause(models.Model):
    """There is one row while the engine is paused, and none otherwise."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    paused_at = models.DateTimeField()
    paused_by = models.CharField(max_length=150)
    reason = models.TextField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_pause")]

    def __str__(self) -> str:
        return f"paused by {self.paused_by} at {self.paused_at:%Y-%m-%d %H:%M:%S}"


class BulkRetry(models.Model):
    """A wish to retry many failed instances: which ones, how far it has come. One at a time is not finished.

    `ids` are fixed when it is asked for; `position` counts those that were seen to. Whoever works on it holds it until
    `held_until`. `is_open` is true until it is finished, then null: being unique, it lets one be open.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    asked_by = models.CharField(max_length=150)
    asked_at = models.DateTimeField()
    reason = models.TextField()
    filters = JsonText()
    ids = JsonText()
    count = models.PositiveIntegerField()
    position = models.PositiveIntegerField(default=0)
    retried = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    held_until = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    is_open = models.BooleanField(null=True, unique=True, default=True)

    class Meta:
        indexes = [models.Index(fields=["-asked_at"], name="bulk_retry_newest")]

    def __str__(self) -> str:
        return f"{self.position} of {self.count}, asked by {self.asked_by} at {self.asked_at:%Y-%m-%d %H:%M:%S}"


class Misfire(StrEnum):
    """What becomes of a start whose moment has passed without anybody to begin it."""

    SKIP = "skip"
    ONCE = "once"


class Schedule(models.Model):
    """Starts instances at moments: by `cron` in its time zone, or every so many seconds from `begins_at` on.

    `next_at` is the moment of its next start, null while it is disabled. `revision` counts changes that people made.
    """

    name = models.CharField(max_length=100, unique=True)
    component_name = models.CharField(max_length=200)
    workflow_name = models.CharField(max_length=200, blank=True, default="")
    version = models.PositiveIntegerField(null=True, blank=True)
    context = JsonText()
    reference = models.CharField(max_length=200)
    cron = models.CharField(max_length=200, blank=True, default="")
    interval_seconds = models.PositiveIntegerField(null=True, blank=True)
    time_zone = models.CharField(max_length=60, default="UTC")
    misfire = models.CharField(
        max_length=8, default=Misfire.SKIP.value, choices=[(str(one), str(one)) for one in Misfire]
    )
    enabled = models.BooleanField(default=True)
    begins_at = models.DateTimeField()
    next_at = models.DateTimeField(null=True)
    revision = models.PositiveIntegerField(default=1)
    last_at = models.DateTimeField(null=True)
    last_outcome = models.CharField(max_length=12, blank=True, default="")
    last_said = models.TextField(blank=True, default="")
    last_instance = models.UUIDField(null=True)
    changed_by = models.CharField(max_length=150)
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(cron="", interval_seconds__gt=0) | (~Q(cron="") & Q(interval_seconds__isnull=True)),
                name="schedule_has_one_trigger",
            )
        ]
        indexes = [models.Index(fields=["next_at"], name="schedule_due", condition=Q(next_at__isnull=False))]

    def __str__(self) -> str:
        return self.name


class ControlRecord(models.Model):
    """Who has paused, resumed, retried in bulk, changed a schedule or limits: written with it, never changed."""

    at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    action = models.CharField(max_length=24)
    subject = models.CharField(max_length=200, blank=True, default="")
    reason = models.TextField(blank=True, default="")
    data = JsonText(null=True)

    class Meta:
        indexes = [models.Index(fields=["-at", "-id"], name="control_newest")]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor} at {self.at:%Y-%m-%d %H:%M:%S}"
