"""Starting an instance: pick a workflow, fill its form in, begin."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from tasks_ui import forms
from tasks_ui.queries import paging
from tasks_ui.queries import templates as query
from tasks_ui.visitors import operators_only
from workflows.definitions import strict_json
from workflows.engine.commands import StartWorkflow
from workflows.models import Subscription, WorkflowTemplate
from workflows.runtime import handling
from workflows.runtime.asking import Answer, Asked, Outcome, Reference
from workflows.runtime.holding import NAMED, SEEN
from workflows.runtime.identity import read_uuid
from workflows.runtime.refusals import STATUS

_SIZE = 40
_PREFIX = "context"


@dataclass(slots=True)
class Filled:
    """What somebody has filled in so far. `form` is None where the context is typed as JSON."""

    reference: str = ""
    reference_error: str = ""
    form: Any = None
    text: str = "{}"
    text_errors: list[str] = field(default_factory=list)
    context: dict[str, Any] | None = None
    about: Subscription | None = None
    """The subscription whose page led here: the form need not ask for it."""

    @property
    def faulty(self) -> bool:
        """This will tell whether something must be mended first."""
        return bool(self.reference_error or self.text_errors or (self.form is not None and self.form.errors))


@operators_only
@require_safe
def start(request: Any) -> HttpResponse:
    """Show the workflows that can be started."""
    text = request.GET.get("q", "").strip()[:200].replace("\0", "")
    asked = {name: request.GET.get(name) for name in ("older", "newer")}
    page = paging.page_of(query.newest(text), ordering="workflow_name", size=_SIZE, **asked)
    values = {
        "rows": query.as_rows(page.rows, with_counts=False),
        "page": page,
        "text": text,
        "first_page": not any(asked.values()),
    }
    return render(request, "tasks_ui/start.html", values)


@operators_only
@require_http_methods(["GET", "HEAD", "POST"])
def start_one(request: Any, pk: uuid.UUID) -> HttpResponse:
    """Show the form of one version; start an instance of it."""
    template = get_object_or_404(WorkflowTemplate.objects.defer("definition"), pk=pk)
    schema = query.definition(template).context_schema
    if request.method != "POST":
        about = _about(request.GET.get("subscription", ""))
        known = _known_of(about, schema) if about is not None else {}
        filled = Filled(
            reference=request.GET.get("ref", "")[:200] or (_reference(about) if about is not None else ""),
            form=_empty(schema, known),
            text=_example(schema, known),
            about=about,
        )
        return _show(request, template, filled)
    filled = _read(request, schema)
    if filled.faulty or filled.context is None:
        return _show(request, template, filled, status=400)
    answer = _begin(request, template, filled)
    if answer.outcome is Outcome.REFUSED:
        _point(filled, answer)
        return _show(request, template, filled, answer=answer, status=STATUS.get(answer.code or "", 409))
    if answer.outcome is Outcome.DUPLICATE or answer.instance is None:
        return _show(request, template, filled, answer=answer, status=409)
    messages.success(request, f"{filled.reference} has begun.")
    return redirect("instance", pk=answer.instance.id)


def _show(
    request: Any, template: Any, filled: Filled, *, answer: Answer | None = None, status: int = 200
) -> HttpResponse:
    shown = filled.form.shown() if filled.form is not None else []
    hidden = {f"{_PREFIX}-{name}" for name in (NAMED, SEEN)} if filled.about is not None else set()
    values = {
        "template": template,
        "newest": query.newest_of(template),
        "schema": query.definition(template).context_schema,
        "filled": filled,
        "answer": answer,
        "existing": answer.instance if answer and answer.outcome is Outcome.DUPLICATE else None,
        "fields": [one for one in shown if one.name not in hidden],
        "hidden": [one for one in shown if one.name in hidden],
        "refusal": _refusal(filled, answer),
    }
    return render(request, "tasks_ui/start_one.html", values, status=status)


def _refusal(filled: Filled, answer: Answer | None) -> str:
    if answer is None or answer.outcome is not Outcome.REFUSED or filled.faulty:
        return ""
    return answer.reason or "It was not started."


def _begin(request: Any, template: Any, filled: Filled) -> Answer:
    said = {
        "event_name": "StartWorkflow", "workflow_name": template.workflow_name,
        "component_name": template.component_name, "business_ref_no": filled.reference,
        "context": filled.context, "version": template.version,
    }  # fmt: skip
    asked = Asked(
        command=StartWorkflow(business_ref_no=filled.reference, context=filled.context or {}),
        target=Reference(template.component_name, filled.reference, template.workflow_name),
        actor=request.person.username,
        cause=f"page-{uuid.uuid4()}",
        said=said,
        version=template.version,
    )
    return handling.handle(asked)[0]


def _about(key: str) -> Subscription | None:
    """The subscription whose page led here, as it is now."""
    known = read_uuid(key)
    return Subscription.objects.select_related("product").filter(pk=known).first() if known is not None else None


def _known_of(about: Subscription, schema: Any) -> dict[str, Any]:
    """What a start about the subscription begins with: its values, where the form asks for the like."""
    asked = set((schema or {}).get("properties", ()))
    said = {"customer": about.customer, **about.values, SEEN: about.version}
    return {NAMED: str(about.pk)} | {key: value for key, value in said.items() if key in asked}


def _reference(about: Subscription) -> str:
    """One that nobody has yet, and that says which subscription and when."""
    return f"{about.pk.hex[-6:].upper()}-{timezone.now():%y%m%d-%H%M%S}"


def _empty(schema: Any, known: Mapping[str, Any]) -> Any:
    return forms.schema_form(schema)(prefix=_PREFIX, initial=dict(known)) if forms.fits(schema) else None


def _example(schema: Any, known: Mapping[str, Any]) -> str:
    """What the JSON begins with: the keys that must be there."""
    must = (schema or {}).get("required") if isinstance(schema, dict) else None
    said = {**(dict.fromkeys(must) if isinstance(must, list) else {}), **known}
    return json.dumps(said, ensure_ascii=False, indent=2) if said else "{\n}"


def _read(request: Any, schema: Any) -> Filled:
    filled = Filled(reference=request.POST.get("business_ref_no", "").strip())
    filled.reference_error = _fault_of(filled.reference)
    if forms.fits(schema):
        filled.form = forms.schema_form(schema)(request.POST, prefix=_PREFIX)
        filled.about = _about(request.POST.get("about", ""))
        if filled.form.is_valid():
            named = {NAMED: str(filled.about.pk)} if filled.about is not None else {}
            filled.context = filled.form.value() | named
            try:
                strict_json.check_value(filled.context)
            except strict_json.InvalidJson as error:
                filled.form.add_error(None, error.message)
        return filled
    filled.text = request.POST.get("context", "").replace("\r\n", "\n")
    try:
        value = strict_json.parse(filled.text.encode(errors="replace")) if filled.text.strip() else {}
    except strict_json.InvalidJson as error:
        filled.text_errors.append(error.message)
        return filled
    if isinstance(value, dict):
        filled.context = value
    else:
        filled.text_errors.append('The context is an object, such as {"amount": 120}.')
    return filled


def _point(filled: Filled, answer: Answer) -> None:
    """This will put the errors of a refusal at the fields they mean."""
    if filled.form is not None:
        filled.form.add_problems(answer.errors, below="/context")
    else:
        filled.text_errors += [
            f"{error['pointer'].removeprefix('/context') or 'The context'}: {error['message']}"
            for error in answer.errors
        ]


def _fault_of(reference: str) -> str:
    if not reference:
        return "Give it a reference: the business's own number, such as an order number."
    if len(reference) > 200:
        return f"A reference has at most 200 characters; this has {len(reference):,}."
    if any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in reference):
        return "A reference holds no control characters."
    return ""
