"""Calls that callback steps wait for."""

import django.db.models.deletion
from django.db import migrations, models

import workflows.models.fields


class Migration(migrations.Migration):
    dependencies = [
        ("workflows", "0004_states_one_by_one"),
    ]

    operations = [
        migrations.CreateModel(
            name="StepCallback",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("position", models.PositiveIntegerField()),
                ("attempt", models.PositiveIntegerField()),
                ("token_digest", models.CharField(max_length=64)),
                ("signal", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField()),
                ("progress", workflows.models.fields.JsonText(null=True)),
                ("progress_at", models.DateTimeField(null=True)),
                ("called_at", models.DateTimeField(null=True)),
                (
                    "instance",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="callbacks",
                        to="workflows.workflowinstance",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("token_digest",), name="one_callback_per_token"),
                    models.UniqueConstraint(
                        fields=("instance", "position", "attempt"), name="one_callback_per_attempt"
                    ),
                ],
            },
        ),
    ]
