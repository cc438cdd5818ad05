"""Make the event log append-only."""

from django.db import migrations

from workflows.models import triggers


class Migration(migrations.Migration):
    dependencies = [("workflows", "0001_first_tables")]

    operations = [
        migrations.RunPython(
            lambda apps, editor: triggers.install(editor.connection, triggers.LOG),
            lambda apps, editor: triggers.remove(editor.connection, triggers.LOG),
        )
    ]
