"""Templates: the list, one version, and publishing."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from tasks_ui import pointers
from tasks_ui.queries import paging
from tasks_ui.queries import templates as query
from tasks_ui.visitors import View, operators_only, signed_in
from workflows.conf import settings
from workflows.definitions import strict_json
from workflows.definitions.parsing import read_definition
from workflows.definitions.problems import InvalidTemplate
from workflows.definitions.schema import WorkflowDefinition
from workflows.definitions.versioning import fingerprint
from workflows.models import WorkflowTemplate
from workflows.runtime import publishing

_SIZE, _VERSIONS, _TASKS = 40, 20, 200
_LISTED = 300
"""So many problems are listed; whoever has more has sent something else."""
_MAX_BYTES = strict_json.MAX_BYTES
_LINE = re.compile(r"line (\d+), (?:column|byte) (\d+)")
_SKELETON = """{
  "workflow_name": "",
  "component_name": "",
  "stages": [
    {
      "stage_name": "FIRST",
      "stage_order": 1.0,
      "tasks": [
        {
          "task_name": "first_task",
          "parent_task": [],
          "task_type": "SERVICE",
          "task_queue": "first_task_queue"
        }
      ]
    }
  ]
}
"""


# --- Reading ------------------------------------------------------------------------------------------------------


def _for_readers(view: View) -> View:
    """Templates are there for those who see everything."""

    @wraps(view)
    def guarded(request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.person.reads_everything:
            raise Http404("There is nothing here for you.")
        return view(request, *args, **kwargs)

    return signed_in(guarded)


@require_safe
@_for_readers
def templates(request: Any) -> HttpResponse:
    """Show the newest version of each workflow."""
    text = request.GET.get("q", "").strip()[:200].replace("\0", "")
    asked = {name: request.GET.get(name) for name in ("older", "newer")}
    page = paging.page_of(query.newest(text), ordering="-created_at", size=_SIZE, **asked)
    values = {
        "rows": query.as_rows(page.rows),
        "page": page,
        "text": text,
        "cap": settings.COUNT_CAP,
        "first_page": not any(asked.values()),
    }
    return render(request, "tasks_ui/templates.html", values)


@require_safe
@_for_readers
def template(request: Any, pk: uuid.UUID) -> HttpResponse:
    """Show one version."""
    row = get_object_or_404(WorkflowTemplate, pk=pk)
    whole = query.definition(row)
    first = min(_number(request.GET.get("from")) or 0, max(len(whole.tasks) - 1, 0)) // _TASKS * _TASKS
    below = _number(request.GET.get("below"))
    versions, older = query.versions(row, size=_VERSIONS, below=below)
    values = {
        "row": row,
        "whole": whole,
        "picture": query.picture(whole, link=lambda position: _task_address(position, first)),
        "stages": query.stages_of(whole, first=first, size=_TASKS),
        "counts": {"stages": len(whole.stages), "tasks": len(whole.tasks)},
        "first": first + 1,
        "last": min(first + _TASKS, len(whole.tasks)),
        "previous_from": str(first - _TASKS) if first else None,
        "next_from": first + _TASKS if first + _TASKS < len(whole.tasks) else None,
        "versions": versions,
        "older": versions[-1].version if versions and older else None,
        "below": below,
        "newest": query.newest_of(row),
        "context_fields": query.fields_of(whole.context_schema),
        "text": _written(row.definition),
    }
    return render(request, "tasks_ui/template.html", values)


def _task_address(position: int, first: int) -> str:
    page = position // _TASKS * _TASKS
    return f"#t-{position}" if page == first else f"?from={page}#t-{position}"


# --- Publishing ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Remark:
    """A problem or a warning with its place in the text."""

    state: str
    message: str
    pointer: str
    code: str
    line: int
    column: int = 1


@dataclass(slots=True)
class Draft:
    """What is in the editor, and what was found in it."""

    text: str
    remarks: list[Remark] = field(default_factory=list)
    refusal: str = ""
    hidden: int = 0
    checked: bool = False
    value: Any = None
    task_lines: Mapping[int, int] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """This will count what keeps it from being published."""
        return sum(remark.state == "failed" for remark in self.remarks) + self.hidden + bool(self.refusal)

    @property
    def warnings(self) -> int:
        """This will count what its author should still look at."""
        return sum(remark.state == "retrying" for remark in self.remarks)

    @property
    def numbers(self) -> list[tuple[int, str, bool]]:
        """This will give each line's number, its mark (an error goes over a warning), and whether links lead there."""
        targets = set(self.task_lines.values())
        marks = {remark.line: remark.state for remark in self.remarks if remark.state == "retrying"}
        marks |= {remark.line: remark.state for remark in self.remarks if remark.state == "failed"}
        return [(line, marks.get(line, ""), line in targets) for line in range(1, self.text.count("\n") + 2)]


