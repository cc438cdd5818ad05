"""Is this process alive, and can it do its work? What monitors and load balancers ask.

Note [Degraded is ready]
~~~~~~~~~~~~~~~~~~~~~~~~
A process is ready while it can do what it is there for. Without the broker that is nearly all: instances start, people
decide, and what is to be sent waits in the database. A load balancer that took such a process away, or a supervisor
that started it anew, would make an outage of a delay. So a broker that is down or blocked, an outbox that does not
move, and a job that fails again and again are shown as `degraded`, with 200; 503 is for a database that does not
answer, a job whose thread has died, and a process that is about to end.
"""

from __future__ import annotations

import datetime as dt
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from workflows.conf import settings
from workflows.messaging import condition
from workflows.observability import metrics
from workflows.runtime.workers import Report

log = logging.getLogger("workflows.health")

_BROKER_SECONDS = 2.0
OUTBOX_LATE_SECONDS = 300.0
"""An outbox that has not moved for so long is shown."""
STUCK_SECONDS = 120.0
"""A job that has been at one piece of work for so long is shown."""
FAILURES = 3
"""A job that has failed so often in a row is shown."""


@require_safe
def alive(request: HttpRequest) -> JsonResponse:
    """This will say that the process answers; nothing else is asked, so that a slow database restarts nobody."""
    return _answer({"status": "ok"})


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """This will say whether requests can be served: 200, or 503 naming what is missing."""
    status, said = readiness()
    return _answer(said, status=status)


def readiness(jobs: Sequence[Report] | None = None) -> tuple[int, Mapping[str, Any]]:
    """This will give the status of HTTP and what to say about the site and, in a worker process, about its jobs.

    See Note [Degraded is ready].
    """
    checks: dict[str, Any] = {"database": _check("database", _database)}
    good, whole = checks["database"]["ok"], True
    if good:
        age = metrics.outbox_age(dt.datetime.now(dt.UTC))
        late = age > OUTBOX_LATE_SECONDS
        checks["outbox"] = {"ok": True, "oldest_seconds": round(age, 1), "late": late}
        whole = not late
    checks["broker"] = _check("broker", _broker)
    whole = whole and checks["broker"]["ok"]
    if jobs is not None:
        checks["jobs"] = {"ok": all(job.alive for job in jobs), "of": {job.name: _told(job) for job in jobs}}
        good = good and checks["jobs"]["ok"]
        whole = whole and all(one["ok"] for one in checks["jobs"]["of"].values())
    status = ("ready" if whole else "degraded") if good else "not ready"
    return (200 if good else 503), {"status": status, "checks": checks}


def _told(job: Report) -> Mapping[str, Any]:
    return {
        "ok": job.alive and job.failures < FAILURES and job.busy_seconds < STUCK_SECONDS,
        "alive": job.alive,
        "failures_in_a_row": job.failures,
        "busy_seconds": round(job.busy_seconds, 1),
    }


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
    port = parts.port or _PORTS.get(parts.scheme)
    known = condition.read()
    said = {"kind": parts.scheme, "condition": known.state}
    if known.state == condition.BLOCKED:
        # It answers, and takes nothing: an alarm for its memory or disk.
        return {**said, "ok": False}
    if port is None:
        return {**said, "ok": known.state != condition.DOWN}
    try:
        with socket.create_connection((parts.hostname or "localhost", port), timeout=_BROKER_SECONDS):
            return said
    except OSError:
        # Asked every few seconds for as long as the broker is down: not worth a line each time.
        return {**said, "ok": False}


_PORTS = {"amqp": 5672, "amqps": 5671, "pyamqp": 5672, "redis": 6379, "rediss": 6379}


def _answer(said: Mapping[str, Any], *, status: int = 200) -> JsonResponse:
    return JsonResponse(said, status=status, headers={"Cache-Control": "no-store"})
