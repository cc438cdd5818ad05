"""The queues: what waits in each, who has work in hand, what could not be sent."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from tasks_ui.queries import paging
from tasks_ui.queries import queues as query
from tasks_ui.visitors import operators_only, overseers_only
from workflows.runtime import backlog, limits, quarantine
from workflows.runtime import queues as runtime

_SHOWN = 20


@overseers_only
@require_safe
def queues(request: Any) -> HttpResponse:
    """Show all queues."""
    text, after = request.GET.get("q", "").strip()[:200], request.GET.get("after", "")[:255]
    unsent = backlog.summary()
    names, more = query.portion(runtime.known_names(unsent), text=text, after=after)
    look, held = runtime.look(names, unsent=unsent), quarantine.reasons()
    troubles = query.troubles(look)
    whole = not (more or text or after)
    values = {
        "look": look,
        "rows": [(queue, query.use(queue)) for queue in look.queues],
        "figures": query.figures(
            look, held, troubled=bool(troubles), waiting_text="nobody has them yet" if whole else "in these queues"
        ),
        "troubles": troubles[:_SHOWN],
        "more_troubles": len(troubles[_SHOWN:]),
        "held": held,
        "text": text,
        "after": after,
        "next": names[-1] if more else None,
    }
    fragment = request.headers.get("X-Fragment") == "live"
    return render(request, f"tasks_ui/{'_queues' if fragment else 'queues'}.html", values)


@overseers_only
@require_safe
def queue(request: Any, name: str) -> HttpResponse:
    """Show one queue."""
    return _show(request, name)


@operators_only
@require_POST
def queue_limits(request: Any, name: str) -> HttpResponse:
    """Set the limits of a queue, or take them away."""
    if not runtime.is_known(name):
        raise Http404
    who = {"by": request.person.username, "reason": request.POST.get("reason", "").strip().replace("\0", "")[:2000]}
    if request.POST.get("do") == "remove":
        limits.remove(name, **who)
        messages.success(request, f"{name} has no limits any more; what stood in its line is sent.")
        return redirect("queue", name)
    typed = {field: request.POST.get(field, "").strip() for field in ("max_in_flight", "max_per_second")}
    try:
        in_flight, per_second = query.read_limits(typed)
        limits.put(name, max_in_flight=in_flight, max_per_second=per_second, **who)
    except limits.BadLimit as bad:
        return _show(request, name, typed=typed, fault=bad, status=400)
    messages.success(request, f"The limits of {name} are kept from now on.")
    return redirect("queue", name)


def _show(request: Any, name: str, *, typed: Any = None, fault: Any = None, status: int = 200) -> HttpResponse:
    unsent = backlog.summary()
    if not runtime.is_known(name, unsent):
        raise Http404
    look = runtime.look([name], unsent=unsent)
    asked = {way: request.GET.get(way) for way in ("older", "newer")}
    page = paging.page_of(query.unsent_of(name), ordering="next_try_at", size=_SHOWN, **asked)
    one = look.queues[0]
    values = {
        "look": look,
        "queue": one,
        "use": query.use(one),
        "held": runtime.in_hand(name, most=_SHOWN, at=look.at),
        "waiting": runtime.waiting(name, most=_SHOWN, at=look.at),
        "because": [group for group in query.unsent(look.backlog) if group.queue == name],
        "messages_unsent": query.as_messages(page.rows),
        "page": page,
        "typed": typed or query.typed_limits(one.limits),
        "fault": fault,
        "may_act": request.person.is_operator,
    }
    fragment = request.headers.get("X-Fragment") == "live"
    return render(request, f"tasks_ui/{'_queue' if fragment else 'queue'}.html", values, status=status)
