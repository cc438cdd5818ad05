"""Steps that wait for a signal, and signals that wait for a step."""

from __future__ import annotations

from workflows.definitions.schema import TaskKind
from workflows.engine import commands as c
from workflows.engine import events as e
from workflows.engine.decision import Duplicate, Rejected, World
from workflows.engine.draft import Draft
from workflows.engine.lifecycle import LIVE, ROLLING, InstanceState
from workflows.engine.rules.refusing import attempt_closed, ended, find, wrong_state
from workflows.engine.snapshot import Task

Refusal = Duplicate | Rejected | None


def await_signal(draft: Draft, command: c.AwaitSignal, world: World) -> Refusal:
    """This will let a step wait; a signal of that name that was kept wakes it at once."""
    position = find(draft, command)
    if isinstance(position, Rejected):
        return position
    task = draft.tasks[position]
    if refusal := ended(draft):
        return refusal
    if command.compensation:
        return _await_undoing(draft, command, position)
    live = task.state in LIVE and command.attempt in (None, task.attempt)
    if not live or draft.definition.tasks[position].kind is not TaskKind.STEP:
        return attempt_closed(draft, position)
    draft.on_task(e.SIGNAL_AWAITED, position, task.attempt, {"name": command.name, "memory": command.memory})
    if draft.state != InstanceState.SUSPENDED:
        deliver_kept_signals(draft)
    return None


def _await_undoing(draft: Draft, command: c.AwaitSignal, position: int) -> Refusal:
    undoing, how = draft.tasks[position].compensation, draft.definition.tasks[position].compensate
    live = undoing is not None and undoing.state in LIVE and command.attempt in (None, undoing.attempt)
    if undoing is None or not live or draft.state not in ROLLING or how is None or how.step is None:
        return attempt_closed(draft, position)
    data = {"compensation": True, "name": command.name, "memory": command.memory}
    draft.on_task(e.SIGNAL_AWAITED, position, undoing.attempt, data)
    deliver_kept_signals(draft)
    return None


def signal(draft: Draft, command: c.SendSignal, world: World) -> Refusal:
    """This will wake the first step that waits for the signal, or keep it for the first that will."""
    if refusal := ended(draft):
        return refusal
    if draft.state in ROLLING and not _may_wait_while_undone(draft):
        return wrong_state("Nothing waits for a signal during a rollback", draft)
    draft.on_instance(e.SIGNAL_RECEIVED, {"name": command.name, "payload": command.payload})
    if draft.state != InstanceState.SUSPENDED:
        deliver_kept_signals(draft)
    return None


def _may_wait_while_undone(draft: Draft) -> bool:
    return any(task.compensate is not None and task.compensate.step is not None for task in draft.definition.tasks)


def deliver_kept_signals(draft: Draft) -> None:
    """This will wake steps with the signals that are there for them, oldest signal first."""
    if not draft.signals:
        return
    waiting = [n for n, task in enumerate(draft.tasks) if _awaited(task) is not None]
    for name, payload in draft.signals:
        position = next((n for n in waiting if _awaited(draft.tasks[n]) == name), None)
        if position is None:
            continue
        task, data = draft.tasks[position], {"name": name, "payload": payload}
        if task.signal is None and task.compensation is not None:
            draft.on_task(e.STEP_WOKEN, position, task.compensation.attempt, {"compensation": True, **data})
        else:
            draft.on_task(e.STEP_WOKEN, position, task.attempt, data)


def _awaited(task: Task) -> str | None:
    return task.signal or (task.compensation.signal if task.compensation is not None else None)
