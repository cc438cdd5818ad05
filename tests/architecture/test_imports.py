"""Imports point down, and each rule that says so has been seen to fail."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.tree import PACKAGES, ROOT

CONTRACTS = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}

# For each contract one thing that breaks it: a file, and a line to add to it.
VIOLATIONS = [
    ("apps", "workflows/conf.py", "import tasks_ui.urls"),
    ("apps", "tasks_ui/apps.py", "import orchestrator_site.urls"),
    ("workflows", "workflows/runtime/handling.py", "import workflows.live"),
    ("workflows", "workflows/undeclared/__init__.py", '"""A room that the plan of the house does not show."""'),
    ("engine", "workflows/engine/rules/tasks.py", "from workflows.engine import decide"),
    ("core", "workflows/engine/decide.py", "import uuid"),
    ("core", "workflows/definitions/schema.py", "from django.db import models"),
    ("core", "workflows/activities/filters.py", "import time"),
    ("appliers", "workflows/runtime/handling.py", "from workflows.runtime import appliers"),
    ("recording", "workflows/api/urls.py", "from workflows.runtime import recording"),
    ("adapters", "workflows/messaging/relay.py", "from workflows.messaging.adapters import memory"),
    ("client", "workflows/client/calls.py", "import django.conf"),
    ("client", "workflows/client/tasks.py", "from workflows.definitions import strict_json"),
    ("pages", "tasks_ui/urls.py", "from workflows.api import urls"),
    ("registry", "tasks_ui/queries/activities.py", "from workflows.activities import filters"),
    ("circles", "workflows/definitions/schema.py", "from workflows.definitions import parsing"),
]


def lint(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    # Not beside the tree in the working folder: each run reads its own tree and leaves no cache.
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_point_down():
    linted = lint(ROOT)

    if linted.returncode:
        pytest.fail(linted.stdout[-10_000:] + linted.stderr[-3_000:], pytrace=False)


@pytest.mark.parametrize(("contract", "file", "line"), VIOLATIONS, ids=[f"{row[0]}-{row[1]}" for row in VIOLATIONS])
def test_each_contract_has_been_seen_to_fail(tmp_path, contract, file, line):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    with (tmp_path / file).open("a") as source:
        source.write(f"\n{line}\n")

    linted = lint(tmp_path, "--contract", contract)

    assert linted.returncode == 1
    assert f"{CONTRACTS[contract]} BROKEN" in " ".join(linted.stdout.split())


def test_no_contract_has_been_forgotten():
    assert {row[0] for row in VIOLATIONS} == set(CONTRACTS)


def test_the_pages_are_kept_from_every_such_room_that_exists():
    # A contract may name only what exists; these are added to it when they are built.
    rooms = {"messaging", "api", "live", "steps"}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (pages,) = [contract for contract in contracts if contract["id"] == "pages"]

    there = {f"workflows.{room}" for room in rooms if (ROOT / "workflows" / room / "__init__.py").exists()}

    assert set(pages["forbidden_modules"]) == there
