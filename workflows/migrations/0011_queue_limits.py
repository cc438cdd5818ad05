"""Limits of queues, and the line in which messages wait for them.

On a large site the table of messages is read a few times, under a lock: for the condition on states and its indexes.
"""

from functools import reduce
from operator import or_

from django.db import migrations, models

_UNSENT = ("PENDING", "FAILED")
_STATES = ("PENDING", "SENT", "FAILED", "HELD", "WITHDRAWN")


def _one_of(states):
    return reduce(or_, (models.Q(state=state) for state in states))


class Migration(migrations.Migration):
    dependencies = [("workflows", "0010_plugins_and_progress")]

    operations = [
        migrations.CreateModel(
            name="QueueLimit",
            fields=[
                ("queue", models.CharField(max_length=200, primary_key=True, serialize=False)),
                ("max_in_flight", models.PositiveIntegerField(blank=True, null=True)),
                ("max_per_second", models.FloatField(blank=True, null=True)),
                ("next_at", models.DateTimeField(null=True)),
                ("let_out_to", models.DateTimeField()),
                ("changed_by", models.CharField(max_length=150)),
                ("changed_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(max_in_flight__gt=0, max_per_second__isnull=True)
                        | models.Q(max_in_flight__isnull=True, max_per_second__gt=0)
                        | models.Q(max_in_flight__gt=0, max_per_second__gt=0),
                        name="queue_limit_limits",
                    )
                ],
            },
        ),
        migrations.AlterField("controlrecord", "subject", models.CharField(blank=True, default="", max_length=200)),
        migrations.RemoveConstraint("outboxmessage", "message_state_is_known"),
        migrations.RemoveIndex("outboxmessage", "message_due"),
        migrations.AddField("outboxmessage", "place", models.BooleanField(default=False, db_default=False)),
        migrations.AddConstraint(
            "outboxmessage", models.CheckConstraint(condition=_one_of(_STATES), name="message_state_is_known")
        ),
        migrations.AddIndex(
            "outboxmessage",
            models.Index(fields=["next_try_at", "id"], name="message_due", condition=_one_of(_UNSENT)),
        ),
        migrations.AddIndex(
            "outboxmessage",
            models.Index(fields=["queue", "id"], name="message_in_line", condition=models.Q(state="HELD")),
        ),
        migrations.AddIndex(
            "outboxmessage",
            models.Index(fields=["instance", "position"], name="message_in_line_of", condition=models.Q(state="HELD")),
        ),
        migrations.AddIndex(
            "outboxmessage",
            models.Index(fields=["queue", "id"], name="message_in_place", condition=models.Q(place=True)),
        ),
    ]
