"""What instances are found by: a row for each search field that a template declares.

One index serves every question: the columns follow each other, and a number is found where the text is null.
"""

import django.db.models.deletion
from django.db import migrations, models

import workflows.models.fields


class Migration(migrations.Migration):
    dependencies = [("workflows", "0005_callbacks")]

    operations = [
        migrations.CreateModel(
            name="SearchedValue",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", workflows.models.fields.ByteText(max_length=50)),
                ("text", workflows.models.fields.ByteText(max_length=200, null=True)),
                ("number", models.FloatField(null=True)),
                ("boolean", models.BooleanField(null=True)),
                (
                    "instance",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="searched",
                        to="workflows.workflowinstance",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["name", "text", "number", "boolean", "instance"], name="search_by_value")
                ],
                "constraints": [models.UniqueConstraint(fields=("instance", "name"), name="one_row_per_search_field")],
            },
        ),
    ]
