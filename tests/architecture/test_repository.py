"""What is committed: complete migrations, unchanged foreign files, locks and texts that name nobody's machine."""

import hashlib
import json
import os
import re
import subprocess
import sys

import pytest

from tests.tree import ROOT, committed

LOCKS = [ROOT / "static/vendor/vendor.lock.json", ROOT / "tests/browser/vendor/vendor.lock.json"]


def text_of(path):
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def test_no_migration_is_missing():
    made = subprocess.run(
        [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "orchestrator_site.settings_test"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert made.returncode == 0, made.stdout + made.stderr


@pytest.mark.parametrize("lock", LOCKS, ids=["static", "tests"])
def test_foreign_files_are_as_they_were_published(lock):
    entries = json.loads(lock.read_text())
    listed = {name: sha for entry in entries for name, sha in entry["files"].items()}

    there = {
        str(path.relative_to(lock.parent)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in lock.parent.rglob("*")
        if path.is_file() and path != lock
    }

    assert there == listed


@pytest.mark.parametrize("lock", LOCKS, ids=["static", "tests"])
def test_foreign_files_are_acknowledged(lock):
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text()

    for entry in json.loads(lock.read_text()):
        assert {"name", "version", "licence", "files"} <= set(entry)
        assert f"{entry['name']} {entry['version']}" in notices
        assert entry["licence"] in notices


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_the_locks_pin_every_package_by_hash_and_name_no_index(name):
    text = (ROOT / name).read_text()

    assert not re.search(r"://|--index|--extra-index|--find-links|--trusted", text)
    requirements = re.split(r"\n(?=[a-zA-Z0-9])", re.sub(r"^\s*#.*\n?", "", text, flags=re.MULTILINE))
    assert len(requirements) > 40
    for requirement in requirements:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+", requirement)
        assert "--hash=sha256:" in requirement


def test_the_test_lock_holds_the_same_versions_as_the_runtime_lock():
    def pins(name):
        return dict(re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==(\S+)", (ROOT / name).read_text(), flags=re.MULTILINE))

    runtime, test = pins("requirements.txt"), pins("requirements-test.txt")

    assert {name: test.get(name) for name in runtime} == runtime


def test_no_committed_file_names_a_place_outside_the_repository():
    here, home = str(ROOT), os.path.expanduser("~")
    outside = [
        here,
        *(str(path) for path in ROOT.parent.iterdir() if path.is_dir() and ROOT.parent != path.parent.parent),
    ]
    # A checkout right below the root of the file system has neighbours like /usr, which may be named.
    if ROOT.parent.parent == ROOT.parent:
        outside = [here]
    places = re.compile(
        "|".join(
            [
                *(rf"(?<![\w.\-/]){re.escape(place)}(?![\w-])" for place in outside if len(place) > 4),
                *([rf"(?<![\w.\-/]){re.escape(home)}/"] if home not in ("/", "/root") else []),
                r"file:///\w",
                r"(?<![\w.])/(?:home|Users)/[a-z]",
            ]
        )
    )

    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in committed()
        if (match := places.search(text_of(path))) and path.name != "test_repository.py"
    ]

    assert found == []


def test_no_committed_file_points_to_a_neighbour_of_the_repository():
    neighbours = [path.name for path in ROOT.parent.iterdir() if path.is_dir() and path != ROOT]
    if ROOT.parent.parent == ROOT.parent or not neighbours:
        return
    pattern = re.compile(r"(?<![\w./])\.\./(?:" + "|".join(map(re.escape, neighbours)) + r")(?![\w-])")
    top = [path for path in committed() if path.parent == ROOT]

    assert [path.name for path in top if pattern.search(text_of(path))] == []
