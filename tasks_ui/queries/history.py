"""The history of an instance: events told in sentences, minor ones folded."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.dateparse import parse_datetime

from tasks_ui import times, words
from workflows.models import LoggedEvent
from workflows.runtime.masking import masked

_COLUMNS = (
    "sequence", "event", "occurred_at", "actor", "cause", "stage_name", "task_name", "attempt", "data",
    "instance__template_id",
)  # fmt: skip
_MINOR = frozenset({
    "TaskScheduled", "TaskStarted", "RetryScheduled", "TaskReset", "StageReset", "StepWoken", "SignalAwaited",
    "TaskClaimed", "TaskReleased", "StageCompleted", "TaskCancelled", "StageCancelled",
})  # fmt: skip
_MOST_DATA = 20_000
_NAMED = 5

# Event → (state that colours it, icon).
_SIGNS = {
    "WorkflowStarted": ("", "start"),
    "WorkflowFailed": ("failed", "failed"),
    "WorkflowRecovered": ("running", "running"),
    "WorkflowSuspended": ("suspended", "suspended"),
    "WorkflowResumed": ("running", "running"),
    "WorkflowTimedOut": ("failed", "clock"),
    "WorkflowCompleted": ("completed", "completed"),
    "WorkflowCancelled": ("cancelled", "cancelled"),
    "SignalReceived": ("", "live"),
    "ReplayRequested": ("running", "retrying"),
    "RollbackStarted": ("rolling_back", "rolling"),
    "RollbackFailed": ("rollback_failed", "failed"),
    "RollbackResumed": ("rolling_back", "rolling"),
    "RollbackCompleted": ("rolled_back", "rolled"),
    "InputRefused": ("pending", "info"),
    "StageActivated": ("running", "running"),
    "StageCompleted": ("completed", "completed"),
    "StageSkipped": ("skipped", "skipped"),
    "StageCancelled": ("cancelled", "cancelled"),
    "StageReset": ("pending", "pending"),
    "PhaseStarted": ("running", "running"),
    "TaskScheduled": ("scheduled", "sent"),
    "TaskStarted": ("started", "running"),
    "TaskClaimed": ("person", "person"),
    "TaskReleased": ("person", "inbox"),
    "TaskReassigned": ("person", "user"),
    "TaskCommented": ("", "comment"),
    "TaskCompleted": ("completed", "completed"),
    "TaskFailed": ("failed", "failed"),
    "TaskReturned": ("retrying", "rolling"),
    "RetryScheduled": ("retrying", "retrying"),
    "TaskSkipped": ("skipped", "skipped"),
    "TaskCancelled": ("cancelled", "cancelled"),
    "TaskReset": ("pending", "pending"),
    "SignalAwaited": ("retrying", "clock"),
    "StepWoken": ("running", "running"),
    "CompensationScheduled": ("compensating", "rolling"),
    "CompensationCompleted": ("compensated", "rolled"),
    "CompensationFailed": ("compensation_failed", "failed"),
    "CompensationSkipped": ("skipped", "skipped"),
}
NAMES = tuple(_SIGNS)
"""The names of events that a history may be filtered by."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event. The sentence is `before`, the linked task, `after`; `aside` is less important, `code` is verbatim."""

    sequence: int
    event: str
    at: dt.datetime
    actor: str
    cause: str | None
    state: str
    icon: str
    task: str
    node: str
    before: str
    after: str
    aside: str
    code: str
    data: str
    minor: bool = False


@dataclass(frozen=True, slots=True)
class Fold:
    """Some minor events after each other."""

    entries: tuple[Entry, ...]

    @property
    def id(self) -> str:
        """This will name the fold by its first event, so that it stays open while it grows."""
        return f"f-{self.entries[-1].sequence}"

    @property
    def span(self) -> str:
        """This will give the numbers from first to last."""
        first, last = self.entries[-1].sequence, self.entries[0].sequence
        return f"{first}–{last}" if first != last else str(first)

    @property
    def names(self) -> str:
        """This will name what is folded, each kind once."""
        seen = dict.fromkeys(entry.event for entry in reversed(self.entries))
        return ", ".join(seen)


