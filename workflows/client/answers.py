"""What a service answers, in the orchestrator's words."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from workflows.client.tasks import Progress, Task, TaskFailed

Answer = dict[str, Any]
"""A message for the orchestrator; an empty one where there is nothing to say."""

MOST_BYTES = 1_000_000
"""A little less than the orchestrator takes."""
MOST_LEVELS = 60
_MOST_TEXT = 4_000
_SAME = ("business_ref_no", "component_name", "workflow_name", "stage_name", "task_name", "task_type", "attempt")


class BadAnswer(ValueError):
    """The orchestrator could not read this answer. Return an object of texts, numbers, lists, objects, true, false."""


def started(task: Task, *, worker_id: str, progress: Progress | None = None) -> Answer:
    """This will say that the task is being worked on, and how far it is."""
    said = {**_about(task, "TaskStarted"), "worker_id": worker_id}
    return said if progress is None else {**said, "progress": {**progress, "message": _clean(progress["message"])}}


def completed(task: Task, output: Any) -> Answer:
    """This will say what came out. Raises BadAnswer."""
    if output is not None and not isinstance(output, Mapping):
        raise BadAnswer(f"The output is a {type(output).__name__}; it must be an object (a dict), or nothing.")
    answer = {**_about(task, "TaskCompleted"), "output": dict(output or {})}
    _check(answer)
    return answer


def failed(task: Task, error: BaseException) -> Answer:
    """This will say what went wrong; an exception that is no TaskFailed is named by its type."""
    answer = _about(task, "TaskFailed")
    if not isinstance(error, TaskFailed):
        return answer | {"error": {"code": type(error).__name__, "message": _text(error)}}
    answer["error"] = {"code": _clean(error.code), "message": _clean(error.message)}
    if error.details is not None:
        answer["error"]["details"] = error.details
    if not error.retry:
        answer["retry"] = False
    try:
        _check(answer)
    except BadAnswer as fault:
        answer["error"]["details"] = f"left out: {fault}"
    return answer


def encode(answer: Answer) -> bytes:
    """This will give the answer as it travels."""
    return json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _about(task: Task, event_name: str) -> Answer:
    # Not made from the attempt: the same work done twice (after a crash, say) may have two results, and two messages
    # under one id would be an error where a duplicate is none.
    answer: Answer = {key: task.message[key] for key in _SAME if task.message.get(key) is not None}
    answer |= {"event_name": event_name, "event_id": str(uuid.uuid4())}
    if task.is_compensation:
        answer["compensation"] = True
    return answer | task.trace_headers


def _check(answer: Answer) -> None:
    try:
        size = len(encode(answer))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadAnswer(f"It can't be said in JSON: {error}") from None
    if size > MOST_BYTES:
        raise BadAnswer(f"It takes {size} bytes; there is room for {MOST_BYTES}.")
    _look_through(answer, levels=MOST_LEVELS)


def _look_through(value: Any, *, levels: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise BadAnswer("A text holds a NUL.")
    elif isinstance(value, (Mapping, list, tuple)):
        if not levels:
            raise BadAnswer(f"It is nested deeper than {MOST_LEVELS} levels.")
        parts = [*value, *value.values()] if isinstance(value, Mapping) else value
        for part in parts:
            _look_through(part, levels=levels - 1)


def _text(error: BaseException) -> str:
    try:
        return _clean(str(error))
    except Exception:
        return "(an error without words)"


def _clean(text: str) -> str:
    return str(text)[:_MOST_TEXT].encode(errors="replace").decode().replace("\0", "\ufffd")
