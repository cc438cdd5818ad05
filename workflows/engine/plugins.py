"""What the engine is told of plugins when a phase of an activity begins; the answer is frozen in the history."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from workflows.definitions.schema import Json


class Phase(StrEnum):
    """The three phases of an activity, in their order: one after another, all together, one after another."""

    PRE = "pre"
    PARALLEL = "parallel"
    POST = "post"


class ExpectedPlugin(NamedTuple):
    """A plugin that takes part in a phase.

    `task` is the task that it becomes, written as in a template (without parents); an optional one has the failure
    policy `continue`. `labels` are what an auditor wants to know: `system`, `regulation`.
    """

    name: str
    mandatory: bool
    task: Mapping[str, Json]
    labels: Mapping[str, str]


class ExcludedPlugin(NamedTuple):
    """A plugin of a phase that its filter policy keeps out of this instance: recorded, never waited for."""

    name: str
    mandatory: bool
    labels: Mapping[str, str]


class Expected(NamedTuple):
    """Who takes part in a phase, in the order in which they run, and who was kept out."""

    plugins: tuple[ExpectedPlugin, ...] = ()
    excluded: tuple[ExcludedPlugin, ...] = ()
