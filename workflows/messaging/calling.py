"""Calls plugins that have an address: takes their work by leases, posts it, and reports what they answer.

Note [Who calls]
~~~~~~~~~~~~~~~~
A call is a lease: work that somebody takes for as long as a call may last. So whoever dies in the middle of one needs
nobody to clear up behind it. When the lease is over another process calls again, for the same attempt and with the same
`Idempotency-Key`. Calls run in threads that do nothing else; the database is left to the one thread of the job, which
reports what has come back in batches. An answer 202 says that the plugin will report by itself: the lease goes, the
work stays with it, until it reports or its time-out comes.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import logging
import os
import queue
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.db import connection

from workflows.conf import settings
from workflows.definitions import strict_json
from workflows.definitions.strict_json import InvalidJson
from workflows.engine.commands import CompleteTask, FailTask
from workflows.engine.outgoing import CALLED, is_called
from workflows.messaging.http_post import NoReply, Reply, post
from workflows.models import Plugin
from workflows.models.fields import dump
from workflows.runtime import leasing, pausing
from workflows.runtime.asking import Asked
from workflows.runtime.handling import handle
from workflows.runtime.listeners import Committed
from workflows.runtime.sql import ON_OFFER, names_of_queues
from workflows.runtime.workers import REST, Worker

logger = logging.getLogger(__name__)

AT_ONCE = 16
"""Calls of one process."""
AT_ONCE_TO_ONE = 4
"""Of these, to one plugin: a slow one leaves room for the others."""
MOST_BYTES = 1_048_576
MESSAGE_LENGTH = 180
DRAIN_SECONDS = 10.0
_MARGIN_SECONDS = 10
"""A lease lasts so much longer than a call: time to report."""
_NAMES = (
    names_of_queues("workflows_taskinstance", f"{ON_OFFER} AND queue >= %s AND queue < %s")  # noqa: S608
    + " SELECT queue FROM names WHERE queue IS NOT NULL"
)
_BEHIND = CALLED[:-1] + chr(ord(CALLED[-1]) + 1)


@dataclass(frozen=True, slots=True)
class _Work:
    """A leased attempt."""

    lease: uuid.UUID
    until: dt.datetime
    queue: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Answered:
    """What became of a call: `output`, or `error`, or neither where the plugin reports later."""

    work: _Work
    output: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None


class Caller:
    """Calls whoever has work. `now` tells the time. See Note [Who calls]."""

    def __init__(self, *, now: Callable[[], dt.datetime], name: str = "callers") -> None:
        self._now = now
        self._lock = threading.Lock()
        self._wanted: set[str] = set()
        self._looked_at = -REST
        self._in_flight: Counter[str] = Counter()
        self._come_back: queue.SimpleQueue[_Answered] = queue.SimpleQueue()
        self._to_report: list[_Answered] = []
        self._me = f"caller-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.worker = Worker(name=name, work=self._work, end=self._end)

    def heard(self, committed: Committed) -> None:
        """This will wake the caller when a commit has brought it work."""
        if committed.everything:
            self.look()
        elif called := set(filter(is_called, committed.queues)):
            with self._lock:
                self._wanted |= called
            self.worker.wake()

    def look(self) -> None:
        """This will have the caller look for work, whoever has brought it."""
        self._looked_at = -REST
        self.worker.wake()

    def _work(self) -> float | None:
        self._report()
        if pausing.known.now() is not None:
            return None
        for name in self._queues():
            self._take(name)
        return None

    def _queues(self) -> list[str]:
        """Those that may have work, the ones with the fewest calls under way first."""
        found: set[str] = set()
        if time.monotonic() - self._looked_at >= REST:
            with connection.cursor() as cursor:
                cursor.execute(_NAMES, [CALLED, _BEHIND] * 2)
                found = {name for (name,) in cursor.fetchall()}
            self._looked_at = time.monotonic()
        with self._lock:
            self._wanted |= found
            return sorted(self._wanted, key=lambda name: (self._in_flight[name], name))

    def _take(self, name: str) -> None:
        room = min(AT_ONCE - self._in_flight.total(), AT_ONCE_TO_ONE - self._in_flight[name])
        if room <= 0:
            return  # It stays wanted: the end of a call wakes us.
        with self._lock:
            self._wanted.discard(name)
        seconds = settings.PLUGIN_CALL_SECONDS + _MARGIN_SECONDS
        try:
            taken = leasing.lease(
                name, worker_id=self._me, max_tasks=room, lease_seconds=seconds, actor="http", at=self._now()
            )
        except pausing.EnginePaused:
            return  # Whoever resumes it has us look at everything.
        if len(taken) == room:
            with self._lock:
                self._wanted.add(name)
        if taken:
            secret = _secret_of(name)
            for payload in taken:
                lease, until = uuid.UUID(payload.pop("lease_id")), dt.datetime.fromisoformat(payload.pop("lease_until"))
                self._begin(_Work(lease, until, name, payload), secret)

    def _begin(self, work: _Work, secret: str) -> None:
        self._in_flight[work.queue] += 1

        def run() -> None:
            try:
                answered = _call(work, secret, seconds=settings.PLUGIN_CALL_SECONDS)
            except Exception:
                logger.exception("a call for %s failed", work.queue)
                answered = _failed(work, "call_failed", "The call failed here; the log says why.")
            self._come_back.put(answered)
            self.worker.wake()

        threading.Thread(target=run, name=f"call to {work.queue[:100]}", daemon=True).start()

    def _report(self) -> None:
        """What has come back is reported until it was heard, or its lease is over and it is somebody else's."""
        while not self._come_back.empty():
            answered = self._come_back.get()
            self._in_flight[answered.work.queue] -= 1
            self._to_report.append(answered)
        self._in_flight = +self._in_flight
        now = self._now()
        self._to_report = [one for one in self._to_report if one.work.until > now]
        if not self._to_report:
            return
        later = [one.work.lease for one in self._to_report if one.output is None and one.error is None]
        if later:
            leasing.leave(later)
        self._to_report = [one for one in self._to_report if one.work.lease not in later]
        answers = handle(*map(_asked, self._to_report), at=now)
        self._to_report = [
            one for one, answer in zip(self._to_report, answers, strict=True) if answer.code == pausing.CODE
        ]

    def _end(self) -> None:
        """What is under way may come to its end; what takes longer is called again when its lease is over."""
        end = time.monotonic() + DRAIN_SECONDS
        while self._in_flight.total() and time.monotonic() < end:
            try:
                answered = self._come_back.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                break
            self._come_back.put(answered)
            self._report()
        self._report()


