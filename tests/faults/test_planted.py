"""A few planted bugs are caught, and the others can still be planted; all of them: `./run faults planted`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.faults.planted.bugs import BUGS
from tests.faults.planted.hunt import hunt
from tests.tree import ROOT


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["no-inbox-unique", "no-lock-on-approve"])
def test_a_planted_bug_is_caught(name: str) -> None:
    kill = hunt(BUGS[name], of=15)

    assert kill.seed, "nobody found it"
    assert kill.clean_without, "something is found without it, too"


PLANT_ALL = """
import django, os, sys
django.setup()
from tests.faults.planted.bugs import BUGS
for name, bug in BUGS.items():
    bug.plant()
    print(name)
"""


def test_every_bug_can_be_planted() -> None:
    # What a bug changes must be there to be changed: a rename in the product would make it plant nothing.
    done = subprocess.run(
        [sys.executable, "-c", PLANT_ALL],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "orchestrator_site.settings_test", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.split() == list(BUGS), done.stderr


def test_there_are_eighteen_and_each_has_its_hunter() -> None:
    assert len(BUGS) == 18
    assert all(bug.sweep or bug.duel for bug in BUGS.values())
