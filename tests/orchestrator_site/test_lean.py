"""What a process of the site loads: nothing that it has no use for, and all that it needs."""

import json
import subprocess
import sys

import pytest

from orchestrator_site.lean import without
from tests import servers
from tests.tree import ROOT

SERVES_NO_TLS = {"OpenSSL", "cryptography.hazmat", "service_identity", "cbor2", "click", "cffi", "pycparser"}
ONLY_FOR_MIGRATIONS = {"sqlparse.engine", "sqlparse.sql"}
ONLY_FOR_TESTS = {"requests", "charset_normalizer", "pygments", "psutil"}
ONLY_WITH_TELEMETRY = {"opentelemetry"}
FOR_THE_DESCRIPTION_OF_THE_API = {"drf_spectacular.openapi", "jsonschema", "yaml"}
FOR_PAGES = {
    "daphne",
    "twisted",
    "autobahn",
    "rest_framework",
    "django.contrib.admin",
    "tasks_ui",
    "orchestrator_site.urls",
}
ASK = (
    "import json, sys; sys.argv = ['manage.py', {command!r}];"
    "from django.core.management import execute_from_command_line; from orchestrator_site import security;"
    "import django; django.setup(); {then}; print(json.dumps(list(sys.modules)))"
)
"""In the order in which manage.py loads things."""


def loaded(command, then="pass", **settings):
    """Tell which modules a process has that was started for this command."""
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(command=command, then=then)],
        cwd=ROOT, env=servers.environment(DJANGO_SETTINGS_MODULE="orchestrator_site.settings", **settings),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def settings_of_a_site(tmp_path):
    """The settings of a site with all servers. None of them is asked."""
    return {
        "SECRET_KEY": "tests-only-" + "9" * 50,
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "BROKER_URL": "amqp://nobody@127.0.0.1:1/",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }


def test_a_web_process_loads_nothing_that_it_has_no_use_for(settings_of_a_site):
    then = "import orchestrator_site.asgi, orchestrator_site.urls, workflows.management.commands.serve"
    modules = loaded("serve", then, **settings_of_a_site)

    assert {"daphne.server", "rest_framework.compat", "workflows.live.hub", "tasks_ui.urls"} <= modules
    assert not modules & (
        SERVES_NO_TLS | ONLY_FOR_MIGRATIONS | ONLY_FOR_TESTS | ONLY_WITH_TELEMETRY | FOR_THE_DESCRIPTION_OF_THE_API
    )


def test_a_worker_process_loads_nothing_that_only_pages_need(settings_of_a_site):
    modules = loaded("run_worker", "import workflows.management.commands.run_worker", **settings_of_a_site)

    assert {"workflows.wiring", "psycopg"} <= modules
    assert not modules & (
        SERVES_NO_TLS
        | ONLY_FOR_MIGRATIONS
        | ONLY_FOR_TESTS
        | FOR_THE_DESCRIPTION_OF_THE_API
        | FOR_PAGES
        | {"redis", "prometheus_client"}
    )


def test_what_was_hidden_can_be_found_afterwards():
    code = (
        "from orchestrator_site import lean; lean.load_daphne();"
        "import autobahn.wamp.auth, click, OpenSSL.SSL; print(autobahn.wamp.auth.create_authenticator('ticket', ticket='x').name)"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "ticket\n"


def test_what_is_there_already_is_not_hidden():
    with without("json", "wave"):
        import json as found

        with pytest.raises(ImportError):
            import wave

    import wave  # noqa: F401

    assert found is json


def test_what_is_loaded_when_it_is_used_is_whole_then():
    code = (
        "import orchestrator_site, sys; import sqlparse; print('sqlparse.sql' in sys.modules);"
        "print(len(sqlparse.split('SELECT 1; SELECT 2;')), sqlparse.sql.Token.__name__, type(sqlparse).__name__)"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.stdout.split() == ["False", "2", "Token", "module"]
