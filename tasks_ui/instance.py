"""One instance: what happens in it, what happened, and what an operator may do about it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from tasks_ui import actions, graph, words
from tasks_ui.queries import activity, data, history, rollback, state_log, subscriptions, timeline
from tasks_ui.queries.cause import cause_of
from tasks_ui.queries.instance import Instance, Task
from tasks_ui.queries.picture import most_telling, picture
from tasks_ui.queries.reading import read
from tasks_ui.task import task_panel
from tasks_ui.visitors import signed_in
from workflows.engine.lifecycle import OPEN_HUMAN_TASK, ROLLING, InstanceState
from workflows.models import HumanTask, LoggedEvent, TaskInstance, WorkflowInstance
from workflows.runtime import masking, whereabouts
from workflows.runtime.refusals import STATUS

_TABS = ("graph", "timeline", "history", "data", "tasks", "messages", "rollback")
_EVENTS_BESIDE, _EVENTS, _MESSAGES, _TASKS, _STEPS = 14, 60, 40, 100, 20
_SMALL = 400
"""Histories up to this long are read whole for the small overview of the data."""


@signed_in
@require_safe
def instance(request: Any, pk: uuid.UUID) -> HttpResponse:
    """Show it, now or as it was after event `?at=`."""
    row = get_object_or_404(WorkflowInstance.objects.visible_to(request.person), pk=pk)
    wish = None
    if (
        request.GET.get("do")
        and request.person.is_operator
        and not _event_number(request.GET.get("at"), row.last_sequence)
    ):
        wish = actions.read_wish(request.GET)
        if wish:
            wish.errors.clear()
    return _show(request, row, wish=wish)


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def act(request: Any, pk: uuid.UUID) -> HttpResponse:
    """Do what an operator asks for, and show what became of it."""
    if request.method != "POST":
        # Links on the page that shows a refusal lead here, and so does its reloading.
        return redirect(f"{reverse('instance', args=[pk])}?{request.GET.urlencode()}")
    row = get_object_or_404(WorkflowInstance.objects.visible_to(request.person), pk=pk)
    if not request.person.is_operator:
        raise PermissionDenied("Operators do this; your account only looks on.")
    wish = actions.read_wish(request.POST)
    if wish is None:
        raise Http404("There is no such action.")
    if wish.errors:
        return _show(request, row, wish=wish, status=400)
    answer = actions.carry_out(wish, instance=row.pk, actor=request.person.username, cause=f"page-{uuid.uuid4()}")
    if not answer.applied:
        row.refresh_from_db()
        return _show(request, row, wish=wish, refusal=answer.reason or "", status=STATUS.get(answer.code or "", 409))
    messages.success(request, _phrase(wish.action.done, row, wish))
    where = {"node": f"{wish.stage}/{wish.task}"} if wish.task else {}
    if wish.action.name.startswith("undo-"):
        where["tab"] = "rollback"
    return redirect(f"{reverse('instance', args=[pk])}{'?' + urlencode(where) if where else ''}")


def _show(
    request: Any, row: Any, *, wish: actions.Wish | None = None, refusal: str = "", status: int = 200
) -> HttpResponse:
    at = _event_number(request.GET.get("at"), row.last_sequence)
    one = read(row, now=timezone.now(), at=at)
    values = {"it": one, "refusal": refusal, **_dialog(one, wish)}
    if request.headers.get("X-Fragment") == "dialog" and wish:
        return render(request, "tasks_ui/_act.html", values, status=status)
    values |= _page(request, row, one)
    fragment = request.headers.get("X-Fragment") == "live"
    return render(request, f"tasks_ui/{'_instance' if fragment else 'instance'}.html", values, status=status)


def _page(request: Any, row: Any, one: Instance) -> dict[str, Any]:
    asked = request.GET.get("tab")
    tab = asked if asked in _TABS else "rollback" if one.state in ROLLING and not request.GET.get("node") else "graph"
    if tab == "rollback" and not one.rolling:
        tab = "graph"
    may_act = request.person.is_operator and not one.frozen
    chosen = one.by_node.get(request.GET.get("node", "")) or most_telling(one)
    turn = whereabouts.turn_of(one.id, template=one.template_id, until=one.sequence) if one.rolling else None
    cause = cause_of(one, reason=_reason(one), undoing=_undoing(one), turn=turn)
    values: dict[str, Any] = {
        "tab": tab,
        "may_act": may_act,
        "cause": cause,
        "turn": turn,
        "cause_actions": _actions_on(cause.task if cause else None, one) if may_act else [],
        "acts": actions.for_instance(one.state, timed_out=one.timed_out) if may_act else [],
        "chosen": chosen,
        "chosen_actions": _actions_on(chosen, one) if may_act else [],
        "topic": "" if one.frozen else f"instance:{one.id}",
        "counts": one.counts,
        "work": _work(request, one, chosen),
        "about": subscriptions.named_by(one.context) if request.person.reads_everything else None,
    }
    return values | _TAB_VALUES[tab](request, one, chosen)


def _work(request: Any, one: Instance, chosen: Task | None) -> dict[str, Any] | None:
    """The human task of the chosen node, where the visitor may decide it from here."""
    if chosen is None or chosen.human_task is None or one.frozen:
        return None
    row = HumanTask.objects.visible_to(request.person).select_related("instance").filter(pk=chosen.human_task).first()
    if row is None or row.state not in OPEN_HUMAN_TASK:
        return None
    here = f"{reverse('instance', args=[one.id])}?{urlencode({'node': chosen.node})}"
    return task_panel(request, row, following=here)


# --- What the tabs show -------------------------------------------------------------------------------------------


def _graph(request: Any, one: Instance, chosen: Task | None) -> dict[str, Any]:
    entries = history.newest(one.id, titles=one.titles, size=_EVENTS_BESIDE, until=one.sequence)
    return {
        "picture": picture(one, chosen=chosen.node if chosen else None, link=_link(request)),
        "log": history.folded(entries),
        "stages": _stage_list(one),
        "activities": activity.listed(one.stages),
        "line": timeline.read(
            one.id, tasks=one.by_node, now=one.now, until=one.sequence, most=12, ended=one.finished_at,
            with_idle=request.GET.get("idle") == "show",
        ),
        "data": data.context_of(
            one.id, one.context, titles=one.titles, until=one.sequence, whence=one.sequence <= _SMALL
        )[:12],
        **_attempts(one, chosen),
    }  # fmt: skip


def _timeline(request: Any, one: Instance, chosen: Task | None) -> dict[str, Any]:
    idle = request.GET.get("idle") == "show"
    line = timeline.read(
        one.id, tasks=one.by_node, now=one.now, until=one.sequence, most=200, with_idle=idle, ended=one.finished_at
    )
    return {"line": line}


def _history(request: Any, one: Instance, chosen: Task | None) -> dict[str, Any]:
    before, after = _number(request.GET.get("before")), _number(request.GET.get("after"))
    name = request.GET.get("event", "")[:40]
    stage, _, task = request.GET.get("of", "").partition("/")
    entries = history.newest(
        one.id, titles=one.titles, size=_EVENTS + 1, until=one.sequence, before=before, after=after, with_data=True,
        name=name, node=(stage, task) if task else None,
    )  # fmt: skip
    more = len(entries) > _EVENTS
    entries = entries[1:] if more and after is not None else entries[:_EVENTS]
    older = entries[-1].sequence if entries and entries[-1].sequence > 1 and (more or after is not None) else None
    newer = entries[0].sequence if entries and (before is not None or (after is not None and more)) else None
    every = request.GET.get("minor") == "show" or bool(name)
    return {
        "log": entries if every else history.folded(entries),
        "every": every,
        "older": older,
        "newer": newer,
        "growing": before is None and after is None,
        "event_name": name,
        "of": one.by_node.get(f"{stage}/{task}"),
        "event_names": sorted(history.NAMES),
    }


def _data(request: Any, one: Instance, chosen: Task | None) -> dict[str, Any]:
    row = WorkflowInstance(pk=one.id, template_id=one.template_id, last_sequence=one.last_sequence)
    before = _number(request.GET.get("before"))
    steps = state_log.read(row, titles=one.titles, until=one.sequence, size=_STEPS + 1, before=before)
    return {
        "data": data.context_of(one.id, one.context, titles=one.titles, until=one.sequence),
        "steps": steps[:_STEPS],
        "older_steps": steps[_STEPS - 1].sequence if len(steps) > _STEPS else None,
        "newer_steps": before is not None,
        "found_by": data.found_by(one.definition, one.context),
    }


def _tasks(request: Any, one: Instance, chosen: Task | None) -> dict[str, Any]:
    stage, q, state = (request.GET.get(name, "")[:200] for name in ("stage", "q", "state"))
    start = _number(request.GET.get("from")) or 0
    found = [
        task
        for task in one.tasks
        if (not stage or task.definition.stage_name == stage)
        and (not state or task.state == state)
        and (not q or q.casefold() in f"{task.title} {task.definition.task_name}".casefold())
    ]
    rows = [task for task in found if task.position >= start][: _TASKS + 1]
    earlier = [task for task in found if task.position < start][-_TASKS:]
    return {
        "rows": rows[:_TASKS],
        "found": len(found),
        "next_from": rows[_TASKS].position if len(rows) > _TASKS else None,
        "previous_from": earlier[0].position if earlier else None,
        "stage_names": [stage.name for stage in one.stages],
        "task_states": sorted({task.state for task in one.tasks}),
        "asked": {"stage": stage, "q": q, "state": state},
    }


def _messages(request: Any, one: Instance, chosen: Task | None) -> dict[str, Any]:
    stage, _, task = request.GET.get("of", "").partition("/")
    found = data.messages_of(
        one.id, titles=one.titles, size=_MESSAGES + 1, before=_number(request.GET.get("before")),
        node=(stage, task) if task else None,
    )  # fmt: skip
    return {
        "sent": found[:_MESSAGES],
        "older": found[_MESSAGES - 1].number if len(found) > _MESSAGES else None,
        "of": one.by_node.get(f"{stage}/{task}"),
    }


def _rollback(request: Any, one: Instance, chosen: Task | None) -> dict[str, Any]:
    entries = history.newest(one.id, titles=one.titles, size=24, until=one.sequence)
    return {
        "undo": rollback.read(one),
        "picture": picture(one, chosen=chosen.node if chosen else None, link=_link(request)),
        "stages": _stage_list(one),
        "log": history.folded(entries)[:9],
        "undo_actions": [actions.ACTIONS[name] for name in ("undo-retry", "undo-complete", "undo-skip")],
    }


_TAB_VALUES: dict[str, Callable[[Any, Instance, Task | None], dict[str, Any]]] = {
    "graph": _graph,
    "timeline": _timeline,
    "history": _history,
    "data": _data,
    "tasks": _tasks,
    "messages": _messages,
    "rollback": _rollback,
}


def _attempts(one: Instance, chosen: Task | None) -> dict[str, Any]:
    """The attempts of the chosen task, newest first, and what it put out."""
    if chosen is None or not chosen.attempt:
        return {"attempts": [], "output": None}
    about = (
        "TaskScheduled",
        "TaskCompleted",
        "TaskFailed",
        "TaskSkipped",
        "TaskCancelled",
        "TaskReset",
        "TaskReturned",
    )
    rows = LoggedEvent.objects.filter(
        instance=one.id, stage_name=chosen.definition.stage_name, task_name=chosen.definition.task_name,
        event__in=about, sequence__lte=one.sequence,
    ).order_by("-sequence")[:60]  # fmt: skip
    attempts: dict[int, dict[str, Any]] = {}
    for row in rows:
        known = attempts.setdefault(row.attempt or 0, {"number": row.attempt, "sent": None, "ended": None, "event": ""})
        if row.event == "TaskScheduled":
            known["sent"] = row.occurred_at
        elif not known["ended"]:
            known |= {"ended": row.occurred_at, "event": row.event, "data": row.data}
    found = [_attempt(known, chosen) for known in attempts.values() if known["number"]][:8]
    output = None
    if chosen.state in ("COMPLETED", "COMPENSATED", "COMPENSATING", "COMPENSATION_FAILED") and not one.frozen:
        output = TaskInstance.objects.filter(instance=one.id, position=chosen.position).values_list(
            "output", flat=True
        )[0]
    return {"attempts": found, "output": masking.masked(output, template=one.template_id)}


def _attempt(known: dict[str, Any], chosen: Task) -> dict[str, Any]:
    states = {
        "TaskCompleted": "COMPLETED", "TaskFailed": "FAILED", "TaskSkipped": "SKIPPED", "TaskCancelled": "CANCELLED",
        "TaskReset": "CANCELLED", "TaskReturned": "CANCELLED",
    }  # fmt: skip
    newest = known["number"] == chosen.attempt
    state = states.get(known["event"]) or (chosen.state if newest else "CANCELLED")
    sign = words.task_sign(state, chosen.kind, chosen.claimed_by if newest else None)
    took = known["ended"] - known["sent"] if known["ended"] and known["sent"] else None
    code = ((known.get("data") or {}).get("error") or {}).get("code") or ""
    return {"number": known["number"], "sent": known["sent"], "took": took, "sign": sign, "code": code}


def _stage_list(one: Instance) -> list[dict[str, Any]]:
    """The list that narrow screens show in place of the picture: big stages show what is worth a look."""
    result = []
    for stage in one.stages:
        tasks = list(stage.tasks)
        if len(tasks) > graph.FOLD_OVER:
            tasks = [task for task in tasks if task.unhealthy] + [
                task for task in tasks if task.state in ("WAITING", "STARTED", "SCHEDULED", "COMPENSATING")
            ]
            tasks = tasks[:20]
        result.append({"stage": stage, "tasks": tasks, "hidden": len(stage.tasks) - len(tasks)})
    return result


# --- Helpers ------------------------------------------------------------------------------------------------------


def _dialog(one: Instance, wish: actions.Wish | None) -> dict[str, Any]:
    if wish is None:
        return {"wish": None}
    task = one.by_node.get(f"{wish.stage}/{wish.task}")
    text = _rollback_text(one) if wish.action.name == "rollback" else wish.action.text
    return {
        "wish": wish,
        "wish_title": _phrase(wish.action.title, one, wish, task),
        "wish_text": text,
        "wish_attempt": wish.attempt or (task.attempt if task and wish.action.on == "task" else None),
    }


def _rollback_text(one: Instance) -> str:
    undone = [task.title for task in one.tasks if task.definition.compensate and task.state == "COMPLETED"]
    running = sum(task.state in ("SCHEDULED", "STARTED", "WAITING") for task in one.tasks)
    if not undone:
        first = "Nothing that was done so far declares how it is undone, so nothing is undone."
    else:
        names = ", ".join(undone[:5]) + (f" and {len(undone) - 5} more" if len(undone) > 5 else "")
        first = f"{len(undone)} {'task is' if len(undone) == 1 else 'tasks are'} undone, newest first: {names}."
    then = (
        f" {running} {'task' if running == 1 else 'tasks'} under way {'is' if running == 1 else 'are'} withdrawn."
        if running
        else ""
    )
    return first + then


def _phrase(text: str, one: Any, wish: actions.Wish, task: Task | None = None) -> str:
    reference = getattr(one, "reference", None) or one.business_ref_no
    title = task.title if task else words.readable(wish.task)
    return text.format(ref=reference, task=title, stage=wish.stage)


def _actions_on(task: Task | None, one: Instance) -> list[actions.Action]:
    return actions.for_task(task.state, one.state, holds_up=task.holds_up) if task else []


def _link(request: Any) -> Callable[[str], str]:
    kept = {name: request.GET[name] for name in ("at", "tab") if request.GET.get(name)}
    return lambda node: "?" + urlencode({**kept, "node": node})


def _reason(one: Instance) -> str:
    if one.state != InstanceState.SUSPENDED:
        return ""
    rows = LoggedEvent.objects.filter(instance=one.id, event="WorkflowSuspended", sequence__lte=one.sequence)
    row = rows.order_by("-sequence").values("data", "actor").first()
    said = (row["data"] or {}).get("reason") if row else ""
    return f"{row['actor']}: {said}" if row and said else ""


def _undoing(one: Instance) -> Any:
    if one.state != InstanceState.ROLLBACK_FAILED:
        return None
    return rollback.newest_failure(one.id, one.sequence)


def _event_number(text: str | None, last: int) -> int | None:
    number = _number(text)
    return number if number is not None and 1 <= number < last else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None
