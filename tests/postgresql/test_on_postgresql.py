"""The second run of the tests that depend on the database: all that are marked `both_databases`, on PostgreSQL."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1500


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.skipif(bool(os.environ.get("TEST_DATABASE_URL")), reason="this is the run on PostgreSQL")
def test_everything_about_the_database_holds_on_postgresql_too(postgresql_url: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not _is_of_this_run(name)}
    environment["TEST_DATABASE_URL"] = postgresql_url

    try:
        run = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-m", "both_databases", "-p", "no:cacheprovider", "-p", "no:xdist",
                "--quiet", "--color=no", "--ignore", str(Path(__file__).parent), "tests",
            ],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"not done after {SECONDS} s:\n{_text(late.stdout)[-20_000:]}", pytrace=False)

    if run.returncode:
        pytest.fail(f"on PostgreSQL:\n{run.stdout[-20_000:]}\n{run.stderr[-5_000:]}", pytrace=False)
    assert re.search(r"\b[1-9]\d* passed", run.stdout), f"nothing ran:\n{run.stdout[-2_000:]}"


def _is_of_this_run(name: str) -> bool:
    # The child makes a folder of its own, and is no process of this run's xdist.
    return name.startswith(("PYTEST_", "TEST_DATA_DIR", "TEST_DATABASE_URL"))


def _text(output: str | bytes | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
