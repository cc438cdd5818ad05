"""The checker's own fold and the engine agree on whatever can be asked: the machine that asks the door anything.

`TEST_EXAMPLES=300 TEST_STEPS=40` digs deeper.
"""

from __future__ import annotations

import os
import re

import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tests.faults import checker, facts
from tests.runtime.door import settle_people
from tests.runtime.test_stateful import Machine, PluginMachine
from workflows.runtime.loading import snapshots

pytestmark = pytest.mark.django_db(transaction=True)

ASKED = ("S5", "S6", "S7", "S8", "S9", "S10", "S11", "S14", "S15", "S16", "S21", "L1", "L4")
"""What can be said of an instance whatever is asked; the machine's people are nobody's users, and its clock is its own."""


class _Judge:
    """What makes a machine one that the checker judges after every step."""

    @invariant()
    def the_checker_finds_nothing(self) -> None:
        if hasattr(self, "site"):
            evidence = checker.Evidence(facts=facts.read(f"sqlite:///{connection.settings_dict['NAME']}"))
            found = [str(one) for name in ASKED for one in checker.INVARIANTS[name](evidence)]
            assert found == [], self._history()

    def _history(self) -> str:
        lines = [
            f"{event} {event.attempt} {event.data}"
            for one in facts.read(f"sqlite:///{connection.settings_dict['NAME']}").instances.values()
            for event in one.events
        ]
        return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "", "\n".join(lines))


class Judged(_Judge, Machine):
    """The machine, judged."""


class JudgedPlugins(_Judge, PluginMachine):
    """The machine with an activity, judged."""


@pytest.mark.parametrize("machine", [Judged, JudgedPlugins])
def test_whatever_is_asked_the_checker_and_the_engine_agree(machine: type[Machine]) -> None:
    settle_people()
    snapshots.forget()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(os.environ.get("TEST_EXAMPLES", "8")),
            stateful_step_count=int(os.environ.get("TEST_STEPS", "12")),
            deadline=None,
            derandomize="TEST_EXAMPLES" not in os.environ,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
