"""A rollback: what is undone in which order, and what stays as it is."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks_ui import words
from tasks_ui.queries.instance import Instance, Task
from tasks_ui.words import Sign
from workflows.engine.lifecycle import TaskState
from workflows.models import LoggedEvent

_EVENTS = (
    "TaskCompleted", "CompensationScheduled", "CompensationCompleted", "CompensationFailed", "CompensationSkipped",
    "RetryScheduled",
)  # fmt: skip


# Those of which the page also says what was said.
_TOLD = ("CompensationCompleted", "CompensationFailed", "CompensationSkipped")


@dataclass(frozen=True, slots=True)
class Undoing:
    """One task that is, was or will be undone."""

    task: Task
    number: int
    sign: Sign
    how: str
    where: str
    text: str
    code: str
    at: dt.datetime | None
    stuck: bool
    going: bool


@dataclass(frozen=True, slots=True)
class Rollback:
    """All of it. `bars` are (state, x, width) of the bar above the list."""

    steps: tuple[Undoing, ...]
    stays: tuple[tuple[str, str, Sign], ...]
    bars: tuple[tuple[str, str, str], ...]
    undone: int


def newest_failure(instance: uuid.UUID, until: int | None = None) -> Mapping[str, Any]:
    """This will give the error and the try of the newest undoing that failed."""
    rows = LoggedEvent.objects.filter(instance=instance, event="CompensationFailed")
    if until is not None:
        rows = rows.filter(sequence__lte=until)
    row = rows.order_by("-sequence").values("data", "attempt").first()
    return {"error": (row["data"] or {}).get("error"), "attempt": row["attempt"]} if row else {}


def read(instance: Instance) -> Rollback:
    """This will tell the rollback from the history (two queries at most)."""
    events = LoggedEvent.objects.filter(
        instance=instance.id, event__in=_EVENTS, sequence__lte=instance.sequence
    ).order_by("sequence")
    done_at: dict[str, int] = {}
    undo: dict[str, list[Any]] = {}
    for name, sequence, at, stage, task, attempt in events.exclude(event__in=_TOLD).values_list(
        "event", "sequence", "occurred_at", "stage_name", "task_name", "attempt"
    ):
        node = f"{stage}/{task}"
        if name == "TaskCompleted":
            done_at[node] = sequence
        elif name != "RetryScheduled":
            undo.setdefault(node, []).append((name, sequence, at, attempt, {}))
    told = events.filter(event__in=_TOLD).values_list(
        "event", "sequence", "occurred_at", "stage_name", "task_name", "attempt", "data"
    )
    for name, sequence, at, stage, task, attempt, data in told:
        undo.setdefault(f"{stage}/{task}", []).append((name, sequence, at, attempt, data or {}))
    tasks = instance.by_node
    begun = sorted((task for task in undo if task in tasks), key=lambda node: min(one[1] for one in undo[node]))
    coming = sorted(
        (
            node for node, task in tasks.items()
            if task.definition.compensate and node not in undo and node in done_at and task.state == TaskState.COMPLETED
        ),
        key=lambda node: -done_at[node],
    )  # fmt: skip
    if instance.ended:
        coming = []
    stuck = any(tasks[node].state == TaskState.COMPENSATION_FAILED for node in begun)
    steps = tuple(
        _step(tasks[node], number, undo.get(node, []), next_up=number == len(begun) + 1, stuck=stuck)
        for number, node in enumerate([*begun, *coming], start=1)
    )
    undone = sum(step.task.state == TaskState.COMPENSATED for step in steps)
    return Rollback(
        steps=steps, stays=_stays(instance, {step.task.node for step in steps}), bars=_bars(steps), undone=undone
    )


def _step(task: Task, number: int, events: list[Any], *, next_up: bool, stuck: bool) -> Undoing:
    how = task.definition.compensate
    where = (how.task_queue or how.step or "") if how else ""
    who = f"by {words.readable(how.assigned_to)}" if how and how.assigned_to else ""
    events = sorted(events, key=lambda one: one[1])
    name, _, at, attempt, data = events[-1] if events else ("", 0, None, 0, {})
    error = data.get("error") or {}
    most = how.retry.max_attempts if how else 1
    sign = words.task_sign(task.state, "SERVICE")
    match task.state:
        case TaskState.COMPENSATED:
            by_hand = bool(data.get("by_hand"))
            text = _because("Undone by hand" if by_hand else "Undone", data if by_hand else {})
        case TaskState.COMPENSATION_FAILED:
            why = str(error.get("message") or "no reason given").rstrip(".")
            text = f"Try {attempt} of {max(attempt or 1, most)} failed: {why}"
        case TaskState.COMPENSATING:
            text = f"Try {attempt or 1} of {max(attempt or 1, most)} is under way"
            if name == "CompensationFailed":
                text = f"Try {attempt} of {most} failed, tried again"
        case TaskState.COMPLETED if name == "CompensationSkipped":
            sign, text = Sign("skipped", "skipped", "Left as it is"), _because("Its effect stands", data)
        case _:
            sign = Sign("pending", "pending", "Next" if next_up else "To come")
            text = "Starts when the one above is undone or left" if stuck and next_up else "Comes when it is its turn"
            at = None
    return Undoing(
        task=task, number=number, sign=sign, how=who, where=where, text=text, code=str(error.get("code") or ""), at=at,
        stuck=task.state == TaskState.COMPENSATION_FAILED, going=task.state == TaskState.COMPENSATING,
    )  # fmt: skip


def _because(text: str, data: Mapping[str, Any]) -> str:
    reason = str(data.get("reason") or "").strip()
    return f"{text}: “{reason}”" if reason else text


def _stays(instance: Instance, undone: set[str]) -> tuple[tuple[str, str, Sign], ...]:
    groups: dict[tuple[str, Sign], list[str]] = {}
    for task in instance.tasks:
        if task.node in undone:
            continue
        match task.state:
            case TaskState.COMPLETED:
                why = "says nothing about undoing" if not task.definition.compensate else "its effect stands"
            case TaskState.FAILED:
                why = f"failed, is left alone: {task.error.get('code') or 'no code'}"
            case TaskState.CANCELLED:
                why = "was withdrawn" if task.attempt else "was never sent"
            case TaskState.SKIPPED:
                why = "was skipped"
            case _:
                continue
        groups.setdefault((why, words.task_sign(task.state)), []).append(task.title)
    return tuple(
        (", ".join(titles[:6]) + (f" and {len(titles) - 6:,} more" if len(titles) > 6 else ""), why, sign)
        for (why, sign), titles in groups.items()
    )


def _bars(steps: tuple[Undoing, ...]) -> tuple[tuple[str, str, str], ...]:
    if not steps:
        return ()
    width = 100 / len(steps)
    return tuple(
        (step.sign.state, f"{number * width:.2f}%", f"{max(width - 0.4, 0.2):.2f}%")
        for number, step in enumerate(steps)
    )
