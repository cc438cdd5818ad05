"""Two indexes for pages whose cost grew with the number of stored instances.

`human_task_assigned`: an assignee's list of instances asks which instances have tasks of theirs, decided ones too. Without
it the whole table of human tasks is read, twice a page. `instance_completed_or_failed`: the chart of the overview counts
what was completed or failed in each hour; without it every instance that moved in the last day is read. It is partial, so
that an instance enters it when it ends or fails, not with each of its events.

On a large site each takes the writes' lock for as long as it is built: some seconds for a million rows.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("workflows", "0002_append_only_log")]

    operations = [
        migrations.AddIndex(
            model_name="humantask",
            index=models.Index(fields=["assigned_to", "instance"], name="human_task_assigned"),
        ),
        migrations.AddIndex(
            model_name="workflowinstance",
            index=models.Index(
                fields=["health", "updated_at"],
                name="instance_completed_or_failed",
                condition=models.Q(health__in=["completed", "failed"]),
            ),
        ),
    ]
