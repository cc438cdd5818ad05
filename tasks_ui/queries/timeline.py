"""When each task waited, worked and paused between attempts: bars on one scale, long quiet stretches cut out."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from django.utils import timezone

from tasks_ui.words import Sign
from workflows.models import LoggedEvent

_ABOUT_TASKS = (
    "TaskScheduled", "TaskStarted", "TaskClaimed", "TaskReleased", "TaskReassigned", "TaskCompleted", "TaskFailed",
    "TaskReturned", "RetryScheduled", "TaskSkipped", "TaskCancelled", "TaskReset", "SignalAwaited", "StepWoken",
    "CompensationScheduled", "CompensationCompleted", "CompensationFailed", "CompensationSkipped",
)  # fmt: skip
_MOST_EVENTS = 4000
_ROOM = 96.0
_CUT = 6.0

_ENDS = {
    "TaskCompleted": "completed",
    "TaskFailed": "failed",
    "TaskReturned": "retrying",
    "TaskSkipped": "skipped",
    "TaskCancelled": "cancelled",
    "TaskReset": "cancelled",
    "CompensationCompleted": "compensated",
    "CompensationFailed": "compensation_failed",
    "CompensationSkipped": "skipped",
}


@dataclass(slots=True)
class Span:
    """A stretch of time: `kind` is work, wait or pause."""

    kind: str
    state: str
    start: dt.datetime
    end: dt.datetime | None = None


@dataclass(slots=True)
class Line:
    """The spans of one task."""

    node: str
    title: str
    sign: Sign
    attempt: int
    spans: list[Span] = field(default_factory=list)
    marks: list[dt.datetime] = field(default_factory=list)
    begun: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A span with its place, in percent."""

    kind: str
    state: str
    x: str
    end: str
    width: str


@dataclass(frozen=True, slots=True)
class DrawnLine:
    """One task as it is drawn."""

    node: str
    title: str
    sign: Sign
    attempt: int
    bars: tuple[Bar, ...]
    marks: tuple[str, ...]
    waited: dt.timedelta | None
    worked: dt.timedelta | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """All of it. `cuts` are the stretches left out, `hidden` how long they are together."""

    lines: tuple[DrawnLine, ...]
    ticks: tuple[tuple[str, str, str], ...]
    cuts: tuple[tuple[str, str], ...]
    hidden: dt.timedelta | None
    more: int
    partial: bool


def read(
    instance: uuid.UUID, *, tasks: Mapping[str, Any], now: dt.datetime, until: int | None = None, most: int = 40,
    with_idle: bool = False, ended: dt.datetime | None = None,
) -> Timeline:  # fmt: skip
    """This will draw the timeline from the history. `tasks` are those of the page by node; `most` rows are drawn."""
    rows = LoggedEvent.objects.filter(instance=instance, event__in=_ABOUT_TASKS)
    if until is not None:
        rows = rows.filter(sequence__lte=until)
    found = list(
        rows.order_by("-sequence").values_list("event", "occurred_at", "stage_name", "task_name")[:_MOST_EVENTS]
    )[::-1]
    lines = _lines(found, tasks)
    end = ended or now
    shown = sorted(lines, key=lambda line: (_calm(line), -(line.begun or end).timestamp()))[:most]
    shown.sort(key=lambda line: (line.begun or end, line.node))
    return _drawn(shown, end=end, more=len(lines) - len(shown), with_idle=with_idle, partial=len(found) == _MOST_EVENTS)


def _calm(line: Line) -> bool:
    return line.sign.state in ("completed", "skipped", "pending", "cancelled")


def _lines(found: list[Any], tasks: Mapping[str, Any]) -> list[Line]:
    lines: dict[str, Line] = {}
    for event, at, stage, name in found:
        node = f"{stage}/{name}"
        if (task := tasks.get(node)) is None:
            continue
        line = lines.get(node)
        if line is None:
            line = lines[node] = Line(node=node, title=task.title, sign=task.sign, attempt=task.attempt, begun=at)
        _step(line, event, at, human=task.kind == "HUMAN")
    return list(lines.values())


