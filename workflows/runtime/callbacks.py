"""Waiting for somebody outside who has been given an address to call.

Note [Who may call]
~~~~~~~~~~~~~~~~~~~
The address holds a token of 256 random bits, made for one attempt and given to whoever does the work; it is all that a
caller needs. The database keeps its digest only, and no event holds it. It opens one thing: to go on, once, with the
attempt that it was made for. When that attempt has ended in whatever way, the address leads to a conflict; the next
attempt has another one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import uuid
from dataclasses import dataclass
from typing import Any

from workflows.engine.commands import SendSignal
from workflows.engine.lifecycle import InstanceState, TaskState
from workflows.models import CALL, StepCallback, TaskInstance, WorkflowInstance
from workflows.models.locking import writing
from workflows.runtime import listeners, moments, pausing
from workflows.runtime.asking import Answer, Asked
from workflows.runtime.handling import handle

ACTOR = "callback"
_WAITS = (InstanceState.RUNNING, InstanceState.FAILED, InstanceState.SUSPENDED)


class UnknownToken(LookupError):
    """Nobody was given such a token."""


class NotAwaited(Exception):
    """The attempt that the token was made for does not wait for the call: it has been made, or the attempt is over."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A call that is awaited: its token, and the signal that the step waits for meanwhile."""

    token: str
    signal: str


def promise(instance_id: uuid.UUID, *, position: int, attempt: int, at: dt.datetime | None = None) -> Promise:
    """This will make an address for one attempt of a task, in the transaction of whoever asks."""
    token, key = secrets.token_urlsafe(32), uuid.uuid4()
    signal = f"{CALL}{key}"
    StepCallback.objects.create(
        id=key,
        instance_id=instance_id,
        position=position,
        attempt=attempt,
        token_digest=_digest(token),
        signal=signal,
        created_at=at or moments.now(),
    )
    return Promise(token, signal)


def is_known(token: str) -> bool:
    """This will tell whether somebody was given the token."""
    return StepCallback.objects.filter(token_digest=_digest(token)).exists()


def call(token: str, payload: Any, *, at: dt.datetime | None = None) -> Answer:
    """This will let the step go on with what the caller says. Raises UnknownToken, NotAwaited, EnginePaused."""
    moment = at or moments.now()
    with writing():
        row = _awaited(token)
        StepCallback.objects.filter(pk=row.pk).update(called_at=moment)
        command = SendSignal(name=row.signal, payload=payload)
        (answer,) = handle(Asked(command, row.instance_id, actor=ACTOR, cause=str(row.pk)), at=moment)
        # Not made, then: whoever calls is told to call again.
        pausing.insist([answer])
    return answer


def report(token: str, progress: Any, *, at: dt.datetime | None = None) -> None:
    """This will keep how far the work is, in place of what was said before. Raises UnknownToken, NotAwaited.

    It is no event: nothing has been decided. Pages that show the instance are told all the same.
    """
    moment = at or moments.now()
    with writing():
        row = _awaited(token)
        StepCallback.objects.filter(pk=row.pk).update(progress=progress, progress_at=moment)
    instance = WorkflowInstance.objects.get(pk=row.instance_id)
    task = TaskInstance.objects.only("stage_name", "task_name").get(instance=instance, position=row.position)
    change = listeners.Change(
        instance_id=instance.pk,
        last_sequence=instance.last_sequence,
        state=instance.state,
        created=False,
        component_name=instance.component_name,
        workflow_name=instance.workflow_name,
        tasks=(f"{task.stage_name}/{task.task_name}",),
        events=(),
        human_tasks=(),
        heard=True,
    )
    listeners.tell(listeners.Committed(at=moment, changes=(change,)))


def progress_told(progress: Any) -> tuple[float | None, str]:
    """This will read how far the work is: the percentage, where there is one between 0 and 100, and what is said."""
    if not isinstance(progress, dict):
        return None, str(progress or "")
    percent = progress.get("percent")
    known = isinstance(percent, int | float) and not isinstance(percent, bool) and 0 <= percent <= 100
    others = {key: value for key, value in progress.items() if key != "message" and not (known and key == "percent")}
    said = [str(progress["message"])] if progress.get("message") else []
    said += [f"{key}: {value}" for key, value in others.items()]
    return (float(percent) if known and percent is not None else None), ", ".join(said)


def _awaited(token: str) -> StepCallback:
    row = StepCallback.objects.filter(token_digest=_digest(token)).first()
    if row is None:
        raise UnknownToken
    # Under the instance's lock, as everything that lets it go on.
    instance = WorkflowInstance.objects.select_for_update(no_key=True).get(pk=row.instance_id)
    row.refresh_from_db()
    task = TaskInstance.objects.get(instance=instance, position=row.position)
    waits = task.state == TaskState.WAITING and task.attempt == row.attempt and instance.state in _WAITS
    if row.called_at is not None or not waits:
        raise NotAwaited
    return row


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
