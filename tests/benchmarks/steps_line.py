"""A hundred steps in a line, each of which writes a row, beside a plain loop that does the same writes.

The loop does what has to be done for a step and nothing else, one transaction for each: it locks the instance, writes
the step's own row, moves the two tasks and the instance, and adds two events, all by statements of SQL in one
connection. It decides nothing, checks nothing, and knows beforehand what comes next.
"""

import argparse
import datetime as dt
import json
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

import tests.benchmarks.as_site  # noqa: F401  # isort: skip
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.utils import timezone

from workflows.engine.commands import StartWorkflow
from workflows.models import LoggedEvent, TaskInstance, WorkflowInstance
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.handling import handle
from workflows.runtime.publishing import publish_template
from workflows.runtime.replay import check_history
from workflows.steps import Chain, begin, step, workflow
from workflows.steps.links import chain
from workflows.steps.runner import StepRunner

STEPS = 100
AT_ONCE = 50


@step("Write a row", name="benchmarks.write")
def write(state: dict[str, Any], task: Any) -> dict[str, Any]:
    """Write a row of one's own, and change the state."""
    Group.objects.create(name=f"{task.instance_id}/{task.task_name}")
    return {"last": task.task_name}


def line() -> Chain:
    """Give the steps in a line."""
    return begin >> chain([write] * STEPS)


LINE = workflow("Line", component="LINE")(line)


def product(*, instances: int) -> dict[str, Any]:
    """Have the runner go through all instances."""
    publish_template(dict(LINE.template), by="benchmark")
    start(range(-1, 0))
    runner = StepRunner(now=timezone.now)
    _run(runner)
    start(range(1, instances + 1))
    begun = time.monotonic()
    _run(runner)
    seconds = time.monotonic() - begun
    done = instances + 1
    _same(WorkflowInstance.objects.filter(state="COMPLETED").count(), done)
    _same(Group.objects.filter(name__contains="/").count(), done * STEPS)
    _same(TaskInstance.objects.filter(state="COMPLETED").count(), done * STEPS)
    _same(check_history(WorkflowInstance.objects.order_by("id")[0]), [])
    return {"instances": instances, "seconds": seconds}


def start(numbers: Sequence[int]) -> None:
    """Start instances."""
    for first in range(0, len(numbers), AT_ONCE):
        some = [f"R-{number}" for number in numbers[first : first + AT_ONCE]]
        handle(*(Asked(StartWorkflow(one), Reference("LINE", one, "Line"), actor="benchmark") for one in some))


def _run(runner: StepRunner) -> None:
    while WorkflowInstance.objects.filter(state="RUNNING").exists():
        while runner.run_due() == 0:
            pass


def loop(*, instances: int) -> dict[str, Any]:
    """Do the same writes in a plain loop."""
    publish_template(dict(LINE.template), by="benchmark")
    start(range(1, instances + 1))
    keys = list(WorkflowInstance.objects.order_by("id").values_list("id", flat=True))
    names = [task["task_name"] for task in LINE.template["stages"][0]["tasks"]]
    begun = time.monotonic()
    for number, name in enumerate(names):
        for key in keys:
            _write(key, number, name, names[number + 1] if number + 1 < STEPS else None)
    seconds = time.monotonic() - begun
    _same(Group.objects.filter(name__contains="/").count(), instances * STEPS)
    _same(TaskInstance.objects.filter(state="COMPLETED").count(), instances * STEPS)
    return {"instances": instances, "seconds": seconds}


_LOCK = " FOR NO KEY UPDATE" if connection.vendor == "postgresql" else ""  # On SQLite one transaction writes at a time.


def _write(instance: uuid.UUID, number: int, name: str, following: str | None) -> None:
    now = timezone.now()
    key = WorkflowInstance._meta.pk.get_db_prep_value(instance, connection)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT last_sequence FROM workflows_workflowinstance WHERE id = %s{_LOCK}", [key])
        (sequence,) = cursor.fetchone()
        cursor.execute("INSERT INTO auth_group (name) VALUES (%s)", [f"{instance}/{name}"])
        moved = "UPDATE workflows_taskinstance SET state = %s, {} = %s WHERE instance_id = %s AND position = %s"
        cursor.execute(moved.format("finished_at"), ["COMPLETED", now, key, number])
        _event(cursor, key, sequence + 1, "TaskCompleted", name, now)
        if following is not None:
            cursor.execute(moved.format("scheduled_at"), ["SCHEDULED", now, key, number + 1])
            _event(cursor, key, sequence + 2, "TaskScheduled", following, now)
        cursor.execute(
            "UPDATE workflows_workflowinstance SET last_sequence = %s, updated_at = %s, context = %s WHERE id = %s",
            [sequence + 2, now, json.dumps({"last": name}), key],
        )


def _event(cursor: Any, key: Any, sequence: int, event: str, task: str, now: dt.datetime) -> None:
    cursor.execute(
        "INSERT INTO workflows_loggedevent (instance_id, sequence, event, shape, occurred_at, actor, cause, stage_name,"
        " task_name, attempt, data) VALUES (%s, %s, %s, 1, %s, 'step', NULL, 'STEPS', %s, 1, %s)",
        [key, sequence, event, now, task, json.dumps({"output": {"last": task}})],
    )


def _same(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{found}, not {wanted}; there are {LoggedEvent.objects.count()} events")


def main(arguments: Sequence[str]) -> None:
    """Run one of the two in this process and print it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("figure", choices=["product", "loop"])
    parser.add_argument("--instances", type=int, default=200)
    chosen = parser.parse_args(arguments)
    print(json.dumps({"product": product, "loop": loop}[chosen.figure](instances=chosen.instances)))


if __name__ == "__main__":
    main(sys.argv[1:])
