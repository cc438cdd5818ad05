"""The pause of the engine, bulk retries, schedules, and the record of who did what."""

import uuid

from django.db import migrations, models

import workflows.models.fields


class Migration(migrations.Migration):
    dependencies = [
        ("workflows", "0006_search_fields"),
    ]

    operations = [
        migrations.CreateModel(
            name="BulkRetry",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("asked_by", models.CharField(max_length=150)),
                ("asked_at", models.DateTimeField()),
                ("reason", models.TextField()),
                ("filters", workflows.models.fields.JsonText()),
                ("ids", workflows.models.fields.JsonText()),
                ("count", models.PositiveIntegerField()),
                ("position", models.PositiveIntegerField(default=0)),
                ("retried", models.PositiveIntegerField(default=0)),
                ("refused", models.PositiveIntegerField(default=0)),
                ("held_until", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("is_open", models.BooleanField(default=True, null=True, unique=True)),
            ],
            options={
                "indexes": [models.Index(fields=["-asked_at"], name="bulk_retry_newest")],
            },
        ),
        migrations.CreateModel(
            name="ControlRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("actor", models.CharField(max_length=150)),
                ("action", models.CharField(max_length=24)),
                ("subject", models.CharField(blank=True, default="", max_length=100)),
                ("reason", models.TextField(blank=True, default="")),
                ("data", workflows.models.fields.JsonText(null=True)),
            ],
            options={
                "indexes": [models.Index(fields=["-at", "-id"], name="control_newest")],
            },
        ),
        migrations.CreateModel(
            name="EnginePause",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ("paused_at", models.DateTimeField()),
                ("paused_by", models.CharField(max_length=150)),
                ("reason", models.TextField()),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="one_pause")],
            },
        ),
        migrations.CreateModel(
            name="Schedule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100, unique=True)),
                ("component_name", models.CharField(max_length=200)),
                ("workflow_name", models.CharField(blank=True, default="", max_length=200)),
                ("version", models.PositiveIntegerField(blank=True, null=True)),
                ("context", workflows.models.fields.JsonText()),
                ("reference", models.CharField(max_length=200)),
                ("cron", models.CharField(blank=True, default="", max_length=200)),
                ("interval_seconds", models.PositiveIntegerField(blank=True, null=True)),
                ("time_zone", models.CharField(default="UTC", max_length=60)),
                (
                    "misfire",
                    models.CharField(choices=[("skip", "skip"), ("once", "once")], default="skip", max_length=8),
                ),
                ("enabled", models.BooleanField(default=True)),
                ("begins_at", models.DateTimeField()),
                ("next_at", models.DateTimeField(null=True)),
                ("revision", models.PositiveIntegerField(default=1)),
                ("last_at", models.DateTimeField(null=True)),
                ("last_outcome", models.CharField(blank=True, default="", max_length=12)),
                ("last_said", models.TextField(blank=True, default="")),
                ("last_instance", models.UUIDField(null=True)),
                ("changed_by", models.CharField(max_length=150)),
                ("changed_at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("next_at__isnull", False)), fields=["next_at"], name="schedule_due"
                    )
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("cron", ""), ("interval_seconds__gt", 0)),
                            models.Q(models.Q(("cron", ""), _negated=True), ("interval_seconds__isnull", True)),
                            _connector="OR",
                        ),
                        name="schedule_has_one_trigger",
                    )
                ],
            },
        ),
    ]
