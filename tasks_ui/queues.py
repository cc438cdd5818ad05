"""The queues: what waits in each, who has work in hand, what could not be sent."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from tasks_ui.queries import paging
from tasks_ui.queries import queues as query
from tasks_ui.visitors import overseers_only
from workflows.runtime import backlog, quarantine
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
    }
    fragment = request.headers.get("X-Fragment") == "live"
    return render(request, f"tasks_ui/{'_queue' if fragment else 'queue'}.html", values)
