"""What a step is told, and what it may answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from workflows.tracecontext import TraceContext


@dataclass(frozen=True, slots=True)
class StepTask:
    """What a step is told: whose turn it is, the context, and, after a wait, the signal that came and its own memory.

    `output` is that of the task that a compensation undoes, None where it may have had none (`possible`); `woken` tells
    a signal without a payload from none; `trace` is the trace context of the attempt.
    """

    instance_id: str
    business_ref_no: str
    stage_name: str
    task_name: str
    attempt: int
    context: Mapping[str, Any]
    compensation: bool = False
    signal: Any = None
    memory: Any = None
    output: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    possible: bool = False
    position: int = 0
    woken: bool = False
    trace: TraceContext | None = None

    @property
    def trace_headers(self) -> dict[str, str]:
        """What to send with calls that the step makes, `traceparent` and `tracestate`; empty where there is none."""
        return self.trace.headers if self.trace is not None else {}


@dataclass(frozen=True, slots=True)
class Done:
    """The step is done; `output` is merged into the context."""

    output: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The step goes on when a Signal of this name comes: it is called again with the payload and its `memory`."""

    signal: str
    memory: Any = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; the task's retry and failure policies apply. What the step wrote is undone."""

    code: str
    message: str = ""
    details: Any = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """The step has nothing to do this time: its task counts as done, and as skipped. What it wrote is undone."""

    reason: str = ""


Outcome = Done | Waiting | Failed | Skipped
Perform = Callable[[StepTask], Outcome]
StepFunction = Callable[..., Any]
