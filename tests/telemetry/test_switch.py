"""Off, it costs nothing and needs nothing; on, it says at once what is missing."""

import subprocess
import sys

from tests import servers
from tests.tree import ROOT

PROGRAM = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry" and {blocked}:
            raise ImportError(name + " is not installed here")

sys.meta_path.insert(0, Blocked())
sys.argv = ["manage.py", "run_worker"]
import django
django.setup()
from workflows import wiring
wiring.connect()
print("loaded" if "opentelemetry" in sys.modules else "not loaded")
"""


def site(tmp_path, *, blocked, **settings):
    settings = {"SECRET_KEY": "tests-only-" + "9" * 50, "DATA_DIR": str(tmp_path), **settings}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(blocked=blocked)],
        cwd=ROOT, env=servers.environment(DJANGO_SETTINGS_MODULE="orchestrator_site.settings", **settings),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_off_the_library_is_neither_needed_nor_loaded(tmp_path):
    assert site(tmp_path, blocked=True).stdout == "not loaded\n"
    assert site(tmp_path, blocked=False).stdout == "not loaded\n"


def test_on_it_is_loaded(tmp_path):
    assert site(tmp_path, blocked=False, TELEMETRY="1", OTEL_TRACES_EXPORTER="console").stdout == "loaded\n"


def test_on_without_the_library_a_start_says_what_to_install(tmp_path):
    said = site(tmp_path, blocked=True, TELEMETRY="1").stderr

    assert "pip install -r requirements-telemetry.txt" in said.splitlines()[-1]


def test_an_exporter_that_is_not_there_is_named(tmp_path):
    said = site(tmp_path, blocked=False, TELEMETRY="1", OTEL_TRACES_EXPORTER="carrier-pigeon").stderr

    assert "OTEL_TRACES_EXPORTER is 'carrier-pigeon'; there are console" in said.splitlines()[-1]
