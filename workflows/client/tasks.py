"""What a service is asked to do, as its function sees it."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Mapping
from typing import Any

from workflows import tracecontext

START = "StartTask"
COMPENSATE = "CompensateTask"
CANCEL = "CancelTask"

_ENVELOPE = frozenset(
    {
        "business_ref_no", "component_name", "workflow_name", "event_name", "stage_name", "task_name", "task_type",
        "attempt", "message_id", "instance_id", "context", "compensation", "output", "undoes_attempt", "assigned_to",
        "event_id", "error", "lease_id", "lease_until", tracecontext.PARENT, tracecontext.STATE,
    }
)  # fmt: skip
_NO_HEADERS: Mapping[str, Any] = {}
_NAMES = ("event_name", "business_ref_no", "component_name", "stage_name", "task_name")


MOST_PROGRESS_TEXT = 500

Progress = Mapping[str, Any]
"""How far the work is: `percent` (or None) and `message`."""


class UnreadableMessage(ValueError):
    """This is no message of an orchestrator. Look where it came from; the text says what it lacks."""


class TaskFailed(Exception):
    """Raise it to fail the attempt; the template's retry policy decides what follows.

    `code` is for programs and `message` for people; `details` is anything that JSON can say. With `retry=False` the
    remaining attempts are given up: trying again would fail again.
    """

    def __init__(self, code: str, message: str = "", details: Any = None, *, retry: bool = True) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code, self.message, self.details, self.retry = code, message, details, retry


class TaskCancelled(Exception):
    """Nobody waits for this work any more. Let it through: nothing will be answered."""


class Task:
    """One attempt of one task. `context` and `extra` are the service's own copies."""

    def __init__(
        self, message: Mapping[str, Any], *, queue: str = "", headers: Mapping[str, Any] = _NO_HEADERS
    ) -> None:
        """This will read a message and the headers that came with it. Raises UnreadableMessage."""
        for key in _NAMES:
            if not isinstance(message.get(key), str) or not message[key]:
                raise UnreadableMessage(f"{key} is missing, or no text")
        attempt = message.get("attempt")
        if not isinstance(attempt, int) or isinstance(attempt, bool) or attempt < 1:
            raise UnreadableMessage("attempt is missing, or no number")
        context = message.get("context") or {}
        if not isinstance(context, dict):
            raise UnreadableMessage("context is no object")
        self.message = message
        self.queue = queue
        self.event_name: str = message["event_name"]
        self.business_ref_no: str = message["business_ref_no"]
        self.component_name: str = message["component_name"]
        self.workflow_name: str = str(message.get("workflow_name") or "")
        self.stage_name: str = message["stage_name"]
        self.task_name: str = message["task_name"]
        self.task_type: str = str(message.get("task_type") or "SERVICE")
        self.attempt: int = attempt
        self.instance_id: str = str(message.get("instance_id") or "")
        self.message_id: str = str(message.get("message_id") or "")
        self.context: dict[str, Any] = context
        self.extra: dict[str, Any] = {key: value for key, value in message.items() if key not in _ENVELOPE}
        self.is_compensation = self.event_name == COMPENSATE or message.get("compensation") is True
        self.output: Any = message.get("output")
        """Of a compensation: what the attempt that is to be undone had answered."""
        self.undoes_attempt: int | None = message.get("undoes_attempt")
        self.trace = tracecontext.from_headers(headers) or tracecontext.from_headers(message)
        """Whose trace the work belongs to; it goes back with the answer. A function may put its own span's here."""
        self._cancelled = threading.Event()
        self._progress: Progress | None = None

    @property
    def trace_headers(self) -> dict[str, str]:
        """What to send with calls that are made for this task, `traceparent` and `tracestate`; empty where it is in no
        trace. OpenTelemetry's `extract` takes it as it is.
        """
        return self.trace.headers if self.trace is not None else {}

    @property
    def key(self) -> str:
        """What this attempt is known by: a message that repeats it has the same."""
        instance = self.instance_id or f"{self.component_name}/{self.workflow_name}/{self.business_ref_no}"
        way = "undo" if self.is_compensation else "do"
        return f"{instance}/{self.stage_name}/{self.task_name}/{way}/{self.attempt}"

    @property
    def idempotency_key(self) -> str:
        """A key for others' APIs: the same for every attempt of this task, so that a retry takes effect once.

        A compensation has one of its own for each attempt that it undoes.
        """
        what = self.key.rpartition("/")[0]
        return str(uuid.uuid5(_KEYS, f"{what}/{self.undoes_attempt}" if self.is_compensation else what))

    @property
    def cancelled(self) -> bool:
        """Whether the work was withdrawn. Long work asks now and then, and ends early."""
        return self._cancelled.is_set()

    def report(self, percent: float | None = None, message: str = "") -> None:
        """This will tell people how far the work is: of 100, in a sentence, or both. As often as you like.

        It is sent while the function runs, about once a second the newest; it extends no time-out.
        """
        if percent is not None and not 0 <= percent <= 100:
            raise ValueError("percent goes from 0 to 100.")
        self._progress = {"percent": percent, "message": str(message)[:MOST_PROGRESS_TEXT]}

    def take_progress(self) -> Progress | None:
        """This will hand over what was said since the last time."""
        said, self._progress = self._progress, None
        return said

    def raise_if_cancelled(self) -> None:
        """This will end the work if it was withdrawn. Raises TaskCancelled."""
        if self.cancelled:
            raise TaskCancelled(self.key)

    def cancel(self) -> None:
        """This will tell the function that its work was withdrawn."""
        self._cancelled.set()

    def resume(self) -> None:
        """This will take `cancel` back: the same attempt was handed out to this service again."""
        self._cancelled.clear()

    def __repr__(self) -> str:
        return f"<{self.event_name} {self.business_ref_no} {self.stage_name}/{self.task_name} attempt {self.attempt}>"


def read_message(body: bytes | str) -> Mapping[str, Any]:
    """This will read the JSON of a message. Raises UnreadableMessage."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableMessage(f"it is no JSON ({error})") from None
    if not isinstance(message, dict):
        raise UnreadableMessage("it is no JSON object")
    return message


_KEYS = uuid.UUID("5f0b8f0c-52b5-4c3c-9d0e-3d6f0a4a7a11")
