"""One human task: its page, and what people do with it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from tasks_ui.forms import SchemaForm, Typed, schema_form
from tasks_ui.queries import inbox as inbox_query
from tasks_ui.queries import task as query
from tasks_ui.times import moment
from tasks_ui.visitors import signed_in
from workflows.definitions.schema import Effect
from workflows.engine import commands as c
from workflows.models import HumanTask, HumanTaskDraft, Person
from workflows.models.locking import writing
from workflows.runtime.asking import Answer, Asked
from workflows.runtime.handling import handle
from workflows.runtime.reading import task_definition
from workflows.runtime.refusals import STATUS

_PREFIX = "data"
_LONGEST = 10_000


@signed_in
@require_safe
def task(request: Any, pk: uuid.UUID) -> HttpResponse:
    """Show one human task."""
    row = _visible(request.person, pk)
    return render(request, _template(request), {**task_panel(request, row), "alone": True})


@signed_in
@require_POST
def act(request: Any, pk: uuid.UUID, verb: str) -> HttpResponse:
    """Claim, release, reassign, comment, decide or keep a draft; a refusal shows the task again with what was typed."""
    row = _visible(request.person, pk)
    if request.person.is_auditor and not request.person.is_operator:
        raise PermissionDenied("Auditors look on; they change nothing.")
    if verb == "draft":
        return _keep_draft(request, row)
    if verb not in _ACTS:
        raise Http404
    return _ACTS[verb](request, row)


def task_panel(
    request: Any,
    row: HumanTask,
    *,
    form: SchemaForm | None = None,
    answer: Answer | None = None,
    errors: Mapping[str, str] | None = None,
    following: str = "",
) -> dict[str, Any]:
    """This will give the values of `_task_panel.html`: the task, its form with the draft, what went wrong."""
    shown = query.task_of(row, request.person)
    typed = request.POST if request.method == "POST" else {}
    draft = _draft_of(request, row) if shown.may_decide and not typed else None
    if form is None and shown.may_decide:
        form = _form(row, initial=(draft.data if draft else {}))
    kept = (draft.data if draft else {}) or {}
    fields = form.shown() if form is not None else []
    written = [(field.label, field.text) for field in fields if field.text] if typed else []
    if typed.get("comment"):
        written.append(("Comment", typed["comment"]))
    return {
        "task": shown,
        "form": form,
        "fields": fields,
        "typed": written,
        "wrong": (form is not None and bool(form.errors)) or bool(errors),
        "general": form.non_field_errors() if form is not None and form.is_bound else [],
        "errors": errors or {},
        "refusal": _refusal(answer),
        "picked": typed.get("outcome") or kept.get("outcome") or (shown.choices[0].name if shown.choices else ""),
        "comment": typed.get("comment", kept.get("comment", "")),
        "reason": typed.get("reason", ""),
        "draft_at": draft.saved_at if draft else None,
        "following": following or typed.get("following", "") or request.GET.get("following", ""),
        "assignees": _assignees() if shown.may_reassign else [],
        "topic": f"instance:{shown.instance_id}",
    }


# --- What people do ---------------------------------------------------------------------------------------------


def _claim(request: Any, row: HumanTask) -> HttpResponse:
    answer = _ask(request, row, c.ClaimTask)
    if answer.applied:
        return _back(request, row, f"{row.title}: it is yours.")
    return _again(request, row, answer)


def _release(request: Any, row: HumanTask) -> HttpResponse:
    answer = _ask(request, row, c.ReleaseTask)
    if answer.applied:
        return _back(request, row, f"{row.title}: given back.")
    return _again(request, row, answer)


def _reassign(request: Any, row: HumanTask) -> HttpResponse:
    to, reason = request.POST.get("assigned_to", "").strip()[:200], request.POST.get("reason", "").strip()
    errors = {} if to else {"assigned_to": "Say to whom."}
    if not reason:
        errors["reason"] = "Say why."
    if errors:
        return _again(request, row, None, errors=errors)
    answer = _ask(request, row, c.ReassignTask, assigned_to=to, reason=reason[:_LONGEST])
    if answer.applied:
        return _back(request, row, f"{row.title}: {to} has it now.")
    if answer.code == "invalid_body":
        return _again(request, row, None, errors={"assigned_to": answer.reason or ""})
    return _again(request, row, answer)


def _comment(request: Any, row: HumanTask) -> HttpResponse:
    text = request.POST.get("said", "").strip()[:_LONGEST]
    if not text:
        return _again(request, row, None, errors={"said": "Write something first."})
    answer = _ask(request, row, c.CommentTask, comment=text)
    return _back(request, row, "Your comment is kept.") if answer.applied else _again(request, row, answer)


def _decide(request: Any, row: HumanTask) -> HttpResponse:
    definition = task_definition(row)
    offered = {outcome.name: outcome for outcome in definition.offered_outcomes}
    picked = offered.get(request.POST.get("outcome", ""))
    form = _form(row, typed=request.POST)
    complete = row.compensation or picked is None or picked.effect is Effect.COMPLETE
    valid = form is None or form.is_valid()
    if not valid and complete:
        return _again(request, row, None, form=form)
    answer = _ask(
        request,
        row,
        c.DecideTask,
        outcome=picked.name if picked else request.POST.get("outcome") or None,
        data=form.value() if form is not None and valid else {},
        comment=request.POST.get("comment", "").strip()[:_LONGEST],
    )
    if answer.applied or _was_theirs(request, row, answer):
        with writing():
            HumanTaskDraft.objects.filter(human_task=row.pk, user=request.user).delete()
        label = picked.label if picked and picked.name != "complete" else "done"
        return _back(request, row, f"{row.title}: {label.lower()}.", decided=True)
    if answer.code == "invalid_body":
        named = {error["pointer"]: error["message"] for error in answer.errors}
        if form is not None:
            data = [error for error in answer.errors if error["pointer"].startswith("/data")]
            form.add_problems(data, below="/data")
        errors = {key[1:]: text for key, text in named.items() if key in ("/comment", "/outcome")}
        return _again(request, row, None, form=form, errors=errors)
    return _again(request, row, answer, form=form)


def _keep_draft(request: Any, row: HumanTask) -> HttpResponse:
    """What is typed is kept for its writer alone; nothing else changes."""
    form = _form(row, typed=request.POST)
    kept = {
        "fields": form.typed() if form is not None else {},
        "outcome": request.POST.get("outcome", "")[:200],
        "comment": request.POST.get("comment", "")[:_LONGEST],
    }
    now = timezone.now()
    with writing():
        HumanTaskDraft.objects.update_or_create(
            human_task=row, user=request.user, defaults={"data": kept, "saved_at": now}
        )
    return JsonResponse({"saved_at": now.isoformat(), "shown": moment(timezone.localtime(now), now=now)})


_ACTS = {"claim": _claim, "release": _release, "reassign": _reassign, "comment": _comment, "complete": _decide}


# --- Helpers ----------------------------------------------------------------------------------------------------


def _visible(person: Person, pk: uuid.UUID) -> HumanTask:
    if person.is_api_client and not person.is_operator:
        raise PermissionDenied("People's tasks are not for programs.")
    row = HumanTask.objects.visible_to(person).select_related("instance").filter(pk=pk).first()
    if row is None:
        raise Http404("There is no such task.")
    return row


def _ask(request: Any, row: HumanTask, command: type[c.OnHumanTask], **more: Any) -> Answer:
    person = request.person
    asked = command(
        stage_name=row.stage_name,
        task_name=row.task_name,
        attempt=row.attempt,
        compensation=row.compensation,
        by=person.username,
        groups=person.groups,
        operator=person.is_operator,
        **more,
    )
    said = {"by": person.username, "page": f"task {row.pk}", "command": command.__name__, **more}
    answer = handle(Asked(command=asked, target=row.instance_id, actor=person.username, said=said))[0]
    row.refresh_from_db()
    row.instance.refresh_from_db()
    return answer


def _was_theirs(request: Any, row: HumanTask, answer: Answer) -> bool:
    """A second click, or a form sent again: the first one has done it, and the second may say so."""
    same = row.outcome in (request.POST.get("outcome"), "complete")
    return answer.code in ("attempt_closed", "instance_closed") and row.decided_by == request.person.username and same


def _again(request: Any, row: HumanTask, answer: Answer | None, **more: Any) -> HttpResponse:
    status = STATUS.get(answer.code or "", 400) if answer is not None else 400
    values = {**task_panel(request, row, answer=answer, **more), "alone": True}
    return render(request, "tasks_ui/task.html", values, status=status)


def _back(request: Any, row: HumanTask, text: str, *, decided: bool = False) -> HttpResponse:
    messages.success(request, text)
    following = request.POST.get("following", "")
    if following.startswith("inbox:"):
        view = following.removeprefix("inbox:")
        address = (
            f"{reverse('inbox')}?view={view}" if view in inbox_query.names_for(request.person) else reverse("inbox")
        )
        return HttpResponseRedirect(address if decided else f"{address}&task={row.pk}")
    if following and url_has_allowed_host_and_scheme(following, allowed_hosts={request.get_host()}):
        return HttpResponseRedirect(following)
    return HttpResponseRedirect(reverse("task", args=[row.pk]))


def _form(row: HumanTask, *, typed: Any = None, initial: Mapping[str, Any] | None = None) -> SchemaForm | None:
    schema = task_definition(row).form
    if schema is None or row.compensation:
        return None
    if typed is not None:
        return schema_form(schema)(typed, prefix=_PREFIX)
    kept = {key: Typed(text) for key, text in (initial or {}).get("fields", {}).items()}
    return schema_form(schema)(initial=kept, prefix=_PREFIX)


def _draft_of(request: Any, row: HumanTask) -> HumanTaskDraft | None:
    return HumanTaskDraft.objects.filter(human_task=row, user=request.user).first()


def _refusal(answer: Answer | None) -> dict[str, str] | None:
    return None if answer is None else {"code": answer.code or "", "reason": answer.reason or ""}


def _assignees() -> list[str]:
    groups = Group.objects.exclude(name__in=["operator", "auditor", "api_client"]).order_by("name")[:100]
    users = get_user_model().objects.filter(is_active=True).order_by("username")[:200]
    return [group.name for group in groups] + [user.get_username() for user in users]


def _template(request: Any) -> str:
    return "tasks_ui/_task_panel.html" if request.headers.get("X-Fragment") == "panel" else "tasks_ui/task.html"
