"""People, a door, and a look at every history after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.runtime.door import Door, check_everything, settle_people
from workflows.runtime.loading import snapshots


@pytest.fixture
def door(db: None) -> Iterator[Callable[..., Door]]:
    """Open a door onto a template; when the test is over, every log must agree with its rows."""
    snapshots.forget()
    settle_people()

    def make(template: dict[str, Any] | None = None, **how: Any) -> Door:
        return Door(template, **how)

    yield make
    check_everything()
