"""Workflows that come with the house, found as those of any installed app; `manage.py publish_workflows` has them."""

from __future__ import annotations

from typing import Any

from workflows.steps import Chain, StepTask, Waiting, begin, step, workflow
from workflows.subscriptions import validating

State = dict[str, Any]
_DAY = 24 * 3600


@step("Start the validations")
def start_validations(task: StepTask) -> State | Waiting:
    """Have them started chunk by chunk, and count. See Note [A workflow that starts others]."""
    memory = dict(task.memory or {"after": "", "seen": 0, "started": 0, "not_started": 0, "why_not": []})
    said = task.signal
    if said is not None:
        memory["after"] = said["after"]
        memory["seen"] += said["seen"]
        memory["started"] += said["started"]
        memory["not_started"] += len(said["not_started"])
        memory["why_not"] = [*memory["why_not"], *said["not_started"]][: validating.TOLD]
        if said["over"]:
            return {name: memory[name] for name in ("seen", "started", "not_started", "why_not")}
    validating.ask_the_clock()
    return Waiting(validating.CHUNK, memory=memory)


@step("Wait for their results", timeout=_DAY)
def wait_for_results(task: StepTask) -> State | Waiting:
    """Sum up what they have found: `look_at` names those that are not as they should be."""
    if task.signal is not None:
        return {name: task.signal[name] for name in ("completed", "not_completed", "look_at")}
    validating.ask_the_clock()
    return Waiting(validating.SETTLED)


@workflow(
    validating.TITLE, component=validating.COMPONENT, target="SYSTEM",
    context_schema={
        "type": "object",
        "properties": {
            "product": {
                "type": "string",
                "title": "Product",
                "description": "Only subscriptions to this product; all, if left out.",
                "maxLength": 200,
            }
        },
        "additionalProperties": False,
    },
)  # fmt: skip
def validate_all() -> Chain:
    """Start every VALIDATE workflow on each subscription that is in sync and may be validated, and sum up."""
    return begin >> start_validations >> wait_for_results
