"""What the engine is told of plugins when a phase of an activity begins; the answer is frozen in the history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from workflows.definitions.schema import ExcludedPlugin, Json, Phase

__all__ = ["ExcludedPlugin", "Expected", "ExpectedPlugin", "Phase"]


class ExpectedPlugin(NamedTuple):
    """A plugin that takes part in a phase.

    `task` is the task that it becomes, written as in a template (without parents); an optional one has the failure
    policy `continue`. `labels` are what an auditor wants to know: `system`, `regulation`.
    """

    name: str
    mandatory: bool
    task: Mapping[str, Json]
    labels: Mapping[str, str]


class Expected(NamedTuple):
    """Who takes part in a phase, in the order in which they run, and who was kept out."""

    plugins: tuple[ExpectedPlugin, ...] = ()
    excluded: tuple[ExcludedPlugin, ...] = ()
