"""The inbox: whose work it is, how much of it, and one page of it."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Q

from tasks_ui import words
from tasks_ui.words import Sign
from workflows.engine.lifecycle import OPEN_HUMAN_TASK
from workflows.models import HumanTask, Person

SIZE = 30
_CAP = 100
_LABELS = {
    "mine": "Mine",
    "claimable": "To claim",
    "overdue": "Overdue",
    "nobody": "Nobody's",
    "all": "All open",
    "done": "Done",
}


@dataclass(frozen=True, slots=True)
class View:
    """One tab: its name in the address, its label, and how much it holds ("" for nothing)."""

    name: str
    label: str
    count: str


@dataclass(frozen=True, slots=True)
class Item:
    """One human task in the list."""

    id: uuid.UUID
    title: str
    reference: str
    workflow: str
    component: str
    holder: str | None
    yours: bool
    assigned_to: str | None
    due_at: dt.datetime | None
    closed_at: dt.datetime | None
    is_open: bool
    sign: Sign
    sequence: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some items, and the cursor that leads on."""

    items: Sequence[Item]
    more: str | None


def names_for(person: Person) -> list[str]:
    """This will give the views that the person has: operators and auditors see everybody's work, too."""
    names = ["mine", "claimable", "overdue", "done"]
    if person.is_operator or person.is_auditor:
        names[2:2] = ["all", "nobody"]
    return names


def views(person: Person, *, now: dt.datetime) -> list[View]:
    """This will give the tabs with their counts; counting stops at a hundred."""
    return [
        View(name, _LABELS[name], "" if name == "done" else _few(rows_of(person, name, now=now)))
        for name in names_for(person)
    ]


def rows_of(person: Person, view: str, *, now: dt.datetime) -> Any:
    """This will give the human tasks of a view, in no order yet."""
    tasks = HumanTask.objects
    match view:
        case "mine":
            return tasks.mine(person)
        case "claimable":
            return tasks.claimable(person)
        case "overdue":
            return tasks.visible_to(person).overdue(now)
        case "nobody":
            return tasks.visible_to(person).open().filter(assigned_to=None)
        case "all":
            return tasks.visible_to(person).open()
        case _:
            return tasks.done(person)


def filtered(rows: Any, *, q: str, component: str) -> Any:
    """This will keep what the visitor looks for."""
    if q:
        rows = rows.filter(
            Q(title__icontains=q)
            | Q(instance__business_ref_no__icontains=q)
            | Q(instance__workflow_name__icontains=q)
            | Q(instance__business_status__icontains=q)
        )
    return rows.filter(instance__component_name=component) if component else rows


def page_of(rows: Any, person: Person, *, view: str, after: str | None = None) -> Page:
    """This will take one page: what is due first, then the oldest; decided tasks newest first."""
    mark = _read(after)
    if view == "done":
        if mark is not None:
            rows = rows.filter(Q(closed_at__lt=mark[0]) | Q(closed_at=mark[0], pk__gt=mark[2]))
        ordered = rows.order_by("-closed_at", "pk")
    else:
        if mark is not None:
            due, created, key = mark
            later = Q(due_at=due, created_at__gt=created) | Q(due_at=due, created_at=created, pk__gt=key)
            rows = rows.filter(later | Q(due_at__gt=due) | Q(due_at=None) if due is not None else later)
        ordered = rows.order_by(F("due_at").asc(nulls_last=True), "created_at", "pk")
    found = list(ordered.select_related("instance")[: SIZE + 1])
    more = len(found) > SIZE
    found = found[:SIZE]
    return Page([item(task, person) for task in found], _write(found[-1], view) if more else None)


def item(task: HumanTask, person: Person) -> Item:
    """This will give a human task as the list shows it."""
    return Item(
        id=task.pk,
        title=words.readable(task.title),
        reference=task.instance.business_ref_no,
        workflow=task.instance.workflow_name,
        component=task.instance.component_name,
        holder=task.claimed_by,
        yours=task.claimed_by == person.username,
        assigned_to=task.assigned_to,
        due_at=task.due_at,
        closed_at=task.closed_at,
        is_open=task.state in OPEN_HUMAN_TASK,
        sign=words.task_sign(task.state, "HUMAN", task.claimed_by),
        sequence=task.instance.last_sequence,
    )


def _few(rows: Any) -> str:
    found = len(rows.order_by().values_list("pk")[:_CAP])
    return "" if not found else f"{_CAP - 1}+" if found == _CAP else str(found)


def _write(task: HumanTask, view: str) -> str:
    first = task.closed_at if view == "done" else task.due_at
    mark = [first.isoformat() if first else None, task.created_at.isoformat(), str(task.pk)]
    return base64.urlsafe_b64encode(json.dumps(mark).encode()).decode().rstrip("=")


def _read(cursor: str | None) -> tuple[dt.datetime | None, dt.datetime, uuid.UUID] | None:
    if not cursor or len(cursor) > 400:
        return None
    try:
        first, created, key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return dt.datetime.fromisoformat(first) if first else None, dt.datetime.fromisoformat(created), uuid.UUID(key)
    except (binascii.Error, ValueError, TypeError, AttributeError):
        return None
