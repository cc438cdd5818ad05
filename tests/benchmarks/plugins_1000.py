"""A thousand plugins registered with filters, of which ten match: starting the activity may cost at most twice what it
costs where only those ten are registered.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import tests.benchmarks.as_site  # noqa: F401
from workflows.models import PluginRun, TaskInstance, WorkflowInstance
from workflows.runtime.handling import handle
from workflows.runtime.inbound import read_event
from workflows.runtime.publishing import publish_template
from workflows.runtime.registering import deregister, register
from workflows.runtime.replay import check_history

MANY, FEW = 1000, 10


def template(plugins: int) -> dict[str, Any]:
    """Return a workflow that does nothing but run the activity."""
    stage = {"stage_name": "WORK", "stage_order": 1, "kind": "activity", "activity": f"work-{plugins}"}
    search = {"customer": "/customer", "amount": "/amount", "country": "/country"}
    name = f"{plugins} plugins"
    return {"workflow_name": name, "component_name": f"PLUGINS-{plugins}", "search": search, "stages": [stage]}


def policy(number: int) -> dict[str, Any]:
    """Return the filter of a plugin: of a thousand, one in a hundred lets the benchmark's instances through."""
    if number % 100 == 0:
        return {"country": ["IT"], "amount": [{"numeric": [">=", 10]}]}
    kinds: Sequence[dict[str, Any]] = (
        {"customer": [f"C-{number}"]},
        {"country": ["IT"], "amount": [{"numeric": [">", 1000 + number]}]},
        {"customer": [{"prefix": f"X{number}-"}], "country": [{"anything-but": ["DE"]}]},
        {"country": ["IT"], "vip": [True]},
    )
    return kinds[number % len(kinds)]


def run(*, tasks: int) -> dict[str, Any]:
    """Start activities of both kinds in turn; return what a start costs in each, in seconds."""
    many, few = (template(count) for count in (MANY, FEW))
    for one in (many, few):
        publish_template(one, by="benchmark")
    for number in range(MANY):
        _register(MANY, number)
    for number in range(0, MANY, MANY // FEW):
        _register(FEW, number)
    rounds = max(20, tasks // 25)
    took: dict[int, list[float]] = {MANY: [], FEW: []}
    for count in (MANY, FEW):
        _start(count, "warm-up")
    for number in range(rounds):
        for count in (MANY, FEW):
            begun = time.perf_counter()
            _start(count, f"R-{number}")
            took[count].append(time.perf_counter() - begun)
    deregister(f"work-{MANY}", "p1", by="benchmark")
    begun = time.perf_counter()
    _start(MANY, "changed")
    changed = time.perf_counter() - begun
    _check(rounds)
    return {
        "tasks": rounds,
        "many": statistics.median(took[MANY]),
        "few": statistics.median(took[FEW]),
        "changed": changed,
    }


def _register(count: int, number: int) -> None:
    said = {"name": f"p{number}", "phase": "parallel", "task_queue": f"q{number % 7}", "filter": policy(number)}
    register(f"work-{count}", said, by="benchmark")


def _start(count: int, reference: str) -> None:
    said = {"business_ref_no": reference, "component_name": f"PLUGINS-{count}", "event_name": "StartWorkflow"}
    context = {"customer": "ACME", "amount": 100, "country": "IT"}
    (answer,) = handle(read_event({**said, "context": context}, actor="benchmark"))
    if not answer.created:
        raise AssertionError(f"{said} was answered {answer}")


def _check(rounds: int) -> None:
    for count in (MANY, FEW):
        instances = WorkflowInstance.objects.filter(component_name=f"PLUGINS-{count}")
        tasks = TaskInstance.objects.filter(instance__in=instances, state="SCHEDULED").count()
        assert tasks == FEW * instances.count(), f"{tasks} tasks"
        assert instances.count() == rounds + (2 if count == MANY else 1)
        for instance in instances.order_by("id")[:5]:
            found = check_history(instance)
            assert found == [], f"{instance}: {found}"
    assert PluginRun.objects.count() == TaskInstance.objects.count()


def main(arguments: Sequence[str]) -> None:
    """Run it in this process and print it as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("figure", choices=["run"])
    parser.add_argument("--tasks", type=int, default=5000)
    print(json.dumps(run(tasks=parser.parse_args(arguments).tasks)))


if __name__ == "__main__":
    main(sys.argv[1:])