def _step(line: Line, event: str, at: dt.datetime, *, human: bool) -> None:
    last = line.spans[-1] if line.spans and line.spans[-1].end is None else None
    match event:
        case "TaskScheduled":
            _close(last, at)
            # A service works from the moment it is asked unless it says when it starts; a person waits first.
            line.spans.append(Span("wait" if human else "sent", "", at))
        case "TaskStarted" | "TaskClaimed" | "StepWoken":
            if event == "TaskStarted" and last and last.kind == "work":
                return
            if last and last.kind == "sent":
                last.kind = "wait"
            if last and last.state == "compensating":
                return
            _close(last, at)
            line.spans.append(Span("work", "started", at))
        case "TaskReleased" | "TaskReassigned" if last and last.kind == "work" and last.state == "started":
            _close(last, at)
            line.spans.append(Span("wait", "", at))
        case "RetryScheduled" | "SignalAwaited":
            _close(last, at)
            line.spans.append(Span("pause", "retrying", at))
        case "CompensationScheduled":
            _close(last, at)
            line.spans.append(Span("work", "compensating", at))
        case _ if event in _ENDS:
            if last is None or last.start == at:
                line.marks.append(at)
            if last:
                if last.kind == "sent":
                    last.kind = "work"
                if last.kind == "work":
                    last.state = _ENDS[event]
            _close(last, at)


def _close(span: Span | None, at: dt.datetime) -> None:
    if span is not None:
        span.end = at


def _drawn(lines: list[Line], *, end: dt.datetime, more: int, with_idle: bool, partial: bool) -> Timeline:
    edges = {moment for line in lines for span in line.spans for moment in (span.start, span.end or end)}
    moments = sorted(edges | {mark for line in lines for mark in line.marks})
    if not moments:
        return Timeline((), (), (), None, more, partial)
    start, end = moments[0], max(moments[-1], moments[0] + dt.timedelta(seconds=1))
    gaps = [] if with_idle else _gaps(moments, end - start)
    hidden = sum((b - a for a, b in gaps), dt.timedelta())
    room = _ROOM - _CUT * len(gaps)
    scale = room / max((end - start - hidden).total_seconds(), 1e-6)

    def place(moment: dt.datetime) -> float:
        x, at = 0.0, start
        for a, b in gaps:
            if moment <= a:
                break
            x += (a - at).total_seconds() * scale
            inside = min(1.0, (moment - a) / (b - a))
            x += _CUT * inside
            at = b
            if moment < b:
                return x
        return x + max(0.0, (moment - at).total_seconds()) * scale

    drawn = []
    for line in lines:
        bars = tuple(_bar(span, place, end) for span in line.spans)
        drawn.append(
            DrawnLine(
                node=line.node, title=line.title, sign=line.sign, attempt=line.attempt, bars=bars,
                marks=tuple(f"{place(mark):.2f}%" for mark in line.marks),
                waited=_total(line, ("wait", "pause"), end), worked=_total(line, ("work", "sent"), end),
            )
        )  # fmt: skip
    cuts = tuple((f"{place(a):.2f}%", f"{_CUT:.0f}%") for a, _ in gaps)
    return Timeline(tuple(drawn), _ticks(start, end, place), cuts, hidden if gaps else None, more, partial)


def _bar(span: Span, place: Any, end: dt.datetime) -> Bar:
    a, b = place(span.start), place(span.end or end)
    kind = "work" if span.kind == "sent" else span.kind
    state = span.state or ("scheduled" if span.kind == "sent" else "")
    return Bar(kind=kind, state=state, x=f"{a:.2f}%", end=f"{max(b, a + 0.3):.2f}%", width=f"{max(b - a, 0.4):.2f}%")


def _total(line: Line, kinds: tuple[str, ...], end: dt.datetime) -> dt.timedelta | None:
    spans = [(span.end or end) - span.start for span in line.spans if span.kind in kinds]
    return sum(spans, dt.timedelta()) if spans else None


def _gaps(moments: list[dt.datetime], whole: dt.timedelta) -> list[tuple[dt.datetime, dt.datetime]]:
    least = max(dt.timedelta(minutes=5), whole * 0.3)
    gaps = [(a, b) for a, b in pairwise(moments) if b - a > least]
    # A little is left on both sides, so that bars that span the cut are seen to go on.
    edge = whole * 0.02
    return [(a + edge, b - edge) for a, b in gaps[:3]]


def _ticks(start: dt.datetime, end: dt.datetime, place: Any) -> tuple[tuple[str, str, str], ...]:
    whole = end - start
    moments = [start + whole * _moment_at(_ROOM * number / 4, start, end, place) for number in range(5)]
    closest = min(b - a for a, b in pairwise(moments))
    form = "%-d %b" if whole > dt.timedelta(hours=36) else "%H:%M" if closest > dt.timedelta(minutes=1) else "%H:%M:%S"
    return tuple(
        (f"{place(moment):.2f}%", f"{timezone.localtime(moment):{form}}", anchor)
        for moment, anchor in zip(moments, ("start", "middle", "middle", "middle", "end"), strict=True)
    )


def _moment_at(x: float, start: dt.datetime, end: dt.datetime, place: Any) -> float:
    low, high = 0.0, 1.0
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if place(start + (end - start) * middle) < x else (low, middle)
    return (low + high) / 2
