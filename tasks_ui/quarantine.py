"""Messages that could not be read or matched: looked at, handed in again, let go; one, or many at once."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from tasks_ui.queries import paging
from tasks_ui.queries import quarantine as query
from tasks_ui.visitors import operators_only, overseers_only
from workflows.engine.lifecycle import QuarantineState
from workflows.models import QuarantinedMessage
from workflows.runtime import quarantine as runtime

_SIZE = 20


@overseers_only
@require_safe
def quarantine(request: Any) -> HttpResponse:
    """Show those that wait for somebody, or with `?state=all` every one."""
    return _show(request)


@overseers_only
@require_safe
def quarantined(request: Any, pk: int) -> HttpResponse:
    """Show one message, whole."""
    return _show_one(request, get_object_or_404(QuarantinedMessage, pk=pk))


@operators_only
@require_POST
def resubmit(request: Any, pk: int) -> HttpResponse:
    """Hand one in again."""
    message = get_object_or_404(QuarantinedMessage, pk=pk)
    result = runtime.resubmit_many([pk], by=request.person.username, reason=_reason(request))[pk]
    answer = result.answer
    if not result.over:
        message.refresh_from_db()
        return _refused(request, message, answer.reason or "It still cannot be read or matched.", status=409)
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
    reason = _reason(request)
    if not reason:
        return _refused(request, message, "Say why; it is kept with the message.", status=400)
    result = runtime.discard_many([pk], by=request.person.username, reason=reason)[pk]
    if not result.over:
        message.refresh_from_db()
        return _refused(request, message, result.answer.reason or "", status=409)
    messages.success(request, "The message is discarded; it can still be read under “All”.")
    return redirect("quarantine")


@operators_only
@require_POST
def see_to(request: Any) -> HttpResponse:
    """Hand many in again, or let them go: those that are ticked, or all that matched when the page was made."""
    keys, reason, what = _keys(request), _reason(request), request.POST.get("do")
    discarding = what == "discard"
    if what not in ("resubmit", "discard"):
        return _show(request, fault="Say what is to be done with them.", status=400)
    if not keys:
        return _show(request, fault="Tick the messages that are meant.", status=400)
    if discarding and not reason:
        return _show(request, fault="Say why; it is kept with the messages.", ticked=keys, status=400)
    by = request.person.username
    if discarding:
        results = runtime.discard_many(keys, by=by, reason=reason)
    else:
        results = runtime.resubmit_many(keys, by=by, reason=reason)
    for good, sentence in query.said(results, discarding=discarding):
        (messages.success if good else messages.warning)(request, sentence)
    code = request.POST.get("code", "")[:40]
    return redirect(reverse("quarantine") + (f"?{urlencode({'code': code})}" if code else ""))


def _show(
    request: Any, *, fault: str = "", ticked: Any = (), refused: Any = None, refusal: str = "", status: int = 200
) -> HttpResponse:
    every = request.GET.get("state") == "all"
    code = (request.GET.get("code") or request.POST.get("code", ""))[:40]
    asked = {name: request.GET.get(name) for name in ("older", "newer")}
    page = paging.page_of(query.listed(every=every, code=code), ordering="-received_at", size=_SIZE, **asked)
    may_act, reasons = request.person.is_operator, runtime.reasons()
    values = {
        "rows": query.as_rows(page.rows),
        "page": page,
        "every": every,
        "code": code,
        "reasons": reasons,
        "code_is_gone": bool(code) and code not in {one.code for one in reasons},
        "matching": query.matching(code) if may_act and not every else None,
        "ticked": frozenset(ticked),
        "fault": fault,
        "reason": request.POST.get("reason", "")[:2000],
        "refused": refused.pk if refused else None,
        "refusal": refusal,
        "may_act": may_act,
    }
    return render(request, "tasks_ui/quarantine.html", values, status=status)


def _show_one(request: Any, message: QuarantinedMessage, *, refusal: str = "", status: int = 200) -> HttpResponse:
    is_open = message.state == QuarantineState.OPEN
    values = {
        "message": message,
        "body": query.read_kept(message),
        "open": is_open,
        "holder": message.resolved_by if is_open else "",
        "refusal": refusal,
        "may_act": request.person.is_operator,
    }
    return render(request, "tasks_ui/quarantined.html", values, status=status)


def _refused(request: Any, message: QuarantinedMessage, why: str, *, status: int) -> HttpResponse:
    # Where the person was: on the page of the message, or in the list.
    if request.POST.get("from") == "one":
        return _show_one(request, message, refusal=why, status=status)
    return _show(request, refused=message, refusal=why, status=status)


def _reason(request: Any) -> str:
    return str(request.POST.get("reason", "")).strip().replace("\0", "")[:2000]


def _keys(request: Any) -> list[int]:
    said = [*request.POST.getlist("message"), *request.POST.get("all", "").split(",")]
    keys = [int(key) for key in said if key.isascii() and key.isdigit() and len(key) < 19]
    return list(dict.fromkeys(keys))[: runtime.MOST_AT_ONCE]
