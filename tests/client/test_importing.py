"""A service's program needs neither Django nor a broker's library."""

import subprocess
import sys

from tests.tree import ROOT

PROGRAM = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name + " is not installed here")

sys.meta_path.insert(0, Blocked())
import workflows.client
import workflows.client.testing
{more}
print(*sorted(name for name in sys.modules if "." not in name))
"""
FRAMEWORKS = {"django", "django_fsm", "rest_framework", "channels", "kombu", "redis", "psycopg"}


def run(blocked: set[str], more: str = "") -> set[str]:
    printed = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(blocked=blocked, more=more)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert printed.returncode == 0, printed.stderr
    return set(printed.stdout.split())


def test_it_is_imported_without_django_and_without_a_broker():
    modules = run(FRAMEWORKS | {"amqp", "vine"}, "import workflows.client.leases")

    assert not modules & (FRAMEWORKS | {"amqp", "vine", "asyncio.tasks"})


def test_a_broker_takes_py_amqp_alone():
    modules = run(FRAMEWORKS, "import workflows.client.amqp")

    assert "amqp" in modules


def test_the_block_is_able_to_fail():
    failed = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(blocked=FRAMEWORKS, more="import django")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "django is not installed here" in failed.stderr
