"""The tools that read the code find nothing to say."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tree import ROOT

# The programs lie beside the Python that runs the tests, whether the virtual environment is active or not.
BIN = Path(sys.executable).parent


def run(*command: str) -> None:
    checked = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if checked.returncode:
        pytest.fail(f"{' '.join(command)}\n{checked.stdout[-15_000:]}{checked.stderr[-5_000:]}", pytrace=False)


def test_ruff_finds_nothing():
    run("ruff", "check", "--output-format=concise", ".")


def test_the_code_is_formatted():
    run("ruff", "format", "--check", ".")


@pytest.mark.timeout(400)
def test_the_types_agree():
    run("mypy")
