"""Gauges by names of the site's own: what runs by template and stage, lines of queues, plugins of activities.

Names are templates', stages', queues' and activities', which people publish; of each kind MOST_NAMES are told apart,
those with the most, and the rest is `(other)`. What runs is found by the index on states, at most MOST_RUNNING of it.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from django.db import connection
from prometheus_client.core import GaugeMetricFamily

from workflows.runtime import limits

MOST_NAMES = 200
MOST_RUNNING = 50_000
OTHER = "(other)"

_STATES = "i.state = 'RUNNING' OR i.state = 'FAILED' OR i.state = 'SUSPENDED'"
_RUNNING = """SELECT few.component_name, few.workflow_name, few.active_stage, COUNT(*)
FROM (SELECT i.component_name, i.workflow_name, i.active_stage FROM workflows_workflowinstance i
  WHERE i.state = 'RUNNING' LIMIT %s) few GROUP BY few.component_name, few.workflow_name, few.active_stage"""
_PLUGINS = f"""SELECT p.activity, COUNT(CASE WHEN t.state IN ('SCHEDULED', 'STARTED', 'WAITING') THEN 1 END),
  COUNT(CASE WHEN t.state = 'FAILED' THEN 1 END)
FROM (SELECT i.id FROM workflows_workflowinstance i WHERE {_STATES} LIMIT %s) few
  JOIN workflows_pluginrun p ON p.instance_id = few.id
  JOIN workflows_taskinstance t ON t.instance_id = p.instance_id AND t.position = p.position
GROUP BY p.activity"""  # noqa: S608 (constants of our own)


def measure(now: dt.datetime) -> Iterator[GaugeMetricFamily]:
    """This will measure them: three statements."""
    yield from _running()
    yield from _lines(now)
    yield from _plugins()


def _running() -> Iterator[GaugeMetricFamily]:
    by_template: Counter[tuple[str, ...]] = Counter()
    by_stage: Counter[tuple[str, ...]] = Counter()
    for component, workflow, stage, count in _ask(_RUNNING, [MOST_RUNNING]):
        by_template[component, workflow] += count
        by_stage[component, workflow, stage or ""] += count
    labels = ["component", "workflow"]
    about = f"Instances that are RUNNING, by template; {MOST_RUNNING} are looked at."
    yield _family("orchestrator_workflows_running", about, labels, by_template)
    about = f"Instances that are RUNNING, by template and active stage; {MOST_RUNNING} are looked at."
    yield _family("orchestrator_stage_workflows_running", about, [*labels, "stage"], by_stage)


def _lines(now: dt.datetime) -> Iterator[GaugeMetricFamily]:
    figures: Mapping[str, tuple[str, Any]] = {
        "line": ("Attempts that wait in the line of a queue with limits; capped.", lambda one: one.line),
        "line_oldest_seconds": ("Age of the oldest attempt in the line.", lambda one: _age(one.oldest_at, now)),
        "in_flight": ("Attempts that are sent and not answered, where that is limited.", lambda one: one.in_flight),
        "max_in_flight": ("The limit on what is in flight.", lambda one: one.max_in_flight),
        "max_per_second": ("The limit on messages a second.", lambda one: one.max_per_second),
    }
    standings = sorted(limits.standings().items(), key=lambda item: -item[1].line)[:MOST_NAMES]
    for name, (about, of) in figures.items():
        family = GaugeMetricFamily(f"orchestrator_queue_{name}", about, labels=["queue"])
        for queue, standing in standings:
            if (value := of(standing)) is not None:
                family.add_metric([queue], value)
        yield family


def _plugins() -> Iterator[GaugeMetricFamily]:
    rows = _ask(_PLUGINS, [MOST_RUNNING])
    about = "Plugins that have not answered yet, by activity; of instances that have not ended."
    in_progress: Counter[tuple[str, ...]] = Counter({(activity,): count for activity, count, _ in rows})
    yield _family("orchestrator_plugins_in_progress", about, ["activity"], in_progress)
    about = "Plugins whose attempts are spent, by activity; of instances that have not ended."
    in_error: Counter[tuple[str, ...]] = Counter({(activity,): count for activity, _, count in rows})
    yield _family("orchestrator_plugins_in_error", about, ["activity"], in_error)


def _family(name: str, about: str, labels: list[str], counts: Counter[tuple[str, ...]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, about, labels=labels)
    most = counts.most_common(MOST_NAMES)
    for key, count in most:
        family.add_metric(list(key), count)
    if rest := sum(counts.values()) - sum(count for _, count in most):
        family.add_metric([OTHER] * len(labels), rest)
    return family


def _age(moment: dt.datetime | None, now: dt.datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def _ask(sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()
