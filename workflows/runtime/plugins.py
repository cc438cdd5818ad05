"""Who takes part in a phase of an activity: asked of the registry, or of what a test has planted in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from workflows.activities.registry import expected_plugins
from workflows.definitions.schema import Phase
from workflows.definitions.search import SearchValue
from workflows.engine.plugins import Expected

Registry = Callable[[str, Phase, Mapping[str, SearchValue]], Expected]
"""(activity, phase, attributes) -> who takes part. Called under the instance's lock, in the deciding transaction."""


_registry: Registry = expected_plugins


def ask_with(registry: Registry) -> Callable[[], None]:
    """This will have the registry asked from now on; the answer puts the one before back."""
    global _registry
    before, _registry = _registry, registry

    def undo() -> None:
        global _registry
        _registry = before

    return undo


def expected(activity: str, phase: Phase, attributes: Mapping[str, SearchValue]) -> Expected:
    """This will tell who takes part in the phase now."""
    return _registry(activity, phase, attributes)
