"""What a client may follow: topics, their names and their numbers.

| topic | `sequence` | `changed` |
| --- | --- | --- |
| `instance:ID` | number of the newest event | the touched tasks as `STAGE/TASK` |
| `instances`, `overview` | microseconds since 1970 of the newest commit | ids of instances |
| `inbox` | the same | ids of human tasks |

`["*"]` means: too many to name, or not known; fetch what you show.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum

GROUP = "orchestrator.live"
"""The one group of the channel layer: each process that holds websockets is a member of it, once."""

MOST_NAMED = 200
EVERYTHING = ("*",)
OVERLAP = dt.timedelta(seconds=5)
"""Who asks what has happened since a moment is told of a little more: moments are taken before the commit."""


class Kind(StrEnum):
    """The kinds of topics."""

    INSTANCE = "instance"
    INSTANCES = "instances"
    INBOX = "inbox"
    OVERVIEW = "overview"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic; `instance_id` only for the kind `instance`."""

    kind: Kind
    instance_id: uuid.UUID | None = None

    def __str__(self) -> str:
        return f"instance:{self.instance_id}" if self.instance_id else str(self.kind)


class UnknownTopic(Exception):
    """There is no such topic. Subscribe to instance:ID, instances, inbox or overview."""


class NoSuchInstance(Exception):
    """What follows `instance:` is no id that an instance could have."""


def topic_of(text: str) -> Topic:
    """This will read a topic's name; raises UnknownTopic or NoSuchInstance."""
    kind, colon, rest = text.partition(":")
    if kind == Kind.INSTANCE and colon:
        try:
            instance_id = uuid.UUID(rest)
        except ValueError:
            raise NoSuchInstance(rest) from None
        # uuid.UUID also takes braces, urn: and missing hyphens; ids have one spelling.
        if str(instance_id) != rest:
            raise NoSuchInstance(rest)
        return Topic(Kind.INSTANCE, instance_id)
    if colon or kind not in (Kind.INSTANCES, Kind.INBOX, Kind.OVERVIEW):
        raise UnknownTopic(text)
    return Topic(Kind(kind))


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def number_of(moment: dt.datetime) -> int:
    """This will give the number of a moment: the same in every process, growing through restarts."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(number: int) -> dt.datetime:
    """This will give the moment of a number; raises OverflowError for one beyond the calendar."""
    return _EPOCH + number * _MICROSECOND
