"""A stage of 5,000 parallel tasks: an event of it may cost at most twice what an event of a five-task stage costs."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import tests.benchmarks.as_site  # noqa: F401
from workflows.models import LoggedEvent, OutboxMessage, WorkflowInstance
from workflows.runtime.handling import handle
from workflows.runtime.inbound import read_event
from workflows.runtime.replay import check_history

WIDE, NARROW = 5000, 5
BLOCK = 50


def template(width: int) -> dict[str, Any]:
    """Return a workflow whose one stage has that many parallel tasks, and a join that waits for all of them."""
    names = [f"part_{number}" for number in range(width)]
    parts = [{"task_name": name, "task_type": "SERVICE", "task_queue": "parts"} for name in names]
    join = {"task_name": "join", "task_type": "SERVICE", "task_queue": "joins", "parent_task": names}
    stages = [{"stage_name": "WORK", "stage_order": 1, "tasks": [*parts, join]}]
    return {"workflow_name": f"{width} parts", "component_name": f"PARTS-{width}", "stages": stages}


TEMPLATES = (template(WIDE), template(NARROW))


def run(*, tasks: int) -> dict[str, Any]:
    """Answer tasks of the wide stage and of narrow ones in turn; return what an event costs in each, in seconds."""
    _start(NARROW, "warm-up")
    _complete_all(NARROW, "warm-up")
    begun = time.perf_counter()
    _start(WIDE, "wide")
    started = time.perf_counter() - begun
    wide: list[float] = []
    narrow: list[float] = []
    groups = 0
    for first in range(0, tasks, BLOCK):
        block = range(first, min(first + BLOCK, tasks))
        wide += _timed(WIDE, [("wide", f"part_{number}") for number in block])
        references = [f"narrow-{groups + number}" for number in range(-(-len(block) // NARROW))]
        groups += len(references)
        for reference in references:
            _start(NARROW, reference)
        # Not the join: the wide stage has one for all of its tasks.
        narrow += _timed(NARROW, [(reference, f"part_{part}") for reference in references for part in range(NARROW)])
    _check(tasks)
    return {
        "tasks": tasks,
        "wide": statistics.median(wide),
        "narrow": statistics.median(narrow),
        "start": started,
    }


def _timed(width: int, tasks: Sequence[tuple[str, str]]) -> list[float]:
    took = []
    for reference, task in tasks:
        begun = time.perf_counter()
        _complete(width, reference, task)
        took.append(time.perf_counter() - begun)
    return took


def _start(width: int, reference: str) -> None:
    _send(width, reference, event_name="StartWorkflow")


def _complete(width: int, reference: str, task: str) -> None:
    _send(width, reference, event_name="TaskCompleted", stage_name="WORK", task_name=task)


def _complete_all(width: int, reference: str) -> None:
    for name in (*(f"part_{number}" for number in range(width)), "join"):
        _complete(width, reference, name)


def _send(width: int, reference: str, **more: Any) -> None:
    said = {"business_ref_no": reference, "component_name": f"PARTS-{width}", **more}
    (answer,) = handle(read_event(said, actor="benchmark"))
    if answer.outcome != "applied":
        raise AssertionError(f"{said} was answered {answer}")


def _check(done: int) -> None:
    wide = WorkflowInstance.objects.get(business_ref_no="wide")
    joins = wide.messages.filter(queue="joins").count()
    assert joins == (1 if done == WIDE else 0), f"the join was sent {joins} times"
    if done == WIDE:
        _complete(WIDE, "wide", "join")
        wide.refresh_from_db()
        assert wide.state == "COMPLETED", f"the wide instance is {wide.state}"
        assert OutboxMessage.objects.filter(instance=wide).count() == WIDE + 1
        assert LoggedEvent.objects.filter(instance=wide).count() == 2 * (WIDE + 1) + 4
    else:
        assert LoggedEvent.objects.filter(instance=wide, event="TaskCompleted").count() == done
    for instance in (wide, *WorkflowInstance.objects.filter(component_name=f"PARTS-{NARROW}")[:10]):
        found = check_history(instance)
        assert found == [], f"{instance}: {found}"


def main(arguments: Sequence[str]) -> None:
    """Run it in this process and print it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("figure", choices=["run"])
    parser.add_argument("--tasks", type=int, default=WIDE)
    print(json.dumps(run(tasks=parser.parse_args(arguments).tasks)))


if __name__ == "__main__":
    main(sys.argv[1:])
