"""The table of contents of the engine: command -> rule.

Definition, snapshot and command give a decision; nothing else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from workflows.definitions.schema import WorkflowDefinition
from workflows.engine import commands as c
from workflows.engine import events as e
from workflows.engine import evolve  # noqa: F401 (tells drafts what each event does)
from workflows.engine.decision import Accepted, Decision, Duplicate, Rejected, World
from workflows.engine.draft import Draft
from workflows.engine.rules import human_tasks, replays, steps, tasks, workflows
from workflows.engine.snapshot import Snapshot

_RULES: Mapping[type, Callable[[Draft, Any, World], Duplicate | Rejected | None]] = {
    c.BeginTask: tasks.begin,
    c.CompleteTask: tasks.complete,
    c.FailTask: tasks.fail,
    c.RetryTask: tasks.retry,
    c.SkipTask: tasks.skip,
    c.CompleteTaskByHand: tasks.complete_by_hand,
    c.FailTaskByHand: tasks.fail_by_hand,
    c.ElapseTaskTimeout: tasks.elapse_timeout,
    c.ElapseRetry: tasks.elapse_retry,
    c.ClaimTask: human_tasks.claim,
    c.ReleaseTask: human_tasks.release,
    c.ReassignTask: human_tasks.reassign,
    c.DecideTask: human_tasks.decide,
    c.CommentTask: human_tasks.comment,
    c.SendSignal: steps.signal,
    c.AwaitSignal: steps.await_signal,
    c.ReplayTask: replays.replay_task,
    c.ReplayStage: replays.replay_stage,
    c.SuspendWorkflow: workflows.suspend,
    c.ResumeWorkflow: workflows.resume,
    c.CancelWorkflow: workflows.cancel,
    c.RollBackWorkflow: workflows.roll_back,
    c.ElapseInstanceTimeout: workflows.elapse,
}


def start(
    definition: WorkflowDefinition,
    command: c.StartWorkflow,
    *,
    instance_id: str,
    started_by: str,
    version: int,
    at: dt.datetime,
    world: World,
) -> Accepted:
    """This will begin a new instance. A start never fails here: its context has been checked, its reference is free."""
    draft = Draft(definition, None, at=at, instance_id=instance_id)
    workflows.start(draft, command, world, started_by=started_by, version=version)
    return Accepted(tuple(draft.events), draft.freeze())


def decide(
    definition: WorkflowDefinition, snapshot: Snapshot, command: c.Command, *, at: dt.datetime, world: World
) -> Decision:
    """This will judge one command. An accepted one may have no events: a heartbeat, a clock that came too late."""
    draft = Draft(definition, snapshot, at=at)
    refusal = _RULES[type(command)](draft, command, world)
    if refusal is not None:
        # Rules refuse before they let anything happen: a half-done draft must never be recorded.
        assert not draft.events, f"{command} was refused after {draft.events}"
        return refusal
    if not draft.events:
        return Accepted((), snapshot)
    return Accepted(tuple(draft.events), draft.freeze())


def refuse(
    definition: WorkflowDefinition,
    snapshot: Snapshot,
    rejected: Rejected,
    *,
    said: Mapping[str, Any],
    stage_name: str | None = None,
    task_name: str | None = None,
    attempt: int | None = None,
    at: dt.datetime,
) -> Accepted:
    """This will record a refusal: nothing changes, but the history says what came and why it was not done."""
    draft = Draft(definition, snapshot, at=at)
    position = None
    if stage_name is not None and task_name is not None:
        position = draft.definition.task_positions.get((stage_name, task_name))
    data = {"code": rejected.code, "reason": rejected.reason, "input": said}
    draft.emit(e.Event(e.INPUT_REFUSED, position, stage_name, task_name, attempt, data))
    return Accepted(tuple(draft.events), draft.freeze())
