"""The same question, the same look: between the commands and snapshots of the engine and the dicts of the model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from tests.builders import NOON
from tests.model import model
from workflows.definitions.schema import WorkflowDefinition
from workflows.engine import commands as c
from workflows.engine.decision import Accepted, Decision, Duplicate
from workflows.engine.snapshot import Snapshot

NOT_THE_MODELS = frozenset({"invalid_body"})
"""Codes about how an input is written, not about what follows from it: forms, unknown outcomes, unknown names."""

GOING_ON = ("RUNNING", "FAILED", "SUSPENDED")

UNDOING = ("COMPENSATING", "COMPENSATION_FAILED")

_NAMES: dict[type, str] = {
    c.BeginTask: "started", c.CompleteTask: "completed", c.FailTask: "failed", c.RetryTask: "pending",
    c.AwaitSignal: "awaits", c.SendSignal: "signal", c.ClaimTask: "claim", c.ReleaseTask: "release",
    c.ReassignTask: "reassign", c.DecideTask: "decide", c.SkipTask: "skip", c.CompleteTaskByHand: "complete",
    c.FailTaskByHand: "fail", c.ReplayTask: "replay", c.ReplayStage: "replay", c.SuspendWorkflow: "suspend",
    c.ResumeWorkflow: "resume", c.CancelWorkflow: "cancel", c.RollBackWorkflow: "rollback",
    c.ElapseTaskTimeout: "due", c.ElapseRetry: "due", c.ElapseInstanceTimeout: "due",
}  # fmt: skip
_ENVELOPE = (
    "business_ref_no", "component_name", "workflow_name", "instance_id", "message_id", "compensation", "assigned_to",
)  # fmt: skip
_CLOCKS = {c.ElapseTaskTimeout: "timeout", c.ElapseRetry: "retry", c.ElapseInstanceTimeout: "instance"}
_RENAMED = {"stage_name": "stage", "task_name": "task", "assigned_to": "to"}


def is_modelled(command: Any) -> bool:
    """Tell whether the model knows such a command (it knows no comments)."""
    return type(command) in _NAMES


def asked(definition: WorkflowDefinition, command: Any) -> dict[str, Any]:
    """Say a command in the words of the model."""
    ask = {"do": _NAMES[type(command)]}
    for field in command.__dataclass_fields__:
        ask[_RENAMED.get(field, field)] = getattr(command, field)
    if type(command) in _CLOCKS:
        ask["what"] = _CLOCKS[type(command)]
        if "position" in ask:
            task = definition.tasks[ask.pop("position")]
            ask |= {"stage": task.stage_name, "task": task.task_name}
        ask.pop("due_at", None)
    return ask


def seconds(moment: dt.datetime | None) -> Any:
    """Give a moment as the model counts time."""
    return None if moment is None else (moment - NOON).total_seconds()


def answer_of(decision: Decision) -> str:
    """Give the engine's answer in the words of the model."""
    match decision:
        case Accepted():
            return "applied" if decision.events else "nothing"
        case Duplicate():
            return "duplicate"
    return decision.code


def seen_in_the_engine(definition: WorkflowDefinition, now: Snapshot) -> dict[str, Any]:
    """Show an instance of the engine, as far as anybody can see it from outside."""
    tasks = {}
    definition = now.grown or definition
    for task, it in zip(definition.tasks, now.tasks, strict=True):
        undo = it.compensation
        tasks[task.stage_name, task.task_name] = {
            "state": str(it.state),
            "output": _plain(it.output),
            "outcome": it.outcome,
            "error": _error((undo.error if undo and it.state in UNDOING else None) or it.error),
            "run": _job(it, it.state in ("SCHEDULED", "STARTED") or it.signal is not None) | {"awaits": it.signal},
            "undo": None if undo is None else _job(undo, undo.state in ("SCHEDULED", "STARTED")),
        }
    return {
        "state": str(now.state),
        "business_status": now.business_status,
        "context": _plain(now.context),
        "timed_out": now.timed_out and str(now.state) in GOING_ON,
        "ends_by": seconds(now.timeout_at) if str(now.state) in GOING_ON else None,
        "signals": sorted(name for name, _ in now.signals),
        "stages": {s.stage_name: str(it.state) for s, it in zip(definition.stages, now.stages, strict=True)},
        "tasks": tasks,
    }


