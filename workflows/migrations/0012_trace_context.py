"""The trace context that goes with a message."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("workflows", "0011_queue_limits"),
    ]

    operations = [
        migrations.AddField(
            model_name="outboxmessage",
            name="trace",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
    ]
