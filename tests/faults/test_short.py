"""A short run of the fault harness: real processes, a few dozen instances, faults all the time, a strict verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import servers
from tests.tree import ROOT


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("profile", "instances", "faults"), [("sqlite", 60, 14), ("full", 80, 24)])
def test_nothing_is_lost_and_nothing_doubled(tmp_path: Path, profile: str, instances: int, faults: int) -> None:
    asked = ["--profile", profile, "--seed", "1", "--instances", str(instances), "--faults", str(faults)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *asked, "--minutes", "0.2", "--out", str(tmp_path)],
        cwd=ROOT,
        env=servers.environment(),
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-4000:]}"
    report = json.loads((tmp_path / f"manifest-{profile}.json").read_text())
    assert report["verdict"] == "good"
    assert report["totals"]["faults"] == faults
    # Some starts find nobody, and are not repeated; most are there.
    assert report["totals"]["instances"] > instances / 2
    assert report["totals"]["effects"] > instances
    assert str(ROOT) not in json.dumps(report)