def newest(
    instance: uuid.UUID, *, titles: Mapping[str, str], size: int, until: int | None = None, before: int | None = None,
    after: int | None = None, with_data: bool = False, name: str = "", node: tuple[str, str] | None = None,
) -> list[Entry]:  # fmt: skip
    """This will read events, newest first: the newest, those before a number, or those next after one."""
    rows = LoggedEvent.objects.filter(instance=instance)
    if until is not None:
        rows = rows.filter(sequence__lte=until)
    if name:
        rows = rows.filter(event=name)
    if node is not None:
        rows = rows.filter(stage_name=node[0], task_name=node[1])
    if after is not None:
        found = list(rows.filter(sequence__gt=after).order_by("sequence").values(*_COLUMNS)[:size])[::-1]
    else:
        if before is not None:
            rows = rows.filter(sequence__lt=before)
        found = list(rows.order_by("-sequence").values(*_COLUMNS)[:size])
    return [entry_of(row, titles=titles, with_data=with_data) for row in found]


def folded(entries: Sequence[Entry]) -> list[Entry | Fold]:
    """This will fold two or more minor events after each other into one line."""
    result: list[Entry | Fold] = []
    run: list[Entry] = []
    for entry in [*entries, None]:
        if entry is not None and entry.minor:
            run.append(entry)
            continue
        result += [Fold(tuple(run))] if len(run) > 1 else run
        run = []
        if entry is not None:
            result.append(entry)
    return result


def entry_of(row: Mapping[str, Any], *, titles: Mapping[str, str], with_data: bool) -> Entry:
    """This will tell one event in a sentence."""
    data = row["data"] or {}
    stage, task, attempt = row["stage_name"], row["task_name"], row["attempt"]
    node = f"{stage}/{task}" if task else ""
    title = titles.get(node) or words.readable(task or "")
    state, icon = _SIGNS.get(row["event"], ("", "info"))
    if row["event"] == "TaskFailed" and not data.get("spent", True):
        icon = "retrying"
    before, after, aside, code = _sentence(row["event"], data, stage or "", attempt, row["actor"])
    text = ""
    if with_data and data:
        text = json.dumps(masked(data, template=row["instance__template_id"]), ensure_ascii=False, indent=2)
        if len(text) > _MOST_DATA:
            text = f"{text[:_MOST_DATA]}\n… {len(text) - _MOST_DATA:,} more characters; the API has them all."
    return Entry(
        sequence=row["sequence"], event=row["event"], at=row["occurred_at"], actor=row["actor"], cause=row["cause"],
        state=state, icon=icon, task=title, node=node, before=before, after=after, aside=aside, code=code, data=text,
        minor=row["event"] in _MINOR,
    )  # fmt: skip


def _phase(data: Mapping[str, Any]) -> str:
    if data.get("again"):
        return f"{data['phase']}, with those who took part before"
    names = [words.readable(one["name"]) for one in data.get("plugins", ())]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{data['phase']}, with {', '.join(names[:_NAMED])}{more}" if names else f"{data['phase']}, with nobody"


def _kept_out(data: Mapping[str, Any]) -> str:
    names = [words.readable(name) for group in data.get("excluded", ()) for name in group["names"]]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"Not applicable: {', '.join(names[:_NAMED])}{more}" if names else ""


