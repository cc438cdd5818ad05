"""Versions of workflows as plain values: the list, one version, its tasks in words."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, QuerySet

from tasks_ui import graph, times, words
from tasks_ui.queries import activity
from workflows.conf import settings
from workflows.definitions.conditions import describe
from workflows.definitions.schema import (
    CompensationDefinition,
    Effect,
    FailurePolicy,
    RetryPolicy,
    TaskDefinition,
    TaskKind,
    WorkflowDefinition,
)
from workflows.engine.lifecycle import ENDED, InstanceState
from workflows.models import WorkflowInstance, WorkflowTemplate
from workflows.runtime.loading import definition_of

_OPEN = [state.value for state in InstanceState if state not in ENDED]
_LIGHT = ("id", "workflow_name", "component_name", "version", "published_by", "created_at")
_NOT_RUN = words.Sign("pending", "pending", "Not run")
_POLICIES = {
    FailurePolicy.HALT: "Halt: the instance needs someone",
    FailurePolicy.ROLLBACK: "Roll the instance back",
    FailurePolicy.CONTINUE: "Go on without it",
}
_KINDS = {"string": "text", "integer": "whole number", "boolean": "yes or no", "array": "list"}
_KEPT_SIZES = 5_000
_sizes: dict[uuid.UUID, tuple[int, int]] = {}


@dataclass(frozen=True, slots=True)
class Row:
    """The newest version of one workflow, in a list. `open` None: there are too many instances to count."""

    id: uuid.UUID
    workflow: str
    component: str
    version: int
    published_by: str
    published_at: dt.datetime
    stages: int
    tasks: int
    open: int | None
    counted_to_end: bool


@dataclass(frozen=True, slots=True)
class Version:
    """One version among those of a workflow."""

    id: uuid.UUID
    version: int
    published_by: str
    published_at: dt.datetime
    open: int | None
    counted_to_end: bool


@dataclass(frozen=True, slots=True)
class Task:
    """What a template says of one task, in words."""

    position: int
    node: str
    name: str
    title: str
    description: str
    kind_word: str
    kind_icon: str
    doer: str
    by_person: bool
    fact: str
    parents: tuple[str, ...]
    details: tuple[tuple[str, str], ...]


# --- The list -----------------------------------------------------------------------------------------------------


def newest(text: str) -> QuerySet[Any]:
    """This will give the newest version of each workflow whose name or component contains the text."""
    rows = WorkflowTemplate.objects.latest().only(*_LIGHT)
    return rows.filter(Q(workflow_name__icontains=text) | Q(component_name__icontains=text)) if text else rows


def as_rows(templates: Iterable[Any], *, with_counts: bool = True) -> list[Row]:
    """This will make rows of versions: two more queries, however many there are."""
    templates = list(templates)
    sizes = _sizes_of([one.pk for one in templates])
    found, ended = _open_by_workflow() if templates and with_counts else ({}, True)
    return [
        Row(
            id=one.pk, workflow=one.workflow_name, component=one.component_name, version=one.version,
            published_by=one.published_by, published_at=one.created_at, stages=sizes[one.pk][0],
            tasks=sizes[one.pk][1], open=_told(found.get((one.component_name, one.workflow_name), 0), ended),
            counted_to_end=ended,
        )
        for one in templates
    ]  # fmt: skip


def _sizes_of(ids: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, tuple[int, int]]:
    """Stages and tasks of each version; versions never change, so what was counted is kept."""
    known = {key: _sizes[key] for key in ids if key in _sizes}
    missing = [key for key in ids if key not in known]
    for key, definition in WorkflowTemplate.objects.filter(pk__in=missing).values_list("pk", "definition"):
        stages = definition["stages"]
        known[key] = (len(stages), sum(len(stage.get("tasks") or ()) for stage in stages))
    if len(_sizes) > _KEPT_SIZES:
        _sizes.clear()
    _sizes.update(known)
    return known


def _open_by_workflow() -> tuple[dict[tuple[str, str], int], bool]:
    """Open instances by component and workflow, and whether all were looked at: no more than the cap are."""
    cap = int(settings.COUNT_CAP)
    some = WorkflowInstance.objects.filter(state__in=_OPEN).order_by().values("pk")[:cap]
    rows = WorkflowInstance.objects.filter(pk__in=some).order_by().values_list("component_name", "workflow_name")
    found = {(component, name): count for component, name, count in rows.annotate(n=Count("pk"))}
    return found, sum(found.values()) < cap


def _told(count: int, ended: bool) -> int | None:
    return count if count or ended else None


# --- One version --------------------------------------------------------------------------------------------------


def definition(template: Any) -> WorkflowDefinition:
    """This will give what a version says."""
    return definition_of(template.pk)


def versions(template: Any, *, size: int, below: int | None = None) -> tuple[list[Version], bool]:
    """This will give versions of the same workflow, newest first, and whether there are older ones."""
    rows = WorkflowTemplate.objects.of(
        workflow_name=template.workflow_name, component_name=template.component_name
    ).order_by("-version")
    if below is not None:
        rows = rows.filter(version__lt=below)
    found = list(rows.only(*_LIGHT)[: size + 1])
    cap = int(settings.COUNT_CAP)
    some = WorkflowInstance.objects.filter(
        component_name=template.component_name, workflow_name=template.workflow_name, state__in=_OPEN
    )
    inside = some.order_by().values("pk")[:cap]
    counted = WorkflowInstance.objects.filter(pk__in=inside).order_by().values_list("template_id")
    by_template = dict(counted.annotate(n=Count("pk")))
    ended = sum(by_template.values()) < cap
    result = [
        Version(
            id=one.pk, version=one.version, published_by=one.published_by, published_at=one.created_at,
            open=_told(by_template.get(one.pk, 0), ended), counted_to_end=ended,
        )
        for one in found[:size]
    ]  # fmt: skip
    return result, len(found) > size


def newest_of(template: Any) -> Any:
    """This will give the newest version of the same workflow."""
    rows = WorkflowTemplate.objects.of(
        workflow_name=template.workflow_name, component_name=template.component_name
    ).order_by("-version")
    return rows.only(*_LIGHT)[0]


def stages_of(whole: WorkflowDefinition, *, first: int = 0, size: int | None = None) -> list[dict[str, Any]]:
    """This will give the stages with their tasks in words; with `size`, only so many tasks from `first` on."""
    end = len(whole.tasks) if size is None else first + size
    result = []
    for stage in whole.stages:
        tasks = [task_in_words(task, whole) for task in whole.tasks[max(stage.first, first) : min(stage.end, end)]]
        if tasks or size is None or first <= stage.first < end or (stage.first == stage.end == end):
            result.append({"stage": stage, "tasks": tasks, "count": stage.end - stage.first})
    return result


def task_in_words(task: TaskDefinition, whole: WorkflowDefinition) -> Task:
    """This will say what a template says of a task."""
    kind = task.kind.value
    return Task(
        position=task.position, node=task.key, name=task.task_name, title=title_of(task),
        description=task.description or "", kind_word=words.KIND_WORDS.get(kind, kind),
        kind_icon=words.KIND_ICONS.get(kind, "service"), doer=_doer(task), by_person=task.kind is TaskKind.HUMAN,
        fact=_fact(task), parents=tuple(title_of(whole.tasks[parent]) for parent in task.parents),
        details=tuple(_details(task)),
    )  # fmt: skip


def title_of(task: TaskDefinition) -> str:
    """This will give the name that people read."""
    return task.title or words.readable(task.task_name)


def picture(whole: WorkflowDefinition, *, link: Any) -> graph.Picture:
    """This will lay the graph of a version out, nothing of it run; `link` makes the address of a position."""
    return graph.draw(
        graph.Lane(
            position=stage.position, title=stage.stage_name, sign=_NOT_RUN,
            note=_size(stage.end - stage.first) if stage.activity is None else "activity",
            nodes=tuple(activity.nodes_of(stage.position, activity.not_begun(), {})) if stage.activity else tuple(
                graph.Node(
                    position=task.position, name=task.task_name, title=title_of(task),
                    kind_icon=words.KIND_ICONS.get(task.kind.value, "service"), sign=_NOT_RUN, fact=_fact(task),
                    href=link(task.position), parents=task.parents,
                )
                for task in whole.tasks_of(stage.position)
            ),
        )
        for stage in whole.stages
    )  # fmt: skip


# --- Words --------------------------------------------------------------------------------------------------------


def _size(tasks: int) -> str:
    return "1 task" if tasks == 1 else f"{tasks:,} tasks" if tasks else "no tasks"


def _doer(task: TaskDefinition) -> str:
    if task.kind is TaskKind.HUMAN:
        return task.assigned_to or "nobody"
    return task.task_queue or task.step or "waits for a signal"


def _fact(task: TaskDefinition) -> str:
    if task.kind is TaskKind.HUMAN:
        return words.readable(task.assigned_to or "nobody")
    return _doer(task)


def _details(task: TaskDefinition) -> Iterable[tuple[str, str]]:
    if task.has_when:
        yield "Only when", describe(task.when)
    if task.retry.max_attempts > 1:
        yield "Tried", retry_in_words(task.retry)
    if task.timeout_seconds:
        yield "Timeout", times.length(task.timeout_seconds)
    if task.due_in_seconds is not None:
        yield "Due after", times.length(task.due_in_seconds)
    if task.escalate_to:
        yield "Then given to", words.readable(task.escalate_to)
    if task.four_eyes:
        yield "Four eyes", "nobody who has worked on the instance before"
    if task.quorum:
        yield "Answers needed", str(task.quorum)
    if task.on_failure is not FailurePolicy.HALT:
        yield "When spent", _POLICIES[task.on_failure]
    if task.compensate:
        yield "Undone by", _undone_by(task.compensate)
    if task.business_status:
        yield "Then status", task.business_status
    if fields := fields_of(task.form):
        yield "Form", ", ".join(fields)
    if task.outcomes:
        yield "Outcomes", ", ".join(map(_outcome, task.outcomes))


def retry_in_words(retry: RetryPolicy) -> str:
    """This will say how often something is tried: 4 times, first after 15 s, then 2 times as long, at most 2 min."""
    text = f"{retry.max_attempts:,} times"
    if not retry.delay_seconds:
        return f"{text}, at once"
    text += f", {times.length(retry.delay_seconds)} apart"
    if retry.backoff != 1 and retry.max_attempts > 2:
        text += f", each wait {retry.backoff:g} times the last, at most {times.length(retry.max_delay_seconds)}"
    return text


def fields_of(schema: Mapping[str, Any] | None) -> list[str]:
    """This will name the fields of a form: title, what it takes, a star where it must be filled in."""
    if not schema or not isinstance(schema.get("properties"), Mapping):
        return []
    must = schema.get("required") or ()
    return [_field(name, part, name in must) for name, part in schema["properties"].items()]


def _field(name: str, part: Any, must: bool) -> str:
    said = part if isinstance(part, Mapping) else {}
    kind = said.get("type")
    what = "choice" if "enum" in said else _KINDS.get(kind, kind) if isinstance(kind, str) else "anything"
    return f"{said.get('title') or words.readable(name)} ({what}{', required' if must else ''})"


def _undone_by(how: CompensationDefinition) -> str:
    who = words.readable(how.assigned_to) if how.assigned_to else how.task_queue or how.step or ""
    return f"{who}, tried {retry_in_words(how.retry)}" if how.retry.max_attempts > 1 else who


def _outcome(outcome: Any) -> str:
    match outcome.effect:
        case Effect.FAIL:
            return f"{outcome.label} (fails)"
        case Effect.RETURN:
            return f"{outcome.label} (back to {words.readable(outcome.return_to or '')})"
        case _:
            return str(outcome.label)
