"""Idempotency-Key: a request that is sent again gets the answer it had, for a day.

The record is inserted before the request is carried out; the unique constraint on caller and key lets one request
through, on every database. A second one that comes meanwhile waits for the first one's answer, and after `_PATIENCE`
is told to come again (409 `request_in_progress`). A process that dies leaves a record without an answer: after
`_GIVEN_UP` the next request with the key takes it over and is carried out. What the first had done by then is known to
the engine, which tells a repeated start or result by itself.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import time
from collections.abc import Callable

from django.db import IntegrityError
from django.http import HttpResponse
from django.utils import timezone

from workflows.api.problems import Problem
from workflows.conf import settings
from workflows.models import IdempotencyRecord
from workflows.models.locking import writing

_PATIENCE = 10.0
_PAUSE = 0.05
_GIVEN_UP = dt.timedelta(seconds=120)
_KEPT_HEADERS = ("Content-Type", "ETag", "Location", "Allow")
_SWEEP_ONE_IN = 100
_SWEEP_MOST = 500


def fingerprint(*, method: str, path: str, body: bytes) -> str:
    """This will give what makes a request the same request."""
    whole = hashlib.sha256(f"{method} {path}\n".encode())
    whole.update(body)
    return whole.hexdigest()


def once(*, caller: str, key: str, print_of: str, answer: Callable[[], HttpResponse]) -> HttpResponse:
    """This will answer, or give the stored answer; raises Problem for a bad key and one used for something else."""
    if not 1 <= len(key) <= 200 or not key.isascii() or not key.isprintable():
        raise Problem(
            "invalid_parameter",
            "Idempotency-Key takes 1 to 200 printable characters.",
            errors=[
                {
                    "parameter": "Idempotency-Key",
                    "pointer": "",
                    "code": "invalid_parameter",
                    "message": "It takes 1 to 200 printable characters.",
                }
            ],
        )
    deadline = time.monotonic() + _PATIENCE
    while True:
        now = timezone.now()
        record = _reserve(caller, key, print_of, now)
        if record is not None:
            return _carry_out(record, answer)
        stored = IdempotencyRecord.objects.filter(caller=caller, key=key).first()
        if stored is None:
            continue  # It failed and made room.
        if stored.created_at <= now - _lifetime(stored):
            if _take_over(stored, print_of, now):
                return _carry_out(stored, answer)
            continue
        if stored.fingerprint != print_of:
            raise Problem(
                "idempotency_key_reused",
                "This Idempotency-Key was sent with another method, path or body. Use a new key for a new request.",
            )
        if stored.status is not None:
            return _replay(stored)
        if time.monotonic() > deadline:
            raise Problem(
                "request_in_progress",
                "The first request with this Idempotency-Key has no answer yet. Send it again in a moment.",
                headers={"Retry-After": "1"},
            )
        time.sleep(_PAUSE)


def _reserve(caller: str, key: str, print_of: str, now: dt.datetime) -> IdempotencyRecord | None:
    try:
        with writing():
            record = IdempotencyRecord.objects.create(caller=caller, key=key, fingerprint=print_of, created_at=now)
    except IntegrityError:
        return None
    if random.randrange(_SWEEP_ONE_IN) == 0:  # noqa: S311 (nobody gains from guessing it)
        sweep(now)
    return record


def _lifetime(record: IdempotencyRecord) -> dt.timedelta:
    return _GIVEN_UP if record.status is None else dt.timedelta(hours=settings.IDEMPOTENCY_HOURS)


def _take_over(record: IdempotencyRecord, print_of: str, now: dt.datetime) -> bool:
    """This will make an expired record ours; of several that try at once one succeeds."""
    before = record.created_at
    record.fingerprint, record.status, record.headers, record.body, record.created_at = print_of, None, None, "", now
    with writing():
        return bool(
            IdempotencyRecord.objects.filter(pk=record.pk, created_at=before).update(
                fingerprint=print_of, status=None, headers=None, body="", created_at=now
            )
        )


def _carry_out(record: IdempotencyRecord, answer: Callable[[], HttpResponse]) -> HttpResponse:
    # `created_at` names this try: one that was taken over meanwhile must not write over its successor.
    ours = IdempotencyRecord.objects.filter(pk=record.pk, created_at=record.created_at)
    try:
        response = answer()
    except BaseException:
        with writing():
            ours.delete()
        raise
    with writing():
        if response.status_code >= 500:
            ours.delete()
        else:
            ours.update(
                status=response.status_code,
                headers={name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers},
                body=response.content.decode(),
            )
    return response


def _replay(record: IdempotencyRecord) -> HttpResponse:
    response = HttpResponse(record.body, status=record.status, headers=record.headers or {})
    response.headers["Idempotent-Replayed"] = "true"
    return response


def sweep(now: dt.datetime) -> int:
    """This will forget some of the answers that nobody may ask for any more."""
    old = IdempotencyRecord.objects.filter(created_at__lt=now - dt.timedelta(hours=settings.IDEMPOTENCY_HOURS))
    oldest = list(old.order_by("created_at").values_list("pk", flat=True)[:_SWEEP_MOST])
    with writing():
        deleted, _ = IdempotencyRecord.objects.filter(pk__in=oldest).delete()
    return deleted
