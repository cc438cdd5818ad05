"""The overview: how everything stands, and what needs someone."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from tasks_ui.queries import counts
from tasks_ui.queries import overview as query
from tasks_ui.visitors import signed_in
from workflows.conf import settings


@signed_in
@require_safe
def overview(request: Any) -> HttpResponse:
    """Show it to those who see everything; send everybody else to their work."""
    if not request.person.reads_everything:
        return redirect(_work())
    now = timezone.now()
    by_health = counts.count_by_health()
    values = {
        "now": now,
        "figures": [(figure, _address(figure.address)) for figure in query.figures(request.person, by_health, now=now)],
        "shares": query.shares(by_health),
        "strip": query.strip(by_health),
        "open": sum(
            by_health[name] for name in ("running", "person", "retrying", "failed", "suspended", "rolling_back")
        ),
        "cap": settings.COUNT_CAP,
        "causes": query.causes(),
        "chart": query.chart(now=now, asked=request.GET.get("span", "")),
        "desks": query.desks(request.person, now=now),
        "queues": query.queues(),
        "sees_queues": request.person.is_operator or request.person.is_auditor,
        "news": query.newest(),
    }
    fragment = request.headers.get("X-Fragment") == "live"
    return render(request, f"tasks_ui/{'_overview' if fragment else 'overview'}.html", values)


def _work() -> str:
    try:
        return reverse("inbox")
    except NoReverseMatch:
        return reverse("instances")


def _address(name: str) -> str:
    page, _, health = name.partition(":")
    try:
        match page:
            case "instances":
                return f"{reverse('instances')}?health={health}"
            case "overdue":
                return f"{reverse('inbox')}?view=overdue"
            case "nobody":
                return f"{reverse('inbox')}?view=nobody"
            case _:
                return reverse(page)
    except NoReverseMatch:
        return ""
