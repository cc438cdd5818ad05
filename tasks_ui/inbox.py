"""The inbox: what waits for the visitor, with the task at hand beside it."""

from __future__ import annotations

import uuid
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from tasks_ui.queries import inbox as query
from tasks_ui.task import task_panel
from tasks_ui.visitors import signed_in
from workflows.models import HumanTask


@signed_in
@require_safe
def inbox(request: Any) -> HttpResponse:
    """Show one view of the inbox; the live parts ask again for the rows that are shown."""
    person, now = request.person, timezone.now()
    if person.is_api_client and not person.is_operator:
        raise PermissionDenied("People's tasks are not for programs.")
    views = query.views(person, now=now)
    view = request.GET.get("view", "")
    if view not in query.names_for(person):
        view = "claimable" if not views[0].count and views[1].count else "mine"
    q, component = request.GET.get("q", "").replace("\x00", "")[:200].strip(), request.GET.get("component", "")[:200]
    rows = query.filtered(query.rows_of(person, view, now=now), q=q, component=component)
    page = query.page_of(rows, person, view=view, after=request.GET.get("after"))
    live = request.headers.get("X-Fragment") == "live"
    items = list(page.items) + (_still_shown(request, person, page) if live else [])
    chosen = None if live else _chosen(request, view, items)
    values = {
        "views": views,
        "view": view,
        "label": next(one.label for one in views if one.name == view),
        "items": items,
        "more": page.more,
        "first_page": not request.GET.get("after"),
        "q": q,
        "component": component,
        "chosen": chosen.pk if chosen else None,
    }
    if live:
        return render(request, "tasks_ui/_inbox_items.html", values)
    if chosen is not None:
        values |= task_panel(request, chosen, following=f"inbox:{view}")
    return render(request, "tasks_ui/inbox.html", values)


def _chosen(request: Any, view: str, items: list[query.Item]) -> HumanTask | None:
    """The task in the right pane: the one that the address names, else the first of the list."""
    key = _key(request.GET.get("task", "")) or (items[0].id if items else None)
    if key is None:
        return None
    return HumanTask.objects.visible_to(request.person).select_related("instance").filter(pk=key).first()


def _still_shown(request: Any, person: Any, page: query.Page) -> list[query.Item]:
    """Rows that are on the visitor's screen and have left the view: they grey out with the taker's name."""
    there = {item.id for item in page.items}
    keys = [key for key in map(_key, request.GET.get("shown", "").split(",")[:100]) if key and key not in there]
    if not keys:
        return []
    rows = HumanTask.objects.visible_to(person).filter(pk__in=keys).select_related("instance")
    return [query.item(row, person) for row in rows]


def _key(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
