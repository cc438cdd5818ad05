"""Who took part in the activities of an instance; how far somebody's work is."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("workflows", "0009_activities"),
    ]

    operations = [
        migrations.CreateModel(
            name="PluginRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stage_name", models.CharField(max_length=200)),
                ("activity", models.CharField(max_length=200)),
                ("phase", models.CharField(max_length=16)),
                ("name", models.CharField(max_length=200)),
                ("position", models.PositiveIntegerField()),
                ("mandatory", models.BooleanField()),
                ("system", models.CharField(blank=True, default="", max_length=200)),
                ("regulation", models.CharField(blank=True, default="", max_length=200)),
                ("frozen_at", models.DateTimeField()),
                (
                    "instance",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="plugins",
                        to="workflows.workflowinstance",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["activity", "-frozen_at"], name="plugin_by_activity")],
                "constraints": [models.UniqueConstraint(fields=("instance", "position"), name="one_plugin_per_task")],
            },
        ),
        migrations.CreateModel(
            name="TaskProgress",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveIntegerField()),
                ("compensation", models.BooleanField()),
                ("attempt", models.PositiveIntegerField()),
                ("percent", models.FloatField(null=True)),
                ("message", models.CharField(blank=True, default="", max_length=500)),
                ("reported_at", models.DateTimeField()),
                (
                    "instance",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="progress",
                        to="workflows.workflowinstance",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("instance", "position", "compensation"), name="one_progress_per_task"
                    )
                ],
            },
        ),
    ]
