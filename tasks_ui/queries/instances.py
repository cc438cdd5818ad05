"""The list of instances: filters of the address, rows as plain values."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from tasks_ui import times, words
from tasks_ui.queries import found_by
from tasks_ui.queries.counts import HEALTHS
from tasks_ui.words import Sign
from workflows.conf import settings
from workflows.engine.lifecycle import InstanceState, TaskState
from workflows.models import (
    Deadline,
    DeadlineKind,
    Person,
    TaskInstance,
    WorkflowInstance,
    WorkflowTemplate,
)
from workflows.runtime import searching
from workflows.runtime.searching import Looked, Wanted

ORDERINGS = {
    "-created_at": "Newest first",
    "created_at": "Oldest first",
    "-updated_at": "Last event first",
    "updated_at": "Longest quiet first",
    "business_ref_no": "By reference",
    "-business_ref_no": "By reference, backwards",
}
_LABELS = {
    "state": "State",
    "q": "Contains",
    "workflow_name": "Workflow",
    "component_name": "Component",
    "version": "Version",
    "business_status": "Business status",
    "stage": "Stage",
    "created_after": "Created after",
    "created_before": "Created before",
    "has_failed_task": "A task",
}
_SHOWN = (
    "pk", "state", "health", "business_ref_no", "workflow_name", "component_name", "version", "active_stage",
    "business_status", "created_at", "updated_at", "finished_at", "last_sequence",
)  # fmt: skip
_STATES = {state.value for state in InstanceState}


@dataclass(frozen=True, slots=True)
class Filters:
    """What the address asks for; what it says wrongly is in `faults` and filters nothing."""

    values: Mapping[str, str]
    wanted: Mapping[str, Wanted] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    health: str = ""
    ordering: str = "-created_at"

    @property
    def chips(self) -> list[tuple[str, str, str]]:
        """This will name each filter: parameter, label, value."""
        return [
            (name, found_by.label(wanted), found_by.shown(wanted))
            if (wanted := self.wanted.get(name))
            else (name, _LABELS[name], _shown(name, value))
            for name, value in self.values.items()
        ]


@dataclass(frozen=True, slots=True)
class Row:
    """One instance in a list."""

    id: uuid.UUID
    sign: Sign
    reference: str
    workflow: str
    component: str
    version: int
    stage: str
    business_status: str | None
    waits_for: str
    attempt: int | None
    age: dt.timedelta
    created_at: dt.datetime
    updated_at: dt.datetime
    sequence: int


def read_filters(asked: Mapping[str, str]) -> Filters:
    """This will read the filters of an address."""
    values: dict[str, str] = {}
    faults: list[str] = []
    for name in _LABELS:
        value = asked.get(name, "").strip()[:200].replace("\0", "")
        if not value:
            continue
        if fault := _fault(name, value):
            faults.append(fault)
        else:
            values[name] = value
    wanted, wrong = found_by.read(asked)
    values |= {name: one.value for name, one in wanted.items()}
    health = asked.get("health", "")
    ordering = asked.get("ordering", "")
    return Filters(
        values=values,
        wanted=wanted,
        faults=(*faults, *wrong),
        health=health if health in HEALTHS else "",
        ordering=ordering if ordering in ORDERINGS else "-created_at",
    )


def filtered(person: Person, filters: Filters, looked: Iterable[Looked], *, in_order: bool = True) -> QuerySet[Any]:
    """This will give the instances that the person may see and the filters keep, whatever their health.

    `looked` is what there is for the search fields; without `in_order` the rows are only to be counted.
    """
    rows: QuerySet[Any] = WorkflowInstance.objects.visible_to(person)
    for name, value in filters.values.items():
        match name:
            case "state":
                rows = rows.filter(state__in=value.split(","))
            case "q":
                rows = rows.filter(_containing(value))
            case "stage":
                rows = rows.filter(active_stage=value)
            case "version":
                rows = rows.filter(version=int(value))
            case "created_after":
                rows = rows.filter(created_at__gte=_moment(value))
            case "created_before":
                rows = rows.filter(created_at__lt=_moment(value))
            case "has_failed_task":
                rows = rows.filter(failed_tasks__gt=0) if value == "true" else rows.filter(failed_tasks=0)
            case _ if name not in filters.wanted:
                rows = rows.filter(**{name: value})
    return searching.kept(rows, looked, in_order=in_order)


def countable(person: Person, filters: Filters, looked: Sequence[Looked]) -> QuerySet[Any]:
    """This will give the same instances to be counted up to the cap; in no order, and perhaps no more than are counted.

    Where one search field is the only filter, the index alone says which those are.
    """
    only = looked[0].rows if len(looked) == 1 == len(filters.values) and person.reads_everything else ()
    if len(only) == 1:
        return WorkflowInstance.objects.filter(pk__among=only[0][: settings.COUNT_CAP])
    return filtered(person, filters, looked, in_order=False)


def of_health(rows: QuerySet[Any], health: str) -> QuerySet[Any]:
    """This will keep those of a health; "" keeps all."""
    return rows.filter(health=health) if health else rows


def as_rows(instances: Iterable[Any], *, now: dt.datetime) -> list[Row]:
    """This will make rows of instances: one or two more queries, however many there are."""
    instances = list(instances)
    waits = _waits({one.pk: one.state for one in instances if one.finished_at is None}, now=now)
    return [_row(one, *waits.get(one.pk, ("", None)), now=now) for one in instances]


def slim(rows: QuerySet[Any]) -> QuerySet[Any, Any]:
    """This will read only what lists show, as plain tuples (contexts may be large)."""
    return rows.values_list(*_SHOWN, named=True)


def choices() -> dict[str, list[str]]:
    """This will name what can be filtered by: workflows and components that have templates."""
    names = WorkflowTemplate.objects.order_by().values_list("workflow_name", "component_name").distinct()[:500]
    return {
        "workflows": sorted({workflow for workflow, _ in names}),
        "components": sorted({component for _, component in names}),
    }


def _row(one: Any, waits_for: str, attempt: int | None, *, now: dt.datetime) -> Row:
    return Row(
        id=one.pk,
        sign=words.instance_sign(one.state, one.health),
        reference=one.business_ref_no,
        workflow=one.workflow_name,
        component=one.component_name,
        version=one.version,
        stage=one.active_stage,
        business_status=one.business_status,
        waits_for=waits_for,
        attempt=attempt,
        age=(one.finished_at or now) - one.created_at,
        created_at=one.created_at,
        updated_at=one.updated_at,
        sequence=one.last_sequence,
    )


_OPEN = (
    TaskState.FAILED, TaskState.COMPENSATION_FAILED, TaskState.WAITING, TaskState.COMPENSATING,
    TaskState.STARTED, TaskState.SCHEDULED,
)  # fmt: skip


def _waits(states: Mapping[uuid.UUID, str], *, now: dt.datetime) -> dict[uuid.UUID, tuple[str, int | None]]:
    if not states:
        return {}
    tasks = TaskInstance.objects.filter(instance__in=list(states), state__in=_OPEN).values(
        "instance_id", "position", "task_name", "task_type", "state", "attempt", "queue",
        "assigned_to", "claimed_by", "due_at", "error",
    )[:2000]  # fmt: skip
    by_instance: dict[uuid.UUID, list[dict[str, Any]]] = defaultdict(list)
    for task in tasks:
        # While the instance runs, what has failed in it is what it goes on without.
        if task["state"] != TaskState.FAILED or states[task["instance_id"]] != InstanceState.RUNNING:
            by_instance[task["instance_id"]].append(dict(task))
    pausing = [task["instance_id"] for task in tasks if task["state"] == TaskState.WAITING]
    retries = _retries(pausing) if pausing else {}
    result = {}
    for instance, its in by_instance.items():
        first = min(its, key=lambda task: _OPEN.index(task["state"]))
        text = _wait(first, retries.get((instance, first["position"])), now=now)
        same = sum(task["state"] == first["state"] for task in its) - 1
        result[instance] = (f"{text}, {same} more" if same else text, first["attempt"])
    return result


def _retries(ids: list[uuid.UUID]) -> dict[tuple[uuid.UUID, int | None], dt.datetime]:
    due = Deadline.objects.filter(instance__in=ids, kind=DeadlineKind.RETRY)
    return {(one, position): at for one, position, at in due.values_list("instance_id", "position", "due_at")[:2000]}


def _wait(task: Mapping[str, Any], retry_at: dt.datetime | None, *, now: dt.datetime) -> str:
    title = words.readable(task["task_name"])
    match task["state"]:
        case TaskState.FAILED | TaskState.COMPENSATION_FAILED:
            error = task["error"] or {}
            said = str(error.get("message") or error.get("code") or "failed")
            return f"{title}: {said[:80]}"
        case TaskState.WAITING if retry_at:
            left = retry_at - now
            return f"{title}: next try {'in ' + times.length(left) if left > dt.timedelta(seconds=1) else 'now'}"
        case TaskState.WAITING:
            return f"{title}: a signal"
        case TaskState.COMPENSATING:
            return f"Undoing {title[:1].lower()}{title[1:]}"
        case _ if task["task_type"] == "HUMAN":
            who = task["claimed_by"] or task["assigned_to"]
            holder = words.readable(who) if who and not task["claimed_by"] else who or "Nobody can do it"
            due = f" · due {times.moment(task['due_at'], now=now, seconds=False)}" if task["due_at"] else ""
            return f"{holder}{due}"
        case _:
            return task["queue"] or title


def _containing(value: str) -> Q:
    return (
        Q(business_ref_no__icontains=value)
        | Q(workflow_name__icontains=value)
        | Q(component_name__icontains=value)
        | Q(business_status__icontains=value)
    )


def _fault(name: str, value: str) -> str:
    match name:
        case "state" if not set(value.split(",")) <= _STATES:
            return f"There is no state “{value}”."
        case "version" if not (value.isascii() and value.isdigit() and len(value) < 9):
            return f"“{value}” is no version number."
        case "created_after" | "created_before" if _moment(value) is None:
            return f"“{value}” is no date."
        case "has_failed_task" if value not in ("true", "false"):
            return "has_failed_task is true or false."
        case _:
            return ""


def _moment(value: str) -> dt.datetime | None:
    try:
        moment = parse_datetime(value)
        if moment is None and (day := parse_date(value)):
            moment = dt.datetime.combine(day, dt.time())
    except ValueError:
        return None
    if moment is not None and timezone.is_naive(moment):
        moment = timezone.make_aware(moment)
    return moment


def _shown(name: str, value: str) -> str:
    match name:
        case "state":
            return ", ".join(words.instance_sign(state).word for state in value.split(","))
        case "has_failed_task":
            return "has failed" if value == "true" else "has not failed"
        case _:
            return value
