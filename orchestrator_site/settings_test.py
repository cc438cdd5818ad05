"""The settings of the tests: the site as it is, with a database of the run's own and cheap passwords."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Before the settings are read. What the owner of this machine has set for his site is none of the tests' business.
for _name in (
    "ALLOWED_HOSTS", "BROKER_URL", "CSRF_TRUSTED_ORIGINS", "DATABASE_URL", "DEBUG", "HTTPS", "INBOUND_QUEUE",
    "LOG_FORMAT", "LOG_LEVEL", "ORCHESTRATOR_DEMO", "REDIS_URL", "TRUST_PROXY_HEADERS",
):  # fmt: skip
    os.environ.pop(_name, None)
# One folder for each run: two runs on one machine never meet. Processes that the run starts find it here.
if "TEST_DATA_DIR" not in os.environ:
    os.environ["TEST_DATA_DIR"] = tempfile.mkdtemp(prefix="orchestrator-tests-")
    atexit.register(shutil.rmtree, os.environ["TEST_DATA_DIR"], ignore_errors=True)
_run = Path(os.environ["TEST_DATA_DIR"])
os.environ["DATA_DIR"] = str(_run / "var")
os.environ["SECRET_KEY"] = "a-secret-for-tests-only-" + "0123456789" * 5
os.environ["DATABASE_POOL_SIZE"] = "0"
if _postgresql := os.environ.get("TEST_DATABASE_URL"):
    os.environ["DATABASE_URL"] = _postgresql

from orchestrator_site.settings import *  # noqa: E402, F403
from orchestrator_site.settings import DATABASES  # noqa: E402

if _postgresql:
    DATABASES["default"]["TEST"] = {"NAME": f"test_{_run.name.replace('-', '_')}"}
    # Nobody cuts the power of a test.
    DATABASES["default"]["OPTIONS"]["options"] += " -c synchronous_commit=off"
    # Threads of a test would leave connections behind.
    DATABASES["default"]["CONN_MAX_AGE"] = 0
else:
    # A file, because threads cannot share an in-memory database.
    DATABASES["default"]["TEST"] = {"NAME": str(_run / "test.sqlite3")}
    # Nobody cuts the power of a test.
    DATABASES["default"]["OPTIONS"]["init_command"] = DATABASES["default"]["OPTIONS"]["init_command"].replace(
        "synchronous=FULL", "synchronous=OFF"
    )
for _name in ("DATA_DIR", "SECRET_KEY", "DATABASE_POOL_SIZE", "DATABASE_URL"):
    # Read; a program that a test starts shall not inherit them.
    os.environ.pop(_name, None)

# Else threads of theirs would hold connections to databases that tests want to drop.
WAKE_OTHERS = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
