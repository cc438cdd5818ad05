"""Bugs that are planted on purpose: whoever looks for faults must find each of them."""

from __future__ import annotations

import os

from tests.faults.planted.bugs import BUGS

VARIABLE = "PLANTED_BUG"


def plant_from_environment() -> None:
    """Plant the bug that the environment names, if it names one."""
    name = os.environ.get(VARIABLE)
    if name:
        BUGS[name].plant()
