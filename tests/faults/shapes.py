"""What a fault run does: the templates it publishes, and which instance of them is started when, how, by the seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

COMPONENT = "FAULTS"

# The queues, and whether the service behind each remembers what it has done (by its idempotency key).
QUEUES: Mapping[str, bool] = {"steady": True, "mail": False, "money": True, "wide": True, "undo": True}
# Where there is a broker: queues that their services declare themselves, plainly, and which may be deleted.
CLASSIC = ("money", "mail")


def task(name: str, queue: str, *parents: str, role: str = "steady", undo: str | None = None, **more: Any) -> Any:
    """Describe a SERVICE task; `role` tells the fake service how to behave, `undo` how its compensation does."""
    described: dict[str, Any] = {
        "task_name": name,
        "task_type": "SERVICE",
        "task_queue": queue,
        "parent_task": list(parents),
        "role": role,
        "timeout_seconds": 8,
        "retry": {"max_attempts": 4, "delay_seconds": 0.2, "backoff": 1.5, "max_delay_seconds": 2},
        **more,
    }
    if undo:
        retry = {"max_attempts": 3, "delay_seconds": 0.2}
        described["compensate"] = {"task_queue": "undo", "role": undo, "timeout_seconds": 6, "retry": retry}
    return described


def person(name: str, *parents: str, **more: Any) -> Any:
    """Describe a HUMAN task of finance that is approved, rejected or, where told so, returned."""
    outcomes = [
        {"name": "approve", "label": "Approve"},
        {"name": "reject", "label": "Reject", "effect": "fail"},
    ]
    return {
        "task_name": name,
        "task_type": "HUMAN",
        "assigned_to": "finance",
        "parent_task": list(parents),
        "outcomes": outcomes,
        "form": {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}},
        **more,
    }


def _workflow(name: str, *stages: Sequence[Any], **more: Any) -> dict[str, Any]:
    return {
        "workflow_name": name,
        "component_name": COMPONENT,
        "stages": [
            {"stage_name": f"S{number}", "stage_order": float(number), "tasks": list(tasks)}
            for number, tasks in enumerate(stages, 1)
        ],
        **more,
    }


# One attempt only, and soon: what fails so is for an operator, or for the rollback.
_ONCE: dict[str, Any] = {"retry": {"max_attempts": 1}}
_TWICE: dict[str, Any] = {"retry": {"max_attempts": 2, "delay_seconds": 0.2}}
_IF_BIG = {">": [{"var": "amount"}, 50]}


def templates() -> list[dict[str, Any]]:
    """Describe every shape of the load."""
    returning = person("check")
    returning["outcomes"].append({"name": "back", "label": "Back", "effect": "return", "return_to": "look"})
    return [
        _workflow("linear", [task("a", "steady")], [task("b", "mail")], [task("c", "money", undo="steady")]),
        _workflow(
            "diamond",
            [
                task("top", "steady", undo="steady"),
                task("left", "money", "top", undo="steady"),
                task("right", "mail", "top"),
                task("bottom", "steady", "left", "right"),
            ],
            [task("end", "mail")],
        ),
        _workflow("wide", [task(f"w{number}", "wide") for number in range(50)], [task("joined", "steady")]),
        _workflow(
            "human",
            [task("prepare", "steady", undo="steady"), person("approve", "prepare", on_failure="rollback")],
            [task("pay", "money", undo="steady")],
        ),
        _workflow("returning", [person("look"), returning | {"parent_task": ["look"]}], [task("file", "mail")]),
        _workflow(
            "undone_by_person",
            [
                task("sell", "money") | {"compensate": {"assigned_to": "finance", "title": "Give the money back"}},
                task("ship", "steady", "sell", role="broken", on_failure="rollback", **_ONCE),
            ],
        ),
        _workflow("retrying", [task("flaky", "steady", role="flaky")], [task("flaky2", "mail", role="flaky")]),
        _workflow(
            "rolling_back",
            [task("first", "steady", undo="steady"), task("second", "money", undo="flaky"), task("plain", "mail")],
            [task("third", "money", undo="steady"), task("breaks", "steady", "third", role="broken", **_TWICE)],
            on_failure="rollback",
        ),
        _workflow(
            "rollback_fails",
            [task("first", "steady", undo="steady"), task("second", "money", "first", undo="broken")],
            [task("breaks", "steady", role="broken", on_failure="rollback", **_ONCE)],
        ),
        _workflow(
            "timing_out",
            [task("silent", "steady", role="silent", timeout_seconds=1.5)],
            [task("slow", "mail", role="late", timeout_seconds=2)],
        ),
        _workflow(
            "halting", [task("stuck", "money", role="broken", **_ONCE), task("beside", "mail")], [task("z", "mail")]
        ),
        _workflow(
            "going_on",
            [task("lost", "mail", role="broken", on_failure="continue", **_ONCE), task("after", "steady", "lost")],
        ),
        _workflow(
            "conditional",
            [task("big", "money", when=_IF_BIG), task("always", "steady", "big")],
            [task("small", "mail", when={"not": _IF_BIG})],
        ),
        _workflow(
            "limited",
            [task("never", "steady", role="mute", timeout_seconds=60)],
            timeout_seconds=6,
            on_failure="rollback",
        ),
        _workflow("empty", [], []),
    ]


_WEIGHTS: Mapping[str, int] = {
    "linear": 20, "diamond": 10, "wide": 1, "human": 16, "returning": 5, "undone_by_person": 4, "retrying": 9,
    "rolling_back": 8, "rollback_fails": 5, "timing_out": 5, "halting": 6, "going_on": 4, "conditional": 6,
    "limited": 2, "empty": 1,
}  # fmt: skip

ACTS = ("suspend", "cancel", "rollback", "replay_stage", "replay_task", "skip", "nudge", "complete", "fail")
"""What operators do to an instance in the middle of its life; `suspend` is followed by `resume`."""


@dataclass(frozen=True)
class Start:
    """One instance to be started: when (seconds from the beginning), by which door, and what operators do to it."""

    at: float
    reference: str
    workflow: str
    door: str
    again: bool
    context: Mapping[str, Any]
    acts: tuple[tuple[float, str], ...] = ()
    left: bool = False
    """Nobody repairs it in the end: it is to be found waiting for an operator."""


@dataclass(frozen=True)
class Plan:
    """Everything that a seed decides about the load."""

    seed: int
    starts: tuple[Start, ...]
    by_reference: Mapping[str, Start] = field(default_factory=dict)


def plan(*, seed: int, instances: int, seconds: float, broker: bool) -> Plan:
    """Draw the load of a seed: arrivals come in bursts, and stop a fifth before the end."""
    rng = random.Random(f"load/{seed}")
    doors = ("instances", "event", "amqp", "amqp") if broker else ("instances", "instances", "event")
    arrivals = _arrivals(rng, instances, seconds * 0.8)
    starts = []
    for number, at in enumerate(arrivals):
        acts: tuple[tuple[float, str], ...] = ()
        if rng.random() < 0.15:
            acts = ((round(rng.uniform(0.3, 6), 2), rng.choice(ACTS)),)
        starts.append(
            Start(
                at=round(at, 3),
                reference=f"F{seed}-{number:05}",
                workflow=rng.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))[0],
                door=rng.choice(doors),
                again=rng.random() < 0.1,
                context={"amount": rng.randrange(100)},
                acts=acts,
                left=rng.random() < 0.02,
            )
        )
    return Plan(seed, tuple(starts), {one.reference: one for one in starts})


def _arrivals(rng: random.Random, instances: int, seconds: float) -> list[float]:
    """Draw arrivals as a Poisson process with bursts, all of them within the given time."""
    moments, at, burst = [], 0.0, 0
    for _ in range(instances):
        burst = burst - 1 if burst else rng.choice((0, 0, 0, 0, 0, 0, rng.randrange(5, 20)))
        at += 0.0 if burst else rng.expovariate(1.0)
        moments.append(at)
    return [moment * seconds / max(at, 1.0) for moment in moments]


def prefixed(prefix: str) -> list[dict[str, Any]]:
    """Give the templates with queues of a run's own, for a broker that several runs use."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: f"{prefix}{one}" if key == "task_queue" else walk(one) for key, one in value.items()}
        return [walk(one) for one in value] if isinstance(value, list) else value

    return [walk(template) for template in templates()]
