"""Make the histories of subscriptions and of the controls append-only."""

from django.db import migrations

from workflows.models import triggers


class Migration(migrations.Migration):
    dependencies = [("workflows", "0013_no_second_look_at_the_instance")]

    operations = [
        migrations.RunPython(
            lambda apps, editor: triggers.install(editor.connection, *triggers.HISTORIES),
            lambda apps, editor: triggers.remove(editor.connection, *triggers.HISTORIES),
        )
    ]
