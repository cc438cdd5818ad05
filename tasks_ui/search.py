"""Results of the palette: instances by reference, workflows, pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_safe

from tasks_ui import words
from tasks_ui.visitors import signed_in
from workflows.models import Person, WorkflowInstance, WorkflowTemplate

_MOST = 8


@signed_in
@require_safe
def search(request: Any) -> HttpResponse:
    """Show what the person may go to."""
    text = request.GET.get("q", "").strip()[:200].replace("\0", "")
    groups = [
        ("Instances", _instances(request.person, text)),
        ("Workflows", _workflows(request.person, text)),
        ("Pages", _pages(request.person, text)),
    ]
    found = [(name, rows) for name, rows in groups if rows]
    numbered, number = [], 0
    for name, rows in found:
        options = []
        for row in rows:
            number += 1
            options.append({"id": f"o{number}", **row})
        numbered.append((name, options))
    return render(request, "tasks_ui/_results.html", {"groups": numbered, "text": text})


def _instances(person: Person, text: str) -> list[dict[str, Any]]:
    rows = WorkflowInstance.objects.visible_to(person).defer("context")
    if not text:
        found = list(rows.filter(health="failed").order_by("-updated_at")[:5]) if person.reads_everything else []
    else:
        # First what begins so (by index), then what holds it anywhere.
        found = list(rows.filter(business_ref_no__startswith=text).order_by("business_ref_no")[:_MOST])
        if len(found) < _MOST:
            known = [row.pk for row in found]
            inside = rows.filter(business_ref_no__icontains=text).exclude(pk__in=known).order_by("-created_at", "-pk")
            found += list(inside[: _MOST - len(found)])
    return [
        {
            "href": reverse("instance", args=[row.pk]),
            "sign": (sign := words.instance_sign(row.state, row.health)),
            "name": row.business_ref_no,
            "text": f"{sign.word} · {row.workflow_name}",
            "mono": True,
        }
        for row in found
    ]


def _workflows(person: Person, text: str) -> list[dict[str, Any]]:
    if not person.reads_everything:
        return []
    rows = WorkflowTemplate.objects.latest()
    if text:
        rows = rows.filter(workflow_name__icontains=text) | rows.filter(component_name__icontains=text)
    found = rows.order_by("workflow_name", "component_name").values("workflow_name", "component_name", "version")[:5]
    return [
        {
            "href": f"{reverse('instances')}?{urlencode({k: row[k] for k in ('workflow_name', 'component_name')})}",
            "sign": words.Sign("", "templates", ""),
            "name": row["workflow_name"],
            "text": f"{row['component_name']} v{row['version']} · its instances",
        }
        for row in found
    ]


def _pages(person: Person, text: str) -> list[dict[str, Any]]:
    pages = [("inbox", "Inbox", "inbox"), ("instances", "Instances", "instances")]
    if person.is_operator:
        pages.append(("start", "Start an instance", "start"))
    if person.reads_everything:
        pages += [("overview", "Overview", "overview"), ("templates", "Templates", "templates")]
        pages.append(("subscriptions", "Subscriptions", "batches"))
    if person.is_operator or person.is_auditor:
        pages.append(("quarantine", "Quarantine", "queues"))
    found = []
    for name, title, icon in pages:
        if text.casefold() not in title.casefold():
            continue
        try:
            found.append({"href": reverse(name), "sign": words.Sign("", icon, ""), "name": title, "text": ""})
        except NoReverseMatch:
            continue
    return found
