"""The list of instances."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from tasks_ui import words
from tasks_ui.queries import counts, found_by, paging
from tasks_ui.queries import instances as query
from tasks_ui.visitors import signed_in
from workflows.conf import settings
from workflows.models import Person
from workflows.runtime import searching

_SIZE = 40


@signed_in
@require_safe
def instances(request: Any) -> HttpResponse:
    """Show the instances that the address asks for; live parts ask again for the rows that are shown."""
    filters = query.read_filters(request.GET)
    looked = searching.look(filters.wanted.values())
    rows = query.slim(query.of_health(query.filtered(request.person, filters, looked), filters.health))
    asked = {name: request.GET.get(name) for name in ("older", "newer")}
    page = paging.page_of(rows, ordering=filters.ordering, size=_SIZE, **asked)
    found = list(page.rows)
    if request.headers.get("X-Fragment") == "live":
        found = _with_shown(request, rows, found if not any(asked.values()) else [])
    values = {
        "filters": filters,
        "searched": filters.values.get("q", ""),
        "rows": query.as_rows(found, now=timezone.now()),
        "page": page,
        "first_page": not any(asked.values()),
        "strip": _strip(request.person, query.countable(request.person, filters, looked), filters),
        "orderings": query.ORDERINGS,
        "cap": settings.COUNT_CAP,
        "retry_all": _retry_all(filters, found) if request.person.is_operator else "",
    }
    if request.headers.get("X-Fragment") == "live":
        return render(request, "tasks_ui/_instances.html", values)
    fields = found_by.offered(filters.values)
    beside = found_by.kept_beside(filters.wanted, fields, filters.values)
    more = {"choices": query.choices(), "fields": fields, "beside": beside}
    return render(request, "tasks_ui/instances.html", {**values, **more})


def _strip(person: Person, kept: Any, filters: query.Filters) -> list[dict[str, Any]]:
    # Of all instances the indexes know the counts; of some of them each has to be looked at.
    everything = person.reads_everything and not filters.values
    found = counts.count_by_health() if everything else counts.count_among(kept)
    shown = [health for health in counts.HEALTHS if health not in ("cancelled", "rolled_back") or found[health]]
    parts = [{"health": health, "sign": words.health_sign(health), "count": found[health]} for health in shown]
    return [{"health": "", "sign": words.Sign("", "instances", "All"), "count": sum(found.values())}, *parts]


def _retry_all(filters: query.Filters, found: list[Any]) -> str:
    # Only where those that are shown are those that would be retried.
    if filters.health != "failed" or not found or not filters.values.keys() <= {"component_name", "workflow_name", "q"}:
        return ""
    return f"{reverse('engine')}?{urlencode(filters.values)}#retry"


def _with_shown(request: HttpRequest, rows: Any, first: list[Any]) -> list[Any]:
    # The rows on the visitor's screen, wherever they would stand now, and what is new at the top.
    shown = []
    for text in request.GET.get("shown", "").split(",")[: _SIZE * 2]:
        try:
            shown.append(uuid.UUID(text))
        except ValueError:
            continue
    known = {row.pk for row in first}
    missing = [key for key in shown if key not in known]
    return first + (list(rows.filter(pk__in=missing)) if missing else [])
