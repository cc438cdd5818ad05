"""Messages that could not be read or matched: looked at, handed in again, let go."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from tasks_ui.queries import paging
from tasks_ui.visitors import operators_only, signed_in
from workflows.engine.lifecycle import QuarantineState
from workflows.models import QuarantinedMessage
from workflows.runtime import quarantine as runtime

_SIZE = 20


@signed_in
@require_safe
def quarantine(request: Any) -> HttpResponse:
    """Show those that wait for somebody, or with `?state=all` every one."""
    if not (request.person.is_operator or request.person.is_auditor):
        raise PermissionDenied("Operators and auditors see quarantined messages.")
    return _show(request)


@operators_only
@require_POST
def resubmit(request: Any, pk: int) -> HttpResponse:
    """Hand one in again."""
    message = get_object_or_404(QuarantinedMessage, pk=pk)
    answer = runtime.resubmit(message, by=request.person.username)
    if message.state == QuarantineState.OPEN:
        return _show(
            request, refused=message, refusal=answer.reason or "It still cannot be read or matched.", status=409
        )
    if answer.applied:
        messages.success(request, "The message was handed in again and took effect.")
    else:
        messages.warning(request, f"The message was handed in again and refused: {answer.reason}")
    return redirect("quarantine")


@operators_only
@require_POST
def discard(request: Any, pk: int) -> HttpResponse:
    """Say that nobody needs one."""
    message = get_object_or_404(QuarantinedMessage, pk=pk)
    reason = request.POST.get("reason", "").strip()[:2000]
    if not reason:
        return _show(request, refused=message, refusal="Say why; it is kept with the message.", status=400)
    answer = runtime.discard(message, by=request.person.username, reason=reason)
    if not answer.applied:
        return _show(request, refused=message, refusal=answer.reason or "", status=409)
    messages.success(request, "The message is discarded; it can still be read under “All”.")
    return redirect("quarantine")


def _show(request: Any, *, refused: Any = None, refusal: str = "", status: int = 200) -> HttpResponse:
    every = request.GET.get("state") == "all"
    rows = QuarantinedMessage.objects.all() if every else QuarantinedMessage.objects.filter(state=QuarantineState.OPEN)
    asked = {name: request.GET.get(name) for name in ("older", "newer")}
    page = paging.page_of(rows, ordering="-received_at", size=_SIZE, **asked)
    values = {
        "rows": [
            {"message": row, "body": _readable(row.body), "open": row.state == QuarantineState.OPEN}
            for row in page.rows
        ],
        "page": page,
        "every": every,
        "refused": refused.pk if refused else None,
        "refusal": refusal,
        "may_act": request.person.is_operator,
    }
    return render(request, "tasks_ui/quarantine.html", values, status=status)


def _readable(body: str) -> str:
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return body
