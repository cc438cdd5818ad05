"""What each task got and what it changed: the state log, newest first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks_ui import words
from tasks_ui.queries.differing import Change, changes_between
from workflows.models import LoggedEvent, WorkflowInstance
from workflows.runtime.replay import state_at

_LINES = 40


@dataclass(frozen=True, slots=True)
class Logged:
    """One completion: what stood in the state before it, and after; `hidden` counts lines that are left out."""

    sequence: int
    at: dt.datetime
    title: str
    node: str
    attempt: int
    lines: tuple[Change, ...]
    hidden: int

    @property
    def got_at(self) -> int:
        """This will name the event after which the state was what the task got, or nearly so."""
        return self.sequence - 1


def read(
    row: WorkflowInstance, *, titles: Mapping[str, str], until: int, size: int, before: int | None = None
) -> list[Logged]:
    """This will give the newest completions with what they changed (one query, and one fold up to the oldest)."""
    events = LoggedEvent.objects.filter(instance=row, event="TaskCompleted", sequence__lte=until)
    if before is not None:
        events = events.filter(sequence__lt=before)
    columns = ("sequence", "occurred_at", "stage_name", "task_name", "attempt", "data")
    found = list(events.order_by("-sequence").values_list(*columns)[:size])
    if not found:
        return []
    _, snapshot = state_at(row, found[-1][0] - 1)
    state: dict[str, Any] = dict(snapshot.context)
    logged = []
    for sequence, at, stage, task, attempt, data in reversed(found):
        output = (data or {}).get("output") or {}
        lines = changes_between({key: state[key] for key in output if key in state}, output, template=row.template_id)
        state |= output
        node = f"{stage}/{task}"
        logged.append(
            Logged(
                sequence, at, titles.get(node, words.readable(task)), node, attempt or 1,
                lines=tuple(lines[:_LINES]), hidden=max(0, len(lines) - _LINES),
            )
        )  # fmt: skip
    return logged[::-1]
