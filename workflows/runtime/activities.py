"""Activities as people look at them: which there are, who uses them, who would take part, how their runs stand."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connection

from workflows.activities.filters import Attributes, compile_policy, reason_against
from workflows.activities.ordering import in_order
from workflows.activities.plugin import DELIVERIES as DELIVERIES
from workflows.activities.plugin import delivery_of as delivery_of
from workflows.conf import settings
from workflows.definitions.reading import activity_of
from workflows.definitions.schema import Json
from workflows.engine.plugins import Phase
from workflows.models import Activity, Plugin, WorkflowTemplate
from workflows.runtime.sql import moment_of
from workflows.runtime.template_facts import TemplateFacts

_NEWEST = 500
"""Of so many workflows, those published last, the activities are known without a registration."""

_LEAST_COUNTED = 200
_COUNT = """SELECT %s AS name, COUNT(*), SUM(CASE WHEN t.state IN ('SCHEDULED', 'STARTED', 'WAITING') THEN 1 END),
  SUM(CASE WHEN t.state = 'FAILED' AND i.state NOT IN ('COMPLETED', 'ROLLED_BACK', 'CANCELLED') THEN 1 END)
FROM (SELECT r.instance_id, r.position FROM workflows_pluginrun r WHERE r.activity = %s
    ORDER BY r.frozen_at DESC LIMIT %s) newest
  JOIN workflows_taskinstance t ON t.instance_id = newest.instance_id AND t.position = newest.position
  JOIN workflows_workflowinstance i ON i.id = newest.instance_id"""

_OPEN = """FROM (SELECT r.* FROM workflows_pluginrun r WHERE r.activity = %s ORDER BY r.frozen_at DESC LIMIT %s) newest
  JOIN workflows_taskinstance t ON t.instance_id = newest.instance_id AND t.position = newest.position
  JOIN workflows_workflowinstance i ON i.id = newest.instance_id
WHERE t.state IN ('SCHEDULED', 'STARTED', 'WAITING')
  OR t.state = 'FAILED' AND i.state NOT IN ('COMPLETED', 'ROLLED_BACK', 'CANCELLED')"""
_STANDING = f"""SELECT newest.name, SUM(CASE t.state WHEN 'SCHEDULED' THEN 1 ELSE 0 END),
  SUM(CASE WHEN t.state IN ('STARTED', 'WAITING') THEN 1 ELSE 0 END), SUM(CASE t.state WHEN 'FAILED' THEN 1 ELSE 0 END)
{_OPEN} GROUP BY newest.name"""
_WORK = f"""SELECT i.id, i.business_ref_no, t.stage_name, t.task_name, newest.name, newest.phase, newest.mandatory,
  t.state, t.offered_at {_OPEN} ORDER BY newest.frozen_at DESC, t.position LIMIT %s"""


@dataclass(frozen=True, slots=True)
class Use:
    """A stage of the newest version of a workflow that runs the activity."""

    template_id: uuid.UUID
    component_name: str
    workflow_name: str
    version: int
    stage_name: str


@dataclass(frozen=True, slots=True)
class Runs:
    """How the plugins of an activity stand in instances; `counted`: all of them were looked at."""

    in_progress: int = 0
    in_error: int = 0
    counted: bool = True


class Standing(NamedTuple):
    """How one plugin stands: work that it was sent, work that it has begun, work that failed for good."""

    waiting: int
    at_work: int
    in_error: int


class Work(NamedTuple):
    """What a plugin has to do in one instance, or has failed to."""

    instance_id: uuid.UUID
    reference: str
    stage_name: str
    task_name: str
    plugin: str
    phase: str
    mandatory: bool
    state: str
    since: dt.datetime | None


class Judged(NamedTuple):
    """A plugin, and why it would not take part ("" where it would)."""

    plugin: Plugin
    reason: str


def uses() -> Mapping[str, list[Use]]:
    """This will say which activities the newest versions of workflows run, and where."""
    newest = WorkflowTemplate.objects.latest().order_by("-created_at")
    rows = newest.values_list("pk", "component_name", "workflow_name", "version")[:_NEWEST]
    stages = _stages(row[0] for row in rows)
    found: defaultdict[str, list[Use]] = defaultdict(list)
    for key, component, workflow, version in rows:
        for activity, stage in stages[key]:
            found[activity].append(Use(key, component, workflow, version, stage))
    return found


def names() -> list[str]:
    """This will name the activities that workflows run or that somebody has registered a plugin for."""
    return sorted({*uses(), *Activity.objects.values_list("name", flat=True)})


def plugins_of(activity: str) -> list[Plugin]:
    """This will give what is registered for an activity, in the order in which it runs."""
    rows = {row.name: row for row in Plugin.objects.registered().filter(activity__name=activity)}
    return [rows[said["name"]] for said in in_order([row.said for row in rows.values()])]


def count_plugins(activities: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    """This will count the plugins of some activities by their phases."""
    counts = {name: dict.fromkeys(map(str, Phase), 0) for name in activities}
    rows = Plugin.objects.registered().filter(activity__name__in=activities).order_by()
    for name, said in rows.values_list("activity__name", "said"):
        counts[name][said["phase"]] += 1
    return counts


def count_runs(activities: Sequence[str]) -> Mapping[str, Runs]:
    """This will count the plugins of some activities that run, and those that have failed: of the newest runs of each,
    at most so many.
    """
    found = {name: Runs() for name in activities}
    if not activities:
        return found
    cap = max(_LEAST_COUNTED, int(settings.COUNT_CAP) // len(activities))
    with connection.cursor() as cursor:
        values = [value for name in activities for value in (name, name, cap)]
        cursor.execute(" UNION ALL ".join(f"SELECT * FROM ({_COUNT}) one" for _ in activities), values)  # noqa: S608
        for name, total, in_progress, in_error in cursor.fetchall():
            found[name] = Runs(int(in_progress or 0), int(in_error or 0), total < cap)
    return found


def standing(activity: str) -> Mapping[str, Standing]:
    """This will count by plugin what waits, what is at work and what has failed, of the newest runs."""
    with connection.cursor() as cursor:
        cursor.execute(_STANDING, [activity, int(settings.COUNT_CAP)])
        return {name: Standing(int(one), int(two), int(three)) for name, one, two, three in cursor.fetchall()}


def open_work(activity: str, *, most: int) -> list[Work]:
    """This will list what plugins have to do and what they have failed to do, the newest first."""
    with connection.cursor() as cursor:
        cursor.execute(_WORK, [activity, int(settings.COUNT_CAP), most])
        rows = cursor.fetchall()
    return [
        Work(_read_id(key), ref, stage, task, name, phase, bool(mandatory), state, moment_of(at))
        for key, ref, stage, task, name, phase, mandatory, state, at in rows
    ]


def _read_id(key: Any) -> uuid.UUID:
    return key if isinstance(key, uuid.UUID) else uuid.UUID(hex=key)


def would_take_part(activity: str, attributes: Attributes) -> list[Judged]:
    """This will say of each plugin whether it would take part in an instance with these attributes, and why not."""
    judged = []
    for row in plugins_of(activity):
        policy = row.said["filter"]
        judged.append(Judged(row, "" if policy is None else reason_against(compile_policy(policy), attributes)))
    return judged


def _read(template: Mapping[str, Json]) -> Sequence[tuple[str, str]]:
    return [
        (activity, stage["stage_name"])
        for stage in sorted(template["stages"], key=lambda stage: stage["stage_order"])
        if (activity := activity_of(stage)) is not None
    ]


_stages = TemplateFacts(_read).of
"""Gives the activities of versions, each with its stage."""
