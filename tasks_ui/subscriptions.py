"""Subscriptions: the list, and one with its values, versions, relations and what may be started on it."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from tasks_ui import words
from tasks_ui.queries import paging
from tasks_ui.queries import subscriptions as query
from tasks_ui.visitors import operators_only, signed_in
from workflows.engine.lifecycle import SubscriptionStatus
from workflows.models import Subscription
from workflows.runtime.refusals import STATUS
from workflows.subscriptions import note, unlock

_SIZE = 40
_FILTERS = ("product", "customer", "status", "sync")


@signed_in
@require_safe
def subscriptions(request: Any) -> HttpResponse:
    """Show the subscriptions that the address asks for."""
    _only_readers(request)
    asked = {name: request.GET.get(name, "").strip()[:200].replace("\0", "") for name in _FILTERS}
    cursors = {name: request.GET.get(name) for name in ("older", "newer")}
    page = paging.page_of(query.listed(asked), ordering="-created_at", size=_SIZE, **cursors)
    values = {
        "rows": query.with_signs(page.rows),
        "page": page,
        "asked": asked,
        "filtered": any(asked.values()),
        "products": query.products(),
        "statuses": list(SubscriptionStatus),
        "validate_all": query.validate_all() if request.person.is_operator else None,
    }
    return render(request, "tasks_ui/subscriptions.html", values)


@signed_in
@require_safe
def subscription(request: Any, pk: uuid.UUID) -> HttpResponse:
    """Show one."""
    _only_readers(request)
    return _show(request, _found(pk))


@operators_only
@require_POST
def subscription_unlock(request: Any, pk: uuid.UUID) -> HttpResponse:
    """Put it back in sync."""
    row, reason = _found(pk), _said(request, "reason", most=2_000)
    if not reason:
        return _show(request, row, refusal="Say why; it is kept in its history.", status=400)
    answer = unlock(row.pk, by=request.person.username, reason=reason)
    if not answer.applied:
        status = STATUS.get(answer.code or "", 409)
        return _show(request, _found(pk), refusal=answer.reason or "", reason=reason, status=status)
    messages.success(request, "The subscription is in sync.")
    return redirect("subscription", pk=pk)


@operators_only
@require_POST
def subscription_note(request: Any, pk: uuid.UUID) -> HttpResponse:
    """Keep a note with it."""
    note(_found(pk).pk, text=_said(request, "note", most=5_000), by=request.person.username)
    messages.success(request, "The note is kept.")
    return redirect("subscription", pk=pk)


def _show(request: Any, row: Subscription, *, refusal: str = "", reason: str = "", status: int = 200) -> HttpResponse:
    values = {
        "row": row,
        "sign": words.subscription_sign(row.status),
        "values": query.values_of(row.values),
        "fixed_inputs": query.values_of(row.product.fixed_inputs),
        "relations": query.relations_of(row),
        "workflows": query.workflows_of(row),
        "versions": query.versions_of(row),
        "diff": query.changes(row, before=request.GET.get("before", ""), after=request.GET.get("after", "")),
        "history": query.history_of(row),
        "refusal": refusal,
        "reason": reason,
        "may_act": request.person.is_operator,
    }
    return render(request, "tasks_ui/subscription.html", values, status=status)


def _found(pk: uuid.UUID) -> Subscription:
    return get_object_or_404(Subscription.objects.select_related("product", "holder"), pk=pk)


def _only_readers(request: Any) -> None:
    if not request.person.reads_everything:
        raise Http404("There is nothing here for you.")


def _said(request: Any, name: str, *, most: int) -> str:
    return str(request.POST.get(name, "")).strip().replace("\0", "").replace("\r\n", "\n")[:most]
