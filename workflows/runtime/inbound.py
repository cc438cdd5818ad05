"""A message of the contract becomes a command: wire name -> what is asked, every fault of its shape at once."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from workflows import tracecontext
from workflows.engine import commands as c
from workflows.engine.commands import Command
from workflows.models.progress import MESSAGE_LENGTH
from workflows.runtime.asking import Asked, Reference
from workflows.tracecontext import TraceContext


class UnreadableEvent(Exception):
    """The message can't be understood. Mend it as `errors` say and send it again."""

    def __init__(self, code: str, message: str, errors: tuple[Mapping[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.code, self.message, self.errors = code, message, errors


def read_event(
    message: Any,
    *,
    actor: str,
    cause: str | None = None,
    message_id: str | None = None,
    trace: TraceContext | None = None,
) -> Asked:
    """This will read one inbound message; `message_id` stands in for a missing `event_id`. Raises UnreadableEvent.

    `trace` is the context in the headers it came with; a message of a batch has fields of these names of its own.
    """
    fields = _Fields(message)
    name = fields.text("event_name")
    reference = fields.name("business_ref_no")
    component = fields.name("component_name")
    workflow = fields.name("workflow_name", required=False)
    event_id = fields.name("event_id", required=False)
    make = _EVENTS.get(name) if name is not None else None
    if name is not None and make is None:
        raise UnreadableEvent("unknown_event_name", f"There is no event {name!r}. Known: {', '.join(_EVENTS)}.")
    command = make(fields) if make else None
    version = fields.number("version") if name == "StartWorkflow" else None
    lease_id = fields.text("lease_id", required=False)
    if fields.errors or command is None:
        raise UnreadableEvent("invalid_body", "The message is not complete or not of the right shape.", fields.found)
    return Asked(
        command=command,
        target=Reference(component or "", reference or "", workflow),
        actor=actor,
        cause=cause or message_id,
        event_id=event_id or message_id,
        said=message,
        version=version,
        lease_id=lease_id,
        trace=tracecontext.from_headers(message) or trace,
    )


class _Fields:
    """Reads fields of a message and collects what is wrong with them."""

    def __init__(self, message: Any) -> None:
        self.errors: list[Mapping[str, str]] = []
        if not isinstance(message, Mapping):
            fault = {"pointer": "", "code": "wrong_type", "message": "A message is an object."}
            raise UnreadableEvent("invalid_body", "A message is an object.", (fault,))
        self.message = message

    @property
    def found(self) -> tuple[Mapping[str, str], ...]:
        return tuple(self.errors)

    def text(self, key: str, *, required: bool = True) -> str | None:
        value = self.message.get(key)
        if value is None:
            if required:
                self.fault(key, "required", f"{key} is missing.")
            return None
        if not isinstance(value, str):
            self.fault(key, "wrong_type", f"{key} is a text.")
            return None
        if not value and required:
            self.fault(key, "bad_value", f"{key} is empty.")
            return None
        return value

    def name(self, key: str, *, required: bool = True) -> str | None:
        value = self.text(key, required=required)
        if value is None:
            return None
        if not 1 <= len(value) <= 200:
            self.fault(key, "bad_value", f"{key} has 1 to 200 characters.")
            return None
        if value.strip() != value or (not value.isprintable() and any(unicodedata.category(x) == "Cc" for x in value)):
            self.fault(key, "bad_value", f"{key} is padded or has control characters.")
            return None
        return value

    def number(self, key: str) -> int | None:
        value = self.message.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            self.fault(key, "wrong_type", f"{key} is a whole number.")
            return None
        if not 0 < value < 2**31:
            self.fault(key, "bad_value", f"{key} counts from 1.")
            return None
        return value

    def flag(self, key: str) -> bool:
        value = self.message.get(key)
        if value is not None and not isinstance(value, bool):
            self.fault(key, "wrong_type", f"{key} is true or false.")
        return bool(value)

    def mapping(self, key: str) -> Mapping[str, Any] | None:
        value = self.message.get(key)
        if value is not None and not isinstance(value, Mapping):
            self.fault(key, "wrong_type", f"{key} is an object.")
            return None
        return value

    def fault(self, key: str, code: str, message: str) -> None:
        self.errors.append({"pointer": f"/{key}", "code": code, "message": message})


def _on_task(fields: _Fields) -> dict[str, Any]:
    return {
        "stage_name": fields.text("stage_name") or "",
        "task_name": fields.text("task_name") or "",
        "attempt": fields.number("attempt"),
        "compensation": fields.flag("compensation"),
    }


def _start(fields: _Fields) -> Command:
    return c.StartWorkflow(
        business_ref_no=str(fields.message.get("business_ref_no") or ""), context=fields.mapping("context") or {}
    )


def _begin(fields: _Fields) -> Command:
    worker = fields.text("worker_id", required=False)
    return c.BeginTask(**_on_task(fields), worker=worker, progress=_progress(fields))


def _progress(fields: _Fields) -> Mapping[str, Any] | None:
    said = fields.mapping("progress")
    percent, message = (said or {}).get("percent"), (said or {}).get("message")
    if percent is not None and (isinstance(percent, bool) or not isinstance(percent, int | float)):
        fields.fault("progress/percent", "wrong_type", "percent is a number.")
    elif percent is not None and not 0 <= percent <= 100:
        fields.fault("progress/percent", "bad_value", "percent is from 0 to 100.")
    if message is not None and not isinstance(message, str):
        fields.fault("progress/message", "wrong_type", "message is a text.")
    elif message is not None and len(message) > MESSAGE_LENGTH:
        fields.fault("progress/message", "bad_value", f"message has at most {MESSAGE_LENGTH} characters.")
    return None if said is None else {"percent": percent, "message": message or ""}


def _complete(fields: _Fields) -> Command:
    return c.CompleteTask(**_on_task(fields), output=fields.mapping("output"))


def _fail(fields: _Fields) -> Command:
    error = fields.mapping("error")
    for key in ("code", "message"):
        value = (error or {}).get(key)
        if value is not None and not isinstance(value, str):
            fields.errors.append({"pointer": f"/error/{key}", "code": "wrong_type", "message": f"{key} is a text."})
    if error is None and isinstance(fields.message.get("reason"), str):
        error = {"message": fields.message["reason"]}  # what services sent before there was `error`
    # Anything but false is none of ours: who sent a `retry` before it had a meaning is still understood.
    return c.FailTask(**_on_task(fields), error=error, final=fields.message.get("retry") is False)


def _pending(fields: _Fields) -> Command:
    return c.RetryTask(**_on_task(fields))


def _signal(fields: _Fields) -> Command:
    return c.SendSignal(name=fields.name("name") or "", payload=fields.message.get("payload"))


_EVENTS: Mapping[str, Callable[[_Fields], Command]] = {
    "StartWorkflow": _start,
    "TaskStarted": _begin,
    "TaskCompleted": _complete,
    "TaskFailed": _fail,
    "TaskPending": _pending,
    "Signal": _signal,
}
