"""Typed settings with their defaults: the only reader of django.conf."""

from __future__ import annotations

from typing import Any

from django.conf import settings as _django

USUALLY_MASKED = (
    "password", "passwd", "passphrase", "secret", "token", "authorization", "api_key", "apikey", "access_key",
    "private_key", "credential", "credentials", "cookie", "otp", "cvv", "cvc",
)  # fmt: skip
"""Keys whose values nobody is shown, on any site."""


class _Setting:
    """One named setting, read at each use so that tests may override it."""

    def __init__(self, default: Any) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> Any:
        return getattr(_django, self.name, self.default)


class Settings:
    """What an operator may change. Each is a Django setting of the same name; the README has the table."""

    BROKER_URL = _Setting(None)
    REDIS_URL = _Setting(None)
    INBOUND_QUEUE = _Setting("workflow_manager")
    QUEUE_KIND = _Setting("quorum")
    MAX_BODY_BYTES = _Setting(1_048_576)
    MAX_JSON_DEPTH = _Setting(64)
    MAX_BATCH_EVENTS = _Setting(1_000)
    MAX_PAGE = _Setting(200)
    PAGE = _Setting(50)
    IDEMPOTENCY_HOURS = _Setting(24)
    HANDLE_BATCH = _Setting(100)
    SNAPSHOT_CACHE_TASKS = _Setting(50_000)
    COUNT_CAP = _Setting(2_000)
    STEP_MODULES = _Setting(())
    PUBLIC_URL = _Setting("")
    PLUGIN_HOSTS = _Setting(())
    PLUGIN_CALL_SECONDS = _Setting(30)
    STEP_OBSERVERS = _Setting(())
    STEP_OUTPUT_BYTES = _Setting(262_144)
    WAKE_OTHERS = _Setting(True)
    METRICS = _Setting(True)
    TELEMETRY = _Setting(False)
    MASKED_KEYS = _Setting(USUALLY_MASKED)
    DATA_DIR = _Setting(None)
    DEMO = _Setting(False)
    FAILPOINTS = _Setting(False)


settings = Settings()
