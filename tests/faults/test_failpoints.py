"""Failpoints do nothing unless twice allowed, and what was asked for when they are."""

from __future__ import annotations

import os
import re
import threading
import timeit
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tree import ROOT
from workflows import failpoints


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None, allowed=False)


def test_nothing_happens_without_the_permission_of_the_settings() -> None:
    failpoints.arm("before_commit=kill", allowed=False)

    failpoints.hit("before_commit")


def test_a_site_of_its_own_settings_is_never_armed() -> None:
    from orchestrator_site import settings

    assert not getattr(settings, "FAILPOINTS", False)


def test_each_point_is_somewhere() -> None:
    said = [
        name
        for path in (ROOT / "workflows").rglob("*.py")
        for name in re.findall(r'failpoints\.hit\("(\w+)"\)', path.read_text())
    ]

    # Each adapter of a broker has its own.
    assert set(said) == set(failpoints.POINTS)
    assert len(said) >= 24


def test_an_action_of_its_point_and_no_other() -> None:
    failpoints.arm("before_commit=raise", allowed=True)

    failpoints.hit("after_commit")
    with pytest.raises(failpoints.Injected):
        failpoints.hit("before_commit")


def test_the_third_hit() -> None:
    failpoints.arm("before_commit=nth(3, raise)", allowed=True)

    failpoints.hit("before_commit")
    failpoints.hit("before_commit")
    with pytest.raises(failpoints.Injected):
        failpoints.hit("before_commit")
    failpoints.hit("before_commit")


def test_once_for_all_processes(tmp_path: Path) -> None:
    said = f"before_commit=once({tmp_path / 'done'}, raise)"
    failpoints.arm(said, allowed=True)
    with pytest.raises(failpoints.Injected):
        failpoints.hit("before_commit")

    failpoints.arm(said, allowed=True)  # as another process would

    failpoints.hit("before_commit")


def test_a_kill_ends_the_process_at_once() -> None:
    child = os.fork()
    if child == 0:
        try:
            failpoints.arm("before_commit=kill", allowed=True)
            failpoints.hit("before_commit")
        finally:
            os._exit(0)  # not reached: a kill runs no handler

    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 137


def test_a_file_that_changes(tmp_path: Path) -> None:
    said = tmp_path / "failpoints"
    failpoints.arm(f"@{said}", allowed=True)
    failpoints.hit("before_commit")

    said.write_text("before_commit=raise\nafter_commit=sleep(0)\n")

    failpoints.hit("after_commit")
    with pytest.raises(failpoints.Injected):
        failpoints.hit("before_commit")


def test_a_barrier_holds_until_all_are_there(tmp_path: Path) -> None:
    failpoints.arm(f"before_commit=barrier({tmp_path / 'gate'}, 2)", allowed=True)
    passed = threading.Event()

    def go() -> None:
        failpoints.hit("before_commit")
        passed.set()

    first = threading.Thread(target=go)
    first.start()
    while not (tmp_path / "gate").exists():
        assert not passed.is_set()
    failpoints.hit("before_commit")
    first.join(30)

    assert passed.is_set()


@pytest.mark.parametrize("said", ["nowhere=kill", "before_commit=explode", "before_commit=sleep(x)"])
def test_what_makes_no_sense_is_refused(said: str) -> None:
    with pytest.raises(ValueError):
        failpoints.arm(said, allowed=True)


def test_they_cost_nothing_when_off() -> None:
    hit = failpoints.hit

    seconds = min(timeit.repeat(lambda: hit("before_commit"), number=10_000, repeat=5)) / 10_000

    # A transaction passes about twenty; one of a microsecond each would still be a hundredth of it.
    assert seconds < 1e-6
