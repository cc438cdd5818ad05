"""Write the conditions on states as `a OR b`, not `IN (a, b)`: SQLite makes a table of a list for each row it writes.

On a large site each table is read once, under a lock, to see that its rows are as the new condition says.
"""

from functools import reduce
from operator import or_

from django.db import migrations, models

_OF_A_TASK = (
    "PENDING", "SCHEDULED", "STARTED", "WAITING", "COMPLETED", "FAILED", "SKIPPED", "CANCELLED", "COMPENSATING",
    "COMPENSATED", "COMPENSATION_FAILED",
)  # fmt: skip
_OF_AN_INSTANCE = (
    "RUNNING", "FAILED", "SUSPENDED", "ROLLING_BACK", "ROLLED_BACK", "ROLLBACK_FAILED", "COMPLETED", "CANCELLED",
)  # fmt: skip
_CHECKS = [
    ("humantask", "human_task_state_is_known", _OF_A_TASK),
    ("outboxmessage", "message_state_is_known", ("PENDING", "SENT", "FAILED")),
    ("quarantinedmessage", "quarantine_state_is_known", ("OPEN", "RESUBMITTED", "DISCARDED")),
    ("stageinstance", "stage_state_is_known", ("PENDING", "ACTIVE", "COMPLETED", "SKIPPED", "CANCELLED")),
    ("taskinstance", "task_state_is_known", _OF_A_TASK),
    ("workflowinstance", "instance_state_is_known", _OF_AN_INSTANCE),
]


def _one_of(states):
    return reduce(or_, (models.Q(state=state) for state in states))


class Migration(migrations.Migration):
    dependencies = [("workflows", "0003_find_own_instances_and_endings")]

    operations = [
        *(migrations.RemoveConstraint(model, name) for model, name, _ in _CHECKS),
        *(
            migrations.AddConstraint(model, models.CheckConstraint(condition=_one_of(states), name=name))
            for model, name, states in _CHECKS
        ),
        migrations.RemoveIndex("taskinstance", "task_on_offer"),
        migrations.AddIndex(
            "taskinstance",
            models.Index(
                fields=["queue", "offered_at"],
                name="task_on_offer",
                condition=_one_of(("SCHEDULED", "STARTED", "COMPENSATING")),
            ),
        ),
    ]