def _job(it: Any, live: bool) -> dict[str, Any]:
    return {
        "attempt": it.attempt,
        "live": live,
        "claimed_by": it.claimed_by,
        "assigned_to": it.assigned_to if live else None,
        "timeout_at": seconds(it.timeout_at) if live else None,
        "retry_at": seconds(it.retry_at),
    }


def seen_in_the_model(state: Mapping[str, Any]) -> dict[str, Any]:
    """Show an instance of the model, as far as anybody can see it from outside."""
    tasks = {}
    for key, it in state["tasks"].items():
        jobs = {}
        for side in ("run", "undo"):
            job = it[side]
            jobs[side] = {name: job[name] for name in ("attempt", "live", "claimed_by")} | {
                "assigned_to": job["assigned_to"] if job["live"] else None,
                "timeout_at": _moment(job["timeout_at"]) if job["live"] else None,
                "retry_at": job["retry_at"][1] if job["retry_at"] and it["state"] != "FAILED" else None,
            }
        tasks[key] = {name: _plain(it[name]) for name in ("state", "output", "outcome")}
        tasks[key]["error"] = _plain((it["undo"]["error"] if it["state"] in UNDOING else None) or it["run"]["error"])
        tasks[key] |= {"run": jobs["run"] | {"awaits": it["run"]["awaits"]}}
        tasks[key] |= {"undo": jobs["undo"] if it["undo"]["attempt"] else None}
    return {name: _plain(state[name]) for name in ("state", "business_status", "context")} | {
        "timed_out": state["timed_out"] and state["state"] in GOING_ON,
        "ends_by": _moment(state["ends_by"]) if state["state"] in GOING_ON else None,
        "signals": sorted(name for name, times in state["signals"].items() for _ in range(times)),
        "stages": dict(state["stages"]),
        "tasks": tasks,
    }


def settle_luck(
    state: dict[str, Any], definition: WorkflowDefinition, now: Snapshot
) -> tuple[dict[str, Any], list[str]]:
    """Tell the model which moment was drawn for each retry; it gives those that lie where the model forbids it."""
    tasks, misses = dict(state["tasks"]), []
    for task, it in zip(definition.tasks, now.tasks, strict=True):
        key = (task.stage_name, task.task_name)
        for side, job in (("run", it), ("undo", it.compensation)):
            span = tasks[key][side]["retry_at"]
            if span is None or job is None or job.retry_at is None:
                continue
            drawn = seconds(job.retry_at)
            if not span[0] - 1e-5 <= drawn <= span[1] + 1e-5:
                misses.append(f"the retry of {key} is due at {drawn}, not in {span}")
            tasks[key] = {**tasks[key], side: {**tasks[key][side], "retry_at": (drawn, drawn)}}
    return {**state, "tasks": tasks}, misses


def message_of(payload: Mapping[str, Any], queue: str) -> dict[str, Any]:
    """Give a message of the engine in the words of the model: what is the same in all of an instance is left out."""
    return {name: _plain(value) for name, value in payload.items() if name not in _ENVELOPE} | {"queue": queue}


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Say where two looks differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted({*one, *other}, key=str)
        return [
            line
            for name in names
            for line in differences(one.get(name, "(missing)"), other.get(name, "(missing)"), f"{path}/{name}")
        ]
    return [] if one == other else [f"{path}: the engine says {one!r}, the model {other!r}"]


def _moment(at: float) -> float | None:
    return None if at == model.FOREVER else at


def _error(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if error is None:
        return None
    shown = {name: error.get(name) for name in ("code", "message", "details")}
    return shown | {"message": None} if shown["code"] == "timeout" else shown  # The wording is free.


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
