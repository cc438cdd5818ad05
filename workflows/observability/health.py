"""Is this process alive, and can it do its work? What monitors and load balancers ask."""

from __future__ import annotations

import datetime as dt
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from workflows.conf import settings
from workflows.observability import metrics

log = logging.getLogger("workflows.health")

_BROKER_SECONDS = 2.0
OUTBOX_LATE_SECONDS = 300.0
"""An outbox that has not moved for so long is shown. It makes nobody unready: other processes send it, too."""


@require_safe
def alive(request: HttpRequest) -> JsonResponse:
    """This will say that the process answers; nothing else is asked, so that a slow database restarts nobody."""
    return _answer({"status": "ok"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """This will say whether requests can be served: 200, or 503 naming what is missing."""
    checks: dict[str, Any] = {"database": _check("database", _database)}
    if checks["database"]["ok"]:
        age = metrics.outbox_age(dt.datetime.now(dt.UTC))
        checks["outbox"] = {"ok": True, "oldest_seconds": round(age, 1), "late": age > OUTBOX_LATE_SECONDS}
    checks["broker"] = _check("broker", _broker)
    good = all(check["ok"] for check in checks.values())
    return _answer({"status": "ready" if good else "not ready", "checks": checks}, status=200 if good else 503)


def _check(name: str, check: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    try:
        return {"ok": True, **check()}
    except Exception:
        # What exactly is wrong is for the log: anybody may ask here.
        log.exception("not ready: %s", name)
        return {"ok": False}


def _database() -> Mapping[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM workflows_workflowinstance LIMIT 1")
    return {"kind": connection.vendor}


def _broker() -> Mapping[str, Any]:
    if not settings.BROKER_URL:
        return {"kind": "embedded"}
    parts = urlsplit(settings.BROKER_URL)
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    with socket.create_connection((parts.hostname or "localhost", port), timeout=_BROKER_SECONDS):
        return {"kind": parts.scheme}


def _answer(said: Mapping[str, Any], *, status: int = 200) -> JsonResponse:
    return JsonResponse(said, status=status, headers={"Cache-Control": "no-store"})
