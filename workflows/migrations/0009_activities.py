"""Activities: the plugins that are registered for them, and the history of that, append-only."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

import workflows.models.fields
from workflows.models import triggers


class Migration(migrations.Migration):
    dependencies = [
        ("workflows", "0008_subscriptions"),
    ]

    operations = [
        migrations.CreateModel(
            name="Activity",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200, unique=True)),
                ("revision", models.PositiveIntegerField(default=0)),
                ("stamp", models.UUIDField(default=uuid.uuid4, editable=False)),
            ],
        ),
        migrations.CreateModel(
            name="ActivityRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("revision", models.PositiveIntegerField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("REGISTERED", "Registered"),
                            ("CHANGED", "Changed"),
                            ("DEREGISTERED", "Deregistered"),
                        ],
                        max_length=16,
                    ),
                ),
                ("plugin", models.CharField(max_length=200)),
                ("at", models.DateTimeField()),
                ("actor", models.CharField(max_length=150)),
                ("reason", models.TextField(blank=True, default="")),
                ("before", workflows.models.fields.JsonText(null=True)),
                ("after", workflows.models.fields.JsonText(null=True)),
                (
                    "activity",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="history",
                        to="workflows.activity",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("activity", "revision"), name="one_record_per_revision")
                ],
            },
        ),
        migrations.CreateModel(
            name="Plugin",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200)),
                ("said", workflows.models.fields.JsonText()),
                ("secret", models.CharField(blank=True, default="", max_length=200)),
                ("revision", models.PositiveIntegerField()),
                ("registered_by", models.CharField(max_length=150)),
                ("registered_at", models.DateTimeField()),
                ("changed_by", models.CharField(max_length=150)),
                ("changed_at", models.DateTimeField()),
                ("deregistered_at", models.DateTimeField(null=True)),
                (
                    "activity",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="plugins",
                        to="workflows.activity",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("activity", "name"), name="one_plugin_of_a_name")],
            },
        ),
        migrations.RunPython(
            lambda apps, editor: triggers.install(editor.connection, triggers.ACTIVITY_HISTORY),
            lambda apps, editor: triggers.remove(editor.connection, triggers.ACTIVITY_HISTORY),
        ),
    ]
