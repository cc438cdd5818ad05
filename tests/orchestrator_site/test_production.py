"""A production start: complete, or refused with a sentence."""

import os
import subprocess
import sys

import pytest

from tests.tree import ROOT

WITHOUT = {"SECRET_KEY", "DJANGO_SETTINGS_MODULE", "ORCHESTRATOR_DEMO", "DEBUG", "DATABASE_URL", "DATA_DIR", "HTTPS"}


def start(tmp_path, *command, **environment):
    inherited = {name: value for name, value in os.environ.items() if name not in WITHOUT}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**inherited, "DATA_DIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_complete_production_configuration_passes_every_check(tmp_path):
    checked = start(
        tmp_path,
        *("manage.py", "check", "--deploy", "--fail-level", "WARNING"),
        SECRET_KEY="0123456789abcdefghijklmnopqrstuvwxyz" * 2,
        ALLOWED_HOSTS="orchestrator.example.org",
        HTTPS="1",
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("-c", "import orchestrator_site.asgi"),
        ("-c", "import orchestrator_site.wsgi"),
        ("manage.py", "run_worker"),
    ],
    ids=["daphne", "wsgi", "worker"],
)
def test_a_server_without_a_secret_refuses_with_a_sentence(tmp_path, command):
    started = start(tmp_path, *command)

    assert started.returncode != 0
    assert "Set SECRET_KEY in the environment" in started.stderr
    assert "Traceback" not in started.stderr


def test_the_migrations_need_no_secret(tmp_path):
    listed = start(tmp_path, "manage.py", "showmigrations", "auth")

    assert listed.returncode == 0, listed.stderr


def test_a_bad_address_is_refused_by_name(tmp_path):
    started = start(tmp_path, "manage.py", "check", DATABASE_URL="mysql://somewhere/else")

    assert started.returncode != 0
    assert "DATABASE_URL starts with mysql://" in started.stderr
