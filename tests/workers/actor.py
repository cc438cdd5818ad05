"""A process of the site that does what a test asks for, beside the workers: a line of JSON in, a line of JSON out.

Run as `python -m tests.workers.actor`.
"""

import json
import sys
import time
from collections import Counter
from typing import Any

from django.db import connection
from django.db.models import Count

from tests.benchmarks.as_site import settings  # noqa: F401  (first of all)
from workflows.engine import commands as c
from workflows.models import Deadline, LoggedEvent, OutboxMessage, Schedule, WorkflowInstance
from workflows.runtime import limits, pausing, schedules
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.handling import handle
from workflows.runtime.publishing import publish_template
from workflows.runtime.replay import check_history

_BATCH = 200


def publish(*, template: dict[str, Any]) -> None:
    publish_template(template, by="tests")


def start(*, workflow: str, refs: list[str]) -> None:
    for begin in range(0, len(refs), _BATCH):
        asked = [
            Asked(c.StartWorkflow(ref), Reference("WORKERS", ref, workflow), actor="tests")
            for ref in refs[begin : begin + _BATCH]
        ]
        assert all(answer.applied for answer in handle(*asked))


def complete(*, ref: str, stage: str = "S", task: str) -> str:
    (answer,) = handle(Asked(c.CompleteTask(stage, task), Reference("WORKERS", ref), actor="tests"))
    return str(answer.outcome)


def timed(*, refs: list[str], task: str, pause: float = 0.0) -> list[float]:
    """Complete the task of each, one transaction each, and tell the seconds that each took."""
    took = []
    for ref in refs:
        time.sleep(pause)
        began = time.perf_counter()
        assert complete(ref=ref, task=task) == "applied"
        took.append(time.perf_counter() - began)
    return took


def states() -> dict[str, int]:
    return dict(WorkflowInstance.objects.values_list("state").annotate(Count("pk")))


def state(*, ref: str) -> str:
    return str(WorkflowInstance.objects.get(business_ref_no=ref).state)


def unsent() -> int:
    return OutboxMessage.objects.exclude(state="SENT").count()


def limit(*, queue: str, max_in_flight: int | None = None, max_per_second: float | None = None) -> None:
    limits.put(queue, max_in_flight=max_in_flight, max_per_second=max_per_second, by="tests")


def let_out_at() -> list[float]:
    """Give the moments at which messages were let out of their line, in seconds; each was sent after that."""
    rows = OutboxMessage.objects.order_by("next_try_at").values_list("next_try_at", "sent_at")
    assert all(sent is not None and sent >= let_out for let_out, sent in rows)
    return [let_out.timestamp() for let_out, _ in rows]


def deadlines() -> int:
    return Deadline.objects.count()


def events(*, name: str) -> dict[str, int]:
    """Count the events of that name: how many instances have how many of them."""
    counted = LoggedEvent.objects.filter(event=name).values_list("instance").annotate(Count("pk"))
    return {str(count): instances for count, instances in Counter(count for _, count in counted).items()}


def hang_up(*, named: str) -> int:
    """End other sessions of that name in the database, as a restart of the server would."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s",
            [named],
        )
        return int(cursor.fetchone()[0])


def disagreements() -> list[str]:
    return [str(found) for instance in WorkflowInstance.objects.all() for found in check_history(instance)]


def pause() -> dict[str, Any]:
    standing = pausing.pause(by="tests", reason="A test.")
    return {"state": str(standing.state), "steps": standing.running_steps}


def standing() -> dict[str, Any]:
    found = pausing.standing()
    return {"state": str(found.state), "steps": found.running_steps}


def resume() -> None:
    pausing.resume(by="tests")


def schedule(*, name: str, workflow: str, seconds: int) -> None:
    """Start an instance every so many seconds, also more often than people may."""
    schedules.LEAST_INTERVAL = 1
    row = Schedule(name=name, component_name="WORKERS", workflow_name=workflow, reference="{moment}", context={})
    row.interval_seconds = seconds
    schedules.keep(row, by="tests")


_ACTS = {
    function.__name__: function
    for function in (
        publish,
        start,
        complete,
        limit,
        let_out_at,
        timed,
        states,
        state,
        unsent,
        deadlines,
        events,
        hang_up,
        disagreements,
        pause,
        standing,
        resume,
        schedule,
    )
}


def main() -> None:
    """Do what comes in until it ends."""
    for line in sys.stdin:
        name, given = json.loads(line)
        print(json.dumps(_ACTS[name](**given)), flush=True)


if __name__ == "__main__":
    main()