def _secret_of(name: str) -> str:
    activity, _, plugin = name.removeprefix(CALLED).partition("/")
    rows = Plugin.objects.filter(activity__name=activity, name=plugin).values_list("secret", flat=True)
    return rows.first() or ""


def _call(work: _Work, secret: str, *, seconds: float) -> _Answered:
    payload = work.payload
    url = payload.get("url")
    if not isinstance(url, str):
        return _failed(work, "no_address", "Nobody has said which url is to be called.")
    body = dump(payload).encode()
    attempt = (payload["instance_id"], payload["stage_name"], payload["task_name"], str(payload["attempt"]))
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": "orchestrator",
        "Idempotency-Key": "/".join(quote(part, safe=" !$&'()*+,:;=@") for part in attempt),
        **(signature(secret, str(payload["message_id"]), body) if secret else {}),
    }
    try:
        reply = post(url, body, headers=headers, seconds=seconds, most=MOST_BYTES)
    except NoReply as error:
        return _failed(work, error.code, error.message)
    return _read(work, reply)


def signature(secret: str, message_id: str, body: bytes, *, at: int | None = None) -> dict[str, str]:
    """This will give the headers by which the plugin knows that it was us: those of Standard Webhooks."""
    moment = str(int(time.time()) if at is None else at)
    signed = hmac.new(secret.encode(), f"{message_id}.{moment}.".encode() + body, hashlib.sha256).digest()
    return {
        "Webhook-Id": message_id,
        "Webhook-Timestamp": moment,
        "Webhook-Signature": f"v1,{base64.b64encode(signed).decode()}",
    }


def _read(work: _Work, reply: Reply) -> _Answered:
    if reply.status == 202:
        return _Answered(work)
    if not 200 <= reply.status < 300:
        said = _said(reply.body)
        return _failed(work, f"http_{reply.status}", f"HTTP {reply.status}{f': {said}' if said else ''}", reply.status)
    if not reply.body.strip():
        return _Answered(work, output={})
    try:
        output = strict_json.parse(reply.body)
    except InvalidJson as error:
        return _failed(work, "bad_answer", f"The answer is not the JSON we take. {error.message}", reply.status)
    if not isinstance(output, dict):
        return _failed(work, "bad_answer", "The answer is no JSON object.", reply.status)
    return _Answered(work, output=output)


def _said(body: bytes) -> str:
    """What an answer says went wrong: the `detail` of a problem document, else its first line."""
    try:
        document = strict_json.parse(body)
    except InvalidJson:
        lines = body[:2_000].decode(errors="replace").strip().splitlines()
        return "".join(sign if sign.isprintable() else " " for sign in lines[0]) if lines else ""
    if isinstance(document, dict):
        for key in ("detail", "message", "error", "title"):
            if isinstance(document.get(key), str):
                return str(document[key])
    return ""


def _failed(work: _Work, code: str, message: str, status: int | None = None) -> _Answered:
    short = message if len(message) <= MESSAGE_LENGTH else f"{message[: MESSAGE_LENGTH - 1]}…"
    error: dict[str, Any] = {"code": code, "message": short}
    if status is not None:
        error["details"] = {"status": status}
    return _Answered(work, error=error)


def _asked(answered: _Answered) -> Asked:
    payload = answered.work.payload
    task = {key: payload[key] for key in ("stage_name", "task_name", "attempt")}
    command: CompleteTask | FailTask
    if answered.error is not None:
        command = FailTask(**task, error=answered.error)
    else:
        command = CompleteTask(**task, output=answered.output or None)
    return Asked(
        command=command,
        target=uuid.UUID(payload["instance_id"]),
        actor="http",
        cause=str(answered.work.lease),
        said={**task, "output": answered.output, "error": answered.error},
        lease_id=str(answered.work.lease),
    )
