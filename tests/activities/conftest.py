"""A door onto the house with plugins planted: every history is checked when a journey is over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from django.utils import timezone

from tests.activities.called import Plugin
from tests.builders import Planted, expected_of
from tests.runtime.conftest import door
from workflows.engine.plugins import Expected, Phase
from workflows.messaging.calling import Caller
from workflows.runtime import plugins

__all__ = ["called", "caller", "door", "plant"]


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


@pytest.fixture
def called(settings: Any) -> Iterator[Plugin]:
    """Somebody with an address, which this site may call."""
    settings.PLUGIN_HOSTS = ["127.0.0.1"]
    made = Plugin()
    yield made
    made.close()


@pytest.fixture
def caller() -> Iterator[Caller]:
    """The job that calls, without its thread."""
    made = Caller(now=timezone.now)
    yield made
    made._end()