def _sentence(
    event: str, data: Mapping[str, Any], stage: str, attempt: int | None, actor: str
) -> tuple[str, str, str, str]:
    """The words before and after the task's name, an aside, and what is shown verbatim."""
    by = data.get("by") or ""
    error = data.get("error") or {}
    code = str(error.get("code") or "")
    said = str(error.get("message") or "")
    reason = f"“{data['reason']}”" if data.get("reason") else ""
    comment = f"“{data['comment']}”" if data.get("comment") else ""
    hand = "by hand" if data.get("by_hand") else ""
    match event:
        case "WorkflowStarted":
            return f"By {data.get('started_by') or actor}, on version {data.get('version', '?')}.", "", "", ""
        case "WorkflowFailed":
            return f"Needs someone: {data['reason']}." if data.get("reason") else "Needs someone.", "", "", ""
        case "WorkflowRecovered":
            return "Nothing is failed any more.", "", "", ""
        case "WorkflowSuspended" | "WorkflowResumed" | "WorkflowCancelled":
            return f"By {actor}.", "", reason, ""
        case "WorkflowTimedOut":
            return "It took longer than the template allows.", "", "", ""
        case "WorkflowCompleted":
            return "Every stage is done.", "", "", ""
        case "SignalReceived":
            return "Kept until a step waits for it.", "", "", str(data.get("name", ""))
        case "ReplayRequested":
            return (f"{actor} runs", "and what follows again." if stage else "", reason, "")
        case "RollbackStarted":
            return f"By {actor}: what was done is undone, newest first.", "", reason, ""
        case "RollbackFailed":
            return "The rollback stopped and needs someone.", "", "", ""
        case "RollbackResumed":
            return "The rollback goes on.", "", "", ""
        case "RollbackCompleted":
            return "All that could be undone is undone.", "", "", ""
        case "InputRefused":
            return (
                f"{data.get('reason', 'Refused')}.".replace("..", "."),
                "",
                "changed nothing",
                str(data.get("code", "")),
            )
        case "StageActivated" | "StageCompleted" | "StageSkipped" | "StageCancelled" | "StageReset":
            return f"{stage}.", "", "", ""
        case "PhaseStarted":
            return f"{stage}: {_phase(data)}.", "", _kept_out(data), ""
        case "TaskScheduled":
            to = f", for {words.readable(data['assigned_to'])}" if data.get("assigned_to") else ""
            return "", f", attempt {attempt}{to}.", "", ""
        case "TaskStarted":
            return "", f", taken by {data.get('worker') or actor}.", "", ""
        case "TaskClaimed":
            return f"{by or actor} took", ".", "", ""
        case "TaskReleased":
            return f"{by or actor} gave back", ".", "", ""
        case "TaskReassigned":
            return f"{by or actor} gave", f"to {words.readable(str(data.get('assigned_to') or ''))}.", reason, ""
        case "TaskCommented":
            return f"{by or actor} on", f": {comment}", "", ""
        case "TaskCompleted":
            who = f" by {by}" if by else f" {hand} by {actor}" if hand else ""
            outcome = f": {words.readable(str(data['outcome']))}" if data.get("outcome") else ""
            keys = ", ".join(list(data.get("output") or {})[:4])
            return "", f"{who}{outcome}.", comment or reason or (f"Adds {keys}" if keys else ""), ""
        case "TaskFailed":
            who = f" by {by}" if by else f" {hand} by {actor}" if hand else ""
            spent = " No attempt is left." if data.get("spent") and (attempt or 0) > 1 else ""
            return "", f", attempt {attempt}{who}.{spent}", said or comment, code
        case "TaskReturned":
            return f"{by or actor} sent", f"back to {words.readable(str(data.get('return_to') or ''))}.", comment, ""
        case "RetryScheduled":
            at = parse_datetime(str(data.get("retry_at") or ""))
            return "", f", next try {times.moment(at, now=at)}." if at else ", tried again.", "", ""
        case "TaskSkipped":
            return "", f" by {actor}." if reason else ": its condition does not hold.", reason, ""
        case "TaskCancelled":
            return "", " withdrawn.", "", ""
        case "TaskReset":
            return "", " is set back for a replay.", "", ""
        case "SignalAwaited":
            return "", " waits for", "", str(data.get("name", ""))
        case "StepWoken":
            return "", " goes on:", "", str(data.get("name", ""))
        case "CompensationScheduled":
            return "Undoing", f", try {attempt}.", "", ""
        case "CompensationCompleted":
            return "Undid", f" {hand}.".replace(" .", "."), reason or comment, ""
        case "CompensationFailed":
            return "The undoing of", f"failed, try {attempt}.", said or comment, code
        case "CompensationSkipped":
            return "The effect of", f"stands, says {actor}.", reason, ""
        case _:
            return stage, "", "", ""
