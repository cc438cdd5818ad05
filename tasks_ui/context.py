"""What every page shows around itself: who is signed in, counts in the rail, the name of this site."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.db import connection

from tasks_ui.visitors import who
from workflows.conf import settings
from workflows.models import HumanTask, Person, WorkflowInstance
from workflows.runtime import pausing

_CAP = 100


def shell(request: Any, here: str = "") -> dict[str, Any]:
    """This will give the values of the shell; for strangers, only what needs no database."""
    values: dict[str, Any] = {"demo": bool(settings.DEMO), "person": None}
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return values
    person = who(request)
    return {
        **values,
        "person": person,
        # What this process knows costs nothing; how many steps run is only asked while it is paused.
        "standing": pausing.standing() if pausing.known.now() is not None else None,
        "role": _role(person),
        "sees_quarantine": person.is_operator or person.is_auditor,
        "name": user.get_full_name() or person.username,
        "inbox": _few(_waiting_for, person),
        "failed": _few(_failed, person) if person.reads_everything else "",
        "here": here or getattr(getattr(request, "resolver_match", None), "url_name", "") or "",
    }


def _waiting_for(person: Person) -> Any:
    return HumanTask.objects.mine(person).union(HumanTask.objects.claimable(person).order_by(), all=True)


def _failed(_: Person) -> Any:
    return WorkflowInstance.objects.filter(health="failed")


def _few(rows_of: Callable[[Person], Any], person: Person) -> str:
    # Counting stops early: the rail says whether there is much, not how much.
    sql, values = _statement(rows_of, person, connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        found = len(cursor.fetchall())
    return "" if not found else f"{_CAP - 1}+" if found == _CAP else str(found)


@lru_cache(maxsize=1000)
def _statement(rows_of: Callable[[Person], Any], person: Person, vendor: str) -> tuple[str, tuple[Any, ...]]:
    # Every page asks this. To write the statement takes longer than to answer it, so it is written once for a person.
    sql, values = rows_of(person).values_list("pk")[:_CAP].query.sql_with_params()
    return str(sql), tuple(values)


def _role(person: Person) -> str:
    if person.is_admin:
        return "Admin"
    if person.is_operator:
        return "Operator"
    if person.is_auditor:
        return "Auditor"
    if person.is_api_client:
        return "API client"
    return ", ".join(sorted(group.replace("_", " ") for group in person.groups)) or "Assignee"
