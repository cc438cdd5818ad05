"""Which trace an instance belongs to: what its messages say of it, and under which ids its spans are written.

Note [One trace for each instance]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
An instance belongs to the trace of whoever started it; the history keeps that context (`trace` of WorkflowStarted).
One that was started without has a trace of its own, where this site writes spans, and none where it does not.

Nothing else is kept: the ids of all spans are digests of what they stand for. So a message can name the span of its
attempt as the parent of the service's before anybody has written that span; it is written when the attempt ends, days
later and by another process perhaps, from what was committed. A site that writes no spans passes on what it was told.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from workflows import tracecontext
from workflows.tracecontext import TraceContext


@dataclass(slots=True)
class Site:
    """Whether this site writes spans. `sampled` is then asked whether those of a trace that begins here are kept."""

    sampled: Callable[[str], bool] | None = None


site = Site()
"""That of this process; wiring fills it."""


def of_instance(instance_id: uuid.UUID, told: str) -> TraceContext | None:
    """This will give the context below which the instance's spans are; `told` is what its history keeps."""
    caller = tracecontext.from_text(told) if told else None
    if site.sampled is None:
        return caller
    span_id = _digest(instance_id, "start", 8)
    if caller is not None:
        return replace(caller, span_id=span_id)
    trace_id = _digest(instance_id, "trace", 16)
    return TraceContext(trace_id, span_id, site.sampled(trace_id))


def of_attempt(
    instance_id: uuid.UUID, told: str, *, position: int, attempt: int, compensation: bool
) -> TraceContext | None:
    """This will give the context below which are the spans of whoever does that attempt."""
    found = of_instance(instance_id, told)
    if found is None or site.sampled is None:
        return found
    way = "undo" if compensation else "do"
    return replace(found, span_id=_digest(instance_id, f"{position}/{attempt}/{way}", 8))


def _digest(instance_id: uuid.UUID, name: str, size: int) -> str:
    # All zeros would be no id; nobody will live to see it, but it costs nothing.
    found = hashlib.blake2b(name.encode(), key=instance_id.bytes, digest_size=size).digest()
    return found.hex() if any(found) else "1".zfill(2 * size)
