"""Activities: the list, one with its plugins by phase, registering and deregistering them."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from tasks_ui import plugin_form
from tasks_ui.queries import activities as query
from tasks_ui.visitors import operators_only, signed_in
from workflows.models import Plugin
from workflows.runtime import registering
from workflows.runtime.registering import Became

_DONE = {
    Became.REGISTERED: "{name} is registered: it takes part in phases that begin from now on.",
    Became.CHANGED: "{name} is changed, for phases that begin from now on.",
    Became.UNCHANGED: "{name} was so already; nothing was changed.",
}


@signed_in
@require_safe
def activities(request: Any) -> HttpResponse:
    """Show all activities."""
    _only_readers(request)
    values = {"rows": query.listed(), "may_act": request.person.is_operator}
    return render(request, "tasks_ui/activities.html", values)


@signed_in
@require_safe
def activity(request: Any, name: str) -> HttpResponse:
    """Show one."""
    _only_readers(request)
    found = query.one(name)
    if found is None:
        raise Http404("There is no such activity.")
    attributes = request.GET.get("attributes", "")[:2_000].replace("\0", "")
    values = {
        "activity": found,
        "history": query.history(name),
        "attributes": attributes,
        "asked": "attributes" in request.GET,
        "judged": query.judged(name, attributes) if "attributes" in request.GET else (),
        "may_act": request.person.is_operator,
    }
    return render(request, "tasks_ui/activity.html", values)


@operators_only
@require_http_methods(["GET", "HEAD", "POST"])
def register(request: Any) -> HttpResponse:
    """Register a plugin, or change one; at first the form."""
    if request.method != "POST":
        name, plugin = request.GET.get("activity", ""), request.GET.get("plugin", "")
        filled = (
            plugin_form.of(_found(name, plugin)) if plugin else plugin_form.empty(name, request.GET.get("phase", ""))
        )
        return _form(request, filled, changes=bool(plugin))
    changes = request.POST.get("changes") == "1"
    known = _found(request.POST.get("activity", ""), request.POST.get("name", "")).said if changes else {}
    filled = plugin_form.read(request.POST, retry=known.get("retry", {}))
    if filled.faulty:
        return _form(request, filled, changes=changes, status=400)
    try:
        done = registering.register(
            filled.activity, filled.said, by=request.person.username, reason=filled.values["reason"], replace=changes
        )
    except registering.InvalidPlugin as invalid:
        return _form(request, plugin_form.marked(filled, invalid.problems), changes=changes, status=400)
    except registering.AlreadyRegistered:
        taken = plugin_form.faulty(
            filled, "name", "Another plugin of this name is registered: change that one instead."
        )
        return _form(request, taken, changes=changes, status=409)
    messages.success(request, _DONE[done.became].format(name=done.plugin.name))
    return redirect("activity", name=filled.activity)


@operators_only
@require_http_methods(["GET", "HEAD", "POST"])
def deregister(request: Any) -> HttpResponse:
    """Deregister a plugin; at first the question."""
    said = request.POST if request.method == "POST" else request.GET
    row = _found(said.get("activity", ""), said.get("plugin", ""))
    if request.method != "POST":
        return render(request, "tasks_ui/plugin_deregister.html", {"row": row, "activity": row.activity.name})
    reason = said.get("reason", "").strip().replace("\0", "")[:2_000]
    try:
        registering.deregister(row.activity.name, row.name, by=request.person.username, reason=reason)
    except registering.NotRegistered:
        raise Http404("It is not registered any more.") from None
    messages.success(request, f"{row.name} is deregistered. Who expects it already still waits for it.")
    return redirect("activity", name=row.activity.name)


def _form(request: Any, filled: plugin_form.Filled, *, changes: bool, status: int = 200) -> HttpResponse:
    values = {"filled": filled, "choices": plugin_form.choices(), "changes": changes}
    return render(request, "tasks_ui/plugin_register.html", values, status=status)


def _found(activity: str, plugin: str) -> Plugin:
    rows = Plugin.objects.registered().select_related("activity")
    found = rows.filter(activity__name=activity.replace("\0", ""), name=plugin.replace("\0", "")).first()
    if found is None:
        raise Http404("No such plugin is registered.")
    return found


def _only_readers(request: Any) -> None:
    if not request.person.reads_everything:
        raise Http404("There is nothing here for you.")
