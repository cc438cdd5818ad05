"""The example activity: who takes part from the beginning, and systems that register while the demo runs."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workflows.models import ActivityRecord
from workflows.runtime.registering import register
from workflows.runtime.workers import Worker

ACTIVITY = "document-processing"

FIRST: Sequence[Mapping[str, Any]] = (
    {
        "name": "read-text",
        "phase": "pre",
        "task_queue": "document_reader_queue",
        "title": "Read the text of the documents",
        "system": "Scan Centre",
        "retry": {"max_attempts": 4, "delay_seconds": 5},
        "timeout_seconds": 300,
    },
    {
        "name": "classify",
        "phase": "parallel",
        "task_queue": "document_classifier_queue",
        "title": "Say what each document is",
        "system": "Archive",
        "timeout_seconds": 300,
    },
    {
        "name": "fraud-check",
        "phase": "parallel",
        "task_queue": "document_fraud_queue",
        "title": "Look for forged documents",
        "system": "Fraud Desk",
        "regulation": "AML-6",
        "filter": {"amount": [{"numeric": [">=", 1000]}]},
        "timeout_seconds": 900,
    },
)
LATE: Sequence[tuple[float, str, Mapping[str, Any]]] = (
    # After so many seconds, who it is, what they register.
    (
        25.0,
        "translation-office",
        {
            "name": "translate",
            "phase": "parallel",
            "task_queue": "document_translation_queue",
            "title": "Translate what is not in German",
            "system": "Translation Office",
            "mandatory": False,
            "filter": {"country": [{"anything-but": ["AT", "DE"]}]},
            "timeout_seconds": 300,
        },
    ),
    (
        50.0,
        "archive",
        {
            "name": "archive",
            "phase": "post",
            "step": "workflows.examples.flows.archive",
            "title": "Put the documents into the archive",
            "system": "Archive",
            "regulation": "GDPR Art. 5",
        },
    ),
)


def install_plugins(*, at: dt.datetime) -> None:
    """This will register those that take part from the beginning, where nobody has done so before."""
    for said in FIRST:
        _join(said, by="admin", at=at)


class Systems:
    """Systems that come up one after the other and register what they do. `now` tells the time."""

    def __init__(self, *, now: Callable[[], dt.datetime], pace: float = 1.0) -> None:
        self._now = now
        self._pace = pace
        self._to_come = list(LATE)
        self._began: float | None = None
        self.worker = Worker(name="systems that register", work=self._work)

    def _work(self) -> float | None:
        if self._began is None:
            self._began = time.monotonic()
        while self._to_come:
            after, who, said = self._to_come[0]
            left = self._began + after * self._pace - time.monotonic()
            if left > 0:
                return left
            _join(said, by=who, at=self._now())
            self._to_come.pop(0)
        return None


def _join(said: Mapping[str, Any], *, by: str, at: dt.datetime) -> None:
    # What a visitor has deregistered stays so.
    if not ActivityRecord.objects.filter(activity__name=ACTIVITY, plugin=said["name"]).exists():
        register(ACTIVITY, dict(said), by=by, reason="An example", at=at)