@operators_only
@require_http_methods(["GET", "HEAD", "POST"])
def publish(request: Any) -> HttpResponse:
    """Show the editor; check what is in it, or publish it."""
    if request.method != "POST":
        return _show(request, Draft(_prefill(request)))
    draft = _sent(request)
    if not draft.refusal:
        draft.checked = True
        draft.value = _read(draft)
    if draft.value is None:
        return _show(request, draft, status=400)
    wanted = request.POST.get("do")
    try:
        if wanted != "publish":
            _remark(draft, publishing.check_template(draft.value), state="retrying")
            return _show(request, draft, same=_same(draft.value))
        published = publishing.publish_template(draft.value, by=request.person.username)
    except InvalidTemplate as error:
        problems = error.problems
        said = [{"pointer": one.pointer, "code": one.code, "message": one.message} for one in problems[:_LISTED]]
        draft.hidden = len(problems) - len(said)
        _remark(draft, said, state="failed")
        draft.value = None
        return _show(request, draft, status=200 if wanted != "publish" else 400)
    if not published.created:
        _remark(draft, published.warnings, state="retrying")
        return _show(request, draft, same=published.template)
    messages.success(request, f"{published.template.workflow_name} has version {published.template.version} now.")
    return redirect("template", pk=published.template.pk)


def _show(request: Any, draft: Draft, *, same: Any = None, status: int = 200) -> HttpResponse:
    whole = read_definition(draft.value) if draft.value is not None else None
    if whole:
        draft.task_lines = _task_lines(draft, whole)
    values = {
        "draft": draft,
        "same": same,
        "numbers": draft.numbers,
        "max_bytes": _MAX_BYTES,
        "picture": query.picture(whole, link=lambda position: f"#line-{draft.task_lines[position]}") if whole else None,
        "task_lines": draft.task_lines,
    }
    return render(request, "tasks_ui/publish.html", values, status=status)


def _prefill(request: Any) -> str:
    asked = request.GET.get("from")
    if not asked:
        return _SKELETON
    try:
        key = uuid.UUID(asked)
    except ValueError:
        raise Http404("There is no such version.") from None
    return _written(get_object_or_404(WorkflowTemplate, pk=key).definition)


def _sent(request: Any) -> Draft:
    """The text of the editor, or of the file that was picked in its place."""
    typed = request.POST.get("text", "").replace("\r\n", "\n")
    file = request.FILES.get("file")
    if file is None:
        return Draft(typed)
    if file.size > _MAX_BYTES:
        return Draft(typed, refusal=f"The file has {file.size:,} bytes; at most {_MAX_BYTES:,} are taken.")
    try:
        return Draft(file.read().decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError:
        return Draft(typed, refusal="The file is not UTF-8 text. Save it as UTF-8, or paste its text.")


def _read(draft: Draft) -> Any:
    """The JSON of the draft; None, with a remark, where it is none."""
    try:
        value = strict_json.parse(draft.text.encode(errors="replace"))
    except strict_json.InvalidJson as error:
        where = _LINE.search(error.message)
        line, column = (int(where[1]), int(where[2])) if where else (1, 1)
        draft.remarks.append(Remark("failed", error.message, "", error.code, line, column))
        return None
    if value is None:
        draft.remarks.append(Remark("failed", "A template is an object, not null.", "", "wrong_type", 1))
    return value


def _remark(draft: Draft, said: Iterable[Mapping[str, str]], *, state: str) -> None:
    lines = pointers.lines_of(draft.text)
    draft.remarks += [
        Remark(state, one["message"], one["pointer"], one["code"], pointers.line_of(one["pointer"], lines))
        for one in said
    ]


def _task_lines(draft: Draft, whole: WorkflowDefinition) -> dict[int, int]:
    """The line of each task, by its position in the workflow."""
    lines = pointers.lines_of(draft.text)
    return {
        whole.task_positions[stage["stage_name"], task["task_name"]]: lines[f"/stages/{number}/tasks/{place}"]
        for number, stage in enumerate(draft.value["stages"])
        for place, task in enumerate(stage.get("tasks") or ())
    }


def _same(value: Mapping[str, Any]) -> Any:
    """The newest version, where it says the same."""
    rows = WorkflowTemplate.objects.of(workflow_name=value["workflow_name"], component_name=value["component_name"])
    newest = rows.order_by("-version").first()
    return newest if newest is not None and newest.fingerprint == fingerprint(value) else None


def _written(definition: Any) -> str:
    return json.dumps(definition, ensure_ascii=False, indent=2)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None
