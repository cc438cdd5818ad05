"""The engine: pausing and resuming, retrying all that failed, schedules, and who did what."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from tasks_ui.queries import engine as query
from tasks_ui.visitors import operators_only, overseers_only
from workflows.models import Schedule
from workflows.runtime import bulk_retry, pausing, schedules
from workflows.runtime.pausing import EnginePaused

_MOST = 2000


@overseers_only
@require_safe
def engine(request: Any) -> HttpResponse:
    """Show how the engine stands."""
    return _show(request)


@operators_only
@require_POST
def pause(request: Any) -> HttpResponse:
    """Pause everything."""
    reason = _reason(request)
    if not reason:
        return _show(request, fault="pause", status=400)
    pausing.pause(by=request.person.username, reason=reason)
    messages.success(request, "The engine is paused. Steps that run come to their end; nothing new starts.")
    return redirect("engine")


@operators_only
@require_POST
def resume(request: Any) -> HttpResponse:
    """Let everything go on."""
    pausing.resume(by=request.person.username, reason=_reason(request))
    messages.success(request, "The engine goes on.")
    return redirect("engine")


@operators_only
@require_POST
def retry_failed(request: Any) -> HttpResponse:
    """Retry all that failed and fits the filters."""
    reason, filters = _reason(request), query.read_filters(request.POST)
    if not reason:
        return _show(request, fault="retry", status=400)
    try:
        wish, more = bulk_retry.ask(by=request.person.username, reason=reason, filters=filters)
    except bulk_retry.Busy as busy:
        return _show(request, refusal=str(busy), status=409)
    except EnginePaused as paused:
        return _show(request, refusal=str(paused), status=503)
    if wish.count:
        left = " More match; ask once more when these are done." if more else ""
        several = "instance is" if wish.count == 1 else "instances are"
        messages.success(request, f"{wish.count:,} failed {several} being retried.{left}")
    else:
        messages.warning(request, "No failed instance is like that; nothing was retried.")
    return redirect("engine")


@operators_only
@require_POST
def switch_schedule(request: Any, pk: int) -> HttpResponse:
    """Enable or disable a schedule."""
    on = request.POST.get("do") == "enable"
    try:
        schedule = schedules.switch(pk, on=on, by=request.person.username, reason=_reason(request))
    except Schedule.DoesNotExist:
        raise Http404 from None
    messages.success(request, f"The schedule {schedule.name} is {'enabled' if on else 'disabled'}.")
    return redirect("engine")


def _reason(request: Any) -> str:
    return str(request.POST.get("reason", "")).strip().replace("\0", "")[:_MOST]


def _show(request: Any, *, fault: str = "", refusal: str = "", status: int = 200) -> HttpResponse:
    filters = query.read_filters(request.POST if request.method == "POST" else request.GET)
    values = {
        "standing": pausing.standing(),
        "retry": query.retry(bulk_retry.newest()),
        "filters": filters,
        "failed": query.count_failed(filters),
        "choices": query.choices(),
        "schedules": query.schedules(),
        "records": query.records(),
        "fault": fault,
        "refusal": refusal,
        "may_act": request.person.is_operator,
    }
    fragment = request.headers.get("X-Fragment") == "live"
    return render(request, f"tasks_ui/{'_engine' if fragment else 'engine'}.html", values, status=status)
