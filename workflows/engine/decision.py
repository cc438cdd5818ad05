"""How a decision answers a command, and what it may ask of the world."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from workflows.definitions.schema import Phase
from workflows.definitions.search import SearchValue
from workflows.engine.events import Event
from workflows.engine.plugins import Expected
from workflows.engine.snapshot import Snapshot


class Accepted(NamedTuple):
    """The command is carried out: these events happened, and this is the instance after them."""

    events: tuple[Event, ...]
    snapshot: Snapshot


class Duplicate(NamedTuple):
    """The command has been carried out before; nothing changes."""

    reason: str


class Rejected(NamedTuple):
    """The command is not carried out.

    `code` is a problem code of the contract; `errors` point at faults of the input; `details` are further members of
    the problem document, such as who is in the way.
    """

    code: str
    reason: str
    errors: tuple[Mapping[str, str], ...] = ()
    details: Mapping[str, Any] = MappingProxyType({})


Decision = Accepted | Duplicate | Rejected


class World(Protocol):
    """What a decision can't know by itself."""

    def assignee_kind(self, name: str) -> str:
        """This will tell whether the name is that of a `user` or a `group` ("" for neither)."""

    def chance(self) -> float:
        """This will give a number from 0 up to, not including, 1 (for jitter)."""

    def expected_plugins(self, activity: str, phase: Phase, attributes: Mapping[str, SearchValue]) -> Expected:
        """This will tell who takes part in a phase of an activity, of an instance with these attributes."""
