"""How a fake service behaves towards one attempt: drawn from the seed, the same at every run of it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Payload = Mapping[str, Any]

# What a steady service does, and how often. Each of them leads to a completion in the end, if need be by another attempt.
_STEADY: Mapping[str, float] = {
    "succeed": 60,
    "twice": 5,
    "twice_with_new_id": 4,
    "twice_different": 4,
    "same_id_other_body": 2,
    "completed_then_failed": 2,
    "before_ack": 3,
    "late": 4,
    "heartbeats": 4,
    "nudge": 1,
    "die_before": 3,
    "die_after": 4,
    "wrong_attempt": 2,
    "huge": 1,
    "bad_json": 2,
    "stranger": 2,
    "old_format": 5,
}


@dataclass(frozen=True)
class Behaviour:
    """What is done about one attempt."""

    name: str
    effect: bool = True
    think: float = 0.0
    """Seconds between taking the work and answering."""


def drawn(*, seed: int, reference: str, payload: Payload) -> Behaviour:
    """Draw what the service does about this attempt."""
    compensation = payload["event_name"] == "CompensateTask"
    task = f"{seed}/{reference}/{payload['stage_name']}/{payload['task_name']}/{'undo' if compensation else 'do'}"
    attempt = int(payload["attempt"])
    rng = random.Random(f"{task}/{attempt}")
    of_task = random.Random(task)
    role = str(payload.get("role", "steady"))
    think = 0.0 if rng.random() < 0.6 else rng.uniform(0.01, 0.4)
    match role:
        case "flaky" if attempt <= of_task.randint(1, 2):
            return Behaviour("fail", effect=rng.random() < 0.2, think=think)
        case "broken":
            return Behaviour("fail", effect=rng.random() < 0.2, think=think)
        case "mute":
            return Behaviour("silent", effect=rng.random() < 0.5)
        case "silent" if attempt <= of_task.randint(1, 2):
            return Behaviour("silent", effect=rng.random() < 0.5)
        case "late" if attempt == 1:
            return Behaviour("succeed", think=rng.uniform(1.5, 4))
    name = rng.choices(list(_STEADY), weights=list(_STEADY.values()))[0]
    return Behaviour(name, think=rng.uniform(0.5, 3) if name == "late" else think)


def result(payload: Payload, name: str = "TaskCompleted", **more: Any) -> dict[str, Any]:
    """Make the message that reports on an attempt."""
    keys = (
        "business_ref_no", "component_name", "workflow_name", "stage_name", "task_name", "task_type", "attempt",
    )  # fmt: skip
    message = {key: payload[key] for key in keys}
    message |= {"event_name": name, "event_id": f"{payload['message_id']}/{name}"}
    if payload["event_name"] == "CompensateTask":
        message["compensation"] = True
    if name == "TaskCompleted":
        message["output"] = {f"{payload['stage_name']}.{payload['task_name']}": payload["attempt"]}
    if name == "TaskFailed":
        message["error"] = {"code": "drawn", "message": "The seed wants it so."}
    return message | more


def answers(behaviour: Behaviour, payload: Payload) -> list[dict[str, Any] | bytes]:
    """Give what the service says, in order; bytes are said as they are."""
    done = result(payload)
    other = {"output": {"other": True}}
    match behaviour.name:
        case "fail":
            return [result(payload, "TaskFailed")]
        case "silent" | "die_before" | "die_after":
            return []
        case "twice":
            return [done, done]
        case "twice_with_new_id":
            return [done, {**done, "event_id": done["event_id"] + "/again"}]
        case "twice_different":
            return [done, {**done, **other, "event_id": done["event_id"] + "/other"}]
        case "same_id_other_body":
            return [done, {**done, **other}]
        case "completed_then_failed":
            return [done, result(payload, "TaskFailed")]
        case "heartbeats":
            beat = result(payload, "TaskStarted")
            return [*({**beat, "event_id": f"{beat['event_id']}/{number}"} for number in range(3)), done]
        case "nudge":
            # As TaskPending says: do it once more. Only the first attempt does, else it never ends.
            return (
                [result(payload, "TaskPending")] if payload["attempt"] == 1 and "compensation" not in done else [done]
            )
        case "wrong_attempt":
            wrong = {**done, "attempt": payload["attempt"] + 7, "event_id": done["event_id"] + "/wrong"}
            return [wrong, done]
        case "huge":
            return [{**done, "output": {"big": "x" * 1_100_000}, "event_id": done["event_id"] + "/huge"}, done]
        case "bad_json":
            return [json.dumps(done).encode()[:-3], done]
        case "stranger":
            stranger = {**done, "business_ref_no": "NOBODY", "event_id": done["event_id"] + "/stranger"}
            return [stranger, done]
        case "old_format":
            return [{key: value for key, value in done.items() if key not in ("attempt", "event_id")}]
    return [done]
