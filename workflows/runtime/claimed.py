"""A message that a relay has in hand."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple


class Claimed(NamedTuple):
    """A message to be sent: `body` is its JSON, exactly as it was written down; `tries` counts those that failed.

    `trace` is the trace context that goes with it.
    """

    pk: int
    message_id: str
    queue: str
    body: str
    tries: int
    next_try_at: dt.datetime
    task: tuple[Any, int, str]
    is_first: bool
    event: str
    attempt: int
    place: bool
    trace: str
