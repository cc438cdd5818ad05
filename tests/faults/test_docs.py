"""What docs/faults.md points at is there."""

from __future__ import annotations

import json
import re

from tests.faults.planted.bugs import BUGS
from tests.tree import ROOT

TEXT = (ROOT / "docs" / "faults.md").read_text()


def test_every_row_of_the_matrix_has_a_test_that_exists() -> None:
    rows = [line for line in TEXT.splitlines() if re.match(r"\| F\d+ \|", line)]
    links = re.findall(r"\[([\w/]+)::(\w+)\]\(\.\./(tests/[\w/]+\.py)\)", TEXT)

    assert len(rows) >= 45
    assert all("::test_" in row for row in rows)
    for module, name, path in links:
        assert path == f"tests/{module}.py"
        assert re.search(rf"def {name}\b", (ROOT / path).read_text()), f"{path} has no {name}"


def test_every_link_leads_somewhere() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / "docs" / path).exists(), path


def test_the_kill_table_is_that_of_the_last_hunt() -> None:
    kills = json.loads((ROOT / "tests" / "faults" / "planted" / "kills.json").read_text())

    assert [kill["bug"] for kill in kills] == list(BUGS)
    assert all(kill["caught"] and 1 <= kill["seed"] <= 3 for kill in kills)
    assert all(f"| `{kill['bug']}`: {kill['about']} | {kill['found_by']} |" in TEXT for kill in kills)
