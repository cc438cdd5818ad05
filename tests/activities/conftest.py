"""A door onto the house with plugins planted: every history is checked when a journey is over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.builders import Planted, expected_of
from tests.runtime.conftest import door
from workflows.engine.plugins import Expected, Phase
from workflows.runtime import plugins

__all__ = ["door", "plant"]


class Garden:
    """The plugins that the site knows, in place of the registry; `asked` keeps the attributes of each phase."""

    def __init__(self) -> None:
        self.planted: Planted = {}
        self.asked: list[tuple[str, str, Mapping[str, Any]]] = []

    def __call__(self, activity: str, phase: Phase, attributes: Mapping[str, Any]) -> Expected:
        self.asked.append((activity, str(phase), attributes))
        return expected_of(self.planted, phase)


@pytest.fixture
def plant() -> Iterator[Garden]:
    """Plant plugins: `plant.planted = {"pre": [plugin(service("scan"))]}`."""
    garden = Garden()
    undo = plugins.ask_with(garden)
    yield garden
    undo()
