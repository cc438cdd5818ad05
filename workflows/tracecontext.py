"""The W3C Trace Context of a message or a request: read strictly, written, never refused.

Follows the recommendation "Trace Context", level 1: https://www.w3.org/TR/trace-context-1/. What cannot be read is as
good as absent: tracing never keeps work from being done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PARENT, STATE = "traceparent", "tracestate"
MOST_STATE = 512
"""How many characters of a `tracestate` are passed on."""

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_KEY = r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(f"({_KEY})=({_VALUE})")
_MOST_MEMBERS = 32
_LONG_MEMBER = 128
_SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Whose child the next span is: ids in lower-case hexadecimal, never all zeros. `state` is a `tracestate`."""

    trace_id: str
    span_id: str
    sampled: bool = True
    state: str = ""

    @property
    def parent(self) -> str:
        """This will give the `traceparent`. Flags that have no meaning in version 00 are zero."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def __str__(self) -> str:
        """This will give both as one text, for `from_text`."""
        return f"{self.parent} {self.state}" if self.state else self.parent

    @property
    def headers(self) -> dict[str, str]:
        """This will give both as headers of a request or message."""
        return {PARENT: self.parent, STATE: self.state} if self.state else {PARENT: self.parent}


def read(parent: Any, state: Any = None) -> TraceContext | None:
    """This will read a `traceparent` and its `tracestate`; None where there is none that could be understood.

    A `tracestate` that cannot be read is left out, and one without a `traceparent` says nothing.
    """
    found = _PARENT.fullmatch(parent.strip(" \t")) if isinstance(parent, str) else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    # A later version may say more, behind a dash; what we know of it is where it was.
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED), _state(state))


def from_text(text: str) -> TraceContext | None:
    """This will read what `str` has written."""
    parent, _, state = text.partition(" ")
    return read(parent, state)


def from_headers(headers: Mapping[str, Any]) -> TraceContext | None:
    """This will read the context of a message or request from its headers, or of a body from its fields."""
    parent = headers.get(PARENT)
    return None if parent is None else read(_text(parent), _text(headers.get(STATE)))


def _text(value: Any) -> Any:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _state(text: Any) -> str:
    if not isinstance(text, str):
        return ""
    members = [member.strip(" \t") for member in text.split(",")]
    members = [member for member in members if member]
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = {one[1] for one in found if one is not None}
    if len(members) > _MOST_MEMBERS or len(keys) != len(members):
        return ""
    return _shortened(members)


def _shortened(members: list[str]) -> str:
    # Whole members only, long ones first, then from the end, as the recommendation has it.
    while members and sum(map(len, members)) + len(members) - 1 > MOST_STATE:
        long = [at for at, member in enumerate(members) if len(member) > _LONG_MEMBER]
        members.pop(long[-1] if long else -1)
    return ",".join(members)
