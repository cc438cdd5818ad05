"""The checker finds nothing in what is sound, and each invariant is seen to be broken once."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults import checker
from tests.faults.records import OK, Operation
from tests.faults.world import left_in
from tests.tree import ROOT

STORIES = ("rollback", "human", "open")
Change = Callable[[checker.Evidence], None]


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Play some stories unbroken, each into a folder."""
    folder = tmp_path_factory.mktemp("stories")
    arguments = [part for name in STORIES for part in ("--scenario", name)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.sweep", "--keep", str(folder), *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "TEST_"))},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def judged(folder: Path, *sql: str, change: Change | None = None, **more: Any) -> set[str]:
    """Give the invariants that are broken in a folder, after it was tampered with."""
    with sqlite3.connect(folder / "db.sqlite3") as database:
        if sql:
            database.execute("DROP TRIGGER IF EXISTS workflows_loggedevent_no_update")
            database.execute("DROP TRIGGER IF EXISTS workflows_loggedevent_no_delete")
        for statement in sql:
            assert database.execute(statement).rowcount, "that changes nothing"
    database.close()
    evidence = dataclasses.replace(left_in(folder), **more)
    if change is not None:
        change(evidence)
    return {violation.invariant for violation in checker.check(evidence)}


@pytest.mark.parametrize("story", STORIES)
def test_what_is_sound_is_found_sound(stories: Path, story: str) -> None:
    assert judged(stories / story) == set()


EVENT = "workflows_loggedevent"
TAMPERED: Sequence[tuple[str, str, str]] = (
    ("S5", "rollback", f"DELETE FROM {EVENT} WHERE sequence = 3"),
    ("S6", "rollback", "UPDATE workflows_taskinstance SET state = 'COMPLETED' WHERE task_name = 'a'"),
    ("S6", "human", "UPDATE workflows_humantask SET state = 'STARTED' WHERE task_name = 'check'"),
    ("S7", "rollback", f"UPDATE {EVENT} SET event = 'WorkflowResumed' WHERE event = 'StageActivated'"),
    ("S8", "rollback", f"UPDATE {EVENT} SET event = 'TaskCommented' WHERE event = 'StageCompleted'"),
    ("S9", "rollback", f"UPDATE {EVENT} SET event = 'TaskCommented' WHERE event = 'TaskCompleted' AND task_name = 'a'"),
    ("S10", "rollback", f"UPDATE {EVENT} SET attempt = 3 WHERE event = 'TaskScheduled' AND task_name = 'b'"),
    ("S11", "rollback", "DELETE FROM workflows_outboxmessage WHERE task_name = 'b' AND event_name = 'StartTask'"),
    ("S12", "rollback", "UPDATE workflows_outboxmessage SET payload = replace(payload, 'context', 'contents')"),
    ("S14", "human", f"UPDATE {EVENT} SET attempt = 2 WHERE event = 'TaskCompleted' AND task_name = 'sign'"),
    (
        "S15",
        "rollback",
        f"UPDATE {EVENT} SET task_name = CASE task_name WHEN 'a' THEN 'b' ELSE 'a' END WHERE event LIKE 'Compensation%'",
    ),
    ("S16", "rollback", "UPDATE workflows_workflowtemplate SET definition = replace(definition, 'b_queue', 'd_queue')"),
    ("S18", "rollback", f"UPDATE {EVENT} SET actor = 'nobody at all' WHERE sequence = 4"),
    ("S21", "rollback", "UPDATE workflows_outboxmessage SET created_at = '2026-06-01 12:00:00' WHERE task_name = 'a'"),
    ("L1", "open", "DELETE FROM workflows_deadline WHERE kind = 'RETRY'"),
    ("L2", "rollback", "UPDATE workflows_outboxmessage SET state = 'PENDING' WHERE task_name = 'a'"),
    ("L3", "open", "UPDATE workflows_deadline SET due_at = '2026-01-01 11:00:00'"),
)


@pytest.mark.parametrize(("invariant", "story", "sql"), TAMPERED, ids=lambda value: str(value)[:40])
def test_each_tampering_is_seen(stories: Path, tmp_path: Path, invariant: str, story: str, sql: str) -> None:
    folder = tmp_path / story
    shutil.copytree(stories / story, folder)

    assert invariant in judged(folder, sql)


def asked(kind: str, key: str, **request: Any) -> Operation:
    return Operation("x", "test", kind, key, 0, 1, OK, request, {"status": 200})


def a_start_that_is_nowhere(evidence: checker.Evidence) -> None:
    start = asked("start", "R-9", component_name="SWEEP-human", business_ref_no="R-9")
    evidence.operations = [*(evidence.operations or ()), start]


def a_decision_that_is_nowhere(evidence: checker.Evidence) -> None:
    (instance,) = evidence.facts.instances.values()
    decision = asked("decision", str(instance.people[0].id), by="fiona")
    evidence.operations = [*(evidence.operations or ()), decision]


def an_effect_too_many(evidence: checker.Evidence) -> None:
    evidence.effects = [*(evidence.effects or ()), *(evidence.effects or ())[:1]]


def an_effect_too_few(evidence: checker.Evidence) -> None:
    evidence.effects = []


def a_message_that_is_nowhere(evidence: checker.Evidence) -> None:
    (instance,) = evidence.facts.instances.values()
    message = asked(
        "event",
        "lost",
        event_name="TaskPending",
        event_id="lost",
        component_name=instance.row.component_name,
        business_ref_no=instance.row.business_ref_no,
        stage_name="S",
        task_name="pay",
    )
    evidence.operations = [*(evidence.operations or ()), message]


def a_delivery_of_nothing(evidence: checker.Evidence) -> None:
    first = (evidence.deliveries or ())[0]
    evidence.deliveries = [*(evidence.deliveries or ()), first._replace(message_id="ghost")]


def no_deliveries(evidence: checker.Evidence) -> None:
    evidence.deliveries = []


def a_frame_of_the_future(evidence: checker.Evidence) -> None:
    evidence.frames = [*evidence.frames, {**evidence.frames[-1], "sequence": 10_000}]


def a_frame_for_somebody_else(evidence: checker.Evidence) -> None:
    evidence.frames = [*evidence.frames, {"socket": "s", "topic": "inbox", "sequence": 1, "allowed": False}]


@pytest.mark.parametrize(
    ("invariant", "change"),
    [
        ("S1", a_start_that_is_nowhere),
        ("S2", a_decision_that_is_nowhere),
        ("S3", an_effect_too_many),
        ("S3", an_effect_too_few),
        ("S4", a_message_that_is_nowhere),
        ("S12", a_delivery_of_nothing),
        ("S13", no_deliveries),
        ("S19", a_frame_of_the_future),
        ("S19", a_frame_for_somebody_else),
    ],
)
def test_each_broken_promise_is_seen(stories: Path, invariant: str, change: Change) -> None:
    assert invariant in judged(stories / "human", change=change)


def test_an_event_that_was_changed_is_seen(stories: Path, tmp_path: Path) -> None:
    folder = tmp_path / "human"
    shutil.copytree(stories / "human", folder)
    anchor = checker.anchor(f"sqlite:///{folder / 'db.sqlite3'}")
    assert judged(folder, anchors=[anchor]) == set()

    found = judged(folder, f"UPDATE {EVENT} SET actor = 'fiona' WHERE sequence = 4", anchors=[anchor])

    assert "S17" in found


@pytest.mark.parametrize(
    "line",
    [
        "Traceback (most recent call last):\n  File x\nValueError: surprise\n",
        '{"level": "ERROR", "exception": "Traceback (most recent call last):\\n  File x\\nValueError: surprise"}\n',
    ],
)
def test_a_traceback_is_seen_unless_it_is_expected(stories: Path, tmp_path: Path, line: str) -> None:
    log = tmp_path / "web.log"
    log.write_text(line)

    assert judged(stories / "human", logs=[log]) == {"S20"}
    assert judged(stories / "human", logs=[log], expected=["ValueError: surprise"]) == set()


def test_a_secret_that_is_printed_is_seen(stories: Path, tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_text("connecting with PLANTED\n")

    assert judged(stories / "human", logs=[log], secrets=["PLANTED"]) == {"S22"}


def test_wrong_counts_are_seen(stories: Path) -> None:
    assert judged(stories / "human", counts={"COMPLETED": 2}) == {"L4"}
    assert judged(stories / "human", counts={"COMPLETED": 1, "RUNNING": 0}) == set()


def test_what_does_not_come_back_to_its_baseline_is_seen(stories: Path) -> None:
    grown, steady = checker.Sample("threads", 10, 20), checker.Sample("memory", 100, 105)

    assert judged(stories / "human", samples=[steady]) == set()
    assert judged(stories / "human", samples=[grown]) == {"L5"}


def test_each_invariant_is_broken_somewhere_here() -> None:
    told = Path(__file__).read_text()

    assert [name for name in checker.INVARIANTS if f'"{name}"' not in told] == []
