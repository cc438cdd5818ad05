"""Rows that are written with each event are written without another look at their instance, on PostgreSQL."""

import django.db.models.deletion
from django.db import migrations, models

_ROWS = [
    ("deadline", "deadlines"),
    ("handledmessage", "handled_messages"),
    ("loggedevent", "history"),
    ("outboxmessage", "messages"),
]


class AlterOnPostgresql(migrations.AlterField):
    """SQLite would write the whole table anew, and lose its triggers, for what costs it next to nothing."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        """Drop the foreign key."""
        if schema_editor.connection.vendor == "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        """Make it again."""
        if schema_editor.connection.vendor == "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    dependencies = [("workflows", "0012_trace_context")]

    operations = [
        AlterOnPostgresql(
            model_name=model,
            name="instance",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name=related,
                to="workflows.workflowinstance",
            ),
        )
        for model, related in _ROWS
    ]
