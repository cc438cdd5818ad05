"""Steps that ask somebody outside for something and go on when they call back.

    @callbackstep("Provision the port", result_key="port", validate=is_up, timeout=600)
    def provision(state: dict, callback_url: str) -> dict:
        requests.post(FACTORY, json={"order": state["order"], "call": callback_url}, timeout=10)

Whoever does the work posts an object to `callback_url`; it is kept under `result_key`, judged by `validate`, and the
workflow goes on. On the way they may post progress to `callback_url` + `progress/`. After a failure, also of `validate`
or by the time-out, the action is done again, with another address.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from workflows.conf import settings
from workflows.runtime import callbacks
from workflows.steps.links import CANNOT_UNDO, Step
from workflows.steps.outcomes import Done, Failed, Outcome, Perform, StepFunction, StepTask, Waiting
from workflows.steps.step import performing, step

PATH = "/api/v1/callbacks/{token}/"


def callbackstep(
    title: str = "",
    *,
    result_key: str = "callback_result",
    validate: StepFunction | None = None,
    **more: Any,
) -> Callable[[StepFunction], Step]:
    """This will register a step whose function gets `callback_url`, and that waits until somebody has called it.

    `validate(state)` sees the result under `result_key`; what it answers goes into the state, what it raises fails the
    attempt. `more` is as for `step`; `timeout` runs from the beginning of the attempt.
    """

    def register(function: StepFunction) -> Step:
        made = step(title, **more)(function)
        made.perform = _performing(function, validate, result_key)
        made.is_called_back = True
        return made

    return register


def _performing(function: StepFunction, validate: StepFunction | None, result_key: str) -> Perform:
    act = performing(function)
    judge = performing(validate) if validate is not None else None

    def perform(task: StepTask) -> Outcome:
        if task.compensation:
            return Failed("called_back_undoing", CANNOT_UNDO)
        if not task.woken:
            promised = callbacks.promise(uuid.UUID(task.instance_id), position=task.position, attempt=task.attempt)
            url = settings.PUBLIC_URL.rstrip("/") + PATH.format(token=promised.token)
            outcome = act(replace(task, context={**task.context, "callback_url": url}))
            if isinstance(outcome, Waiting):
                return Failed("waits_twice", "A callback step waits for its call; it cannot wait for a signal, too.")
            if isinstance(outcome, Done):
                # A function may well answer the whole state that it was given; whoever reads a history may not call.
                told = {key: value for key, value in outcome.output.items() if value != url}
                return Waiting(promised.signal, memory=told)
            return outcome
        output = {**(task.memory or {}), result_key: task.signal}
        judged = judge(replace(task, context={**task.context, **output})) if judge is not None else Done()
        return Done({**output, **judged.output}) if isinstance(judged, Done) else judged

    return perform
