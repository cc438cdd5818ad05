"""The few words that stand below a task's name, and beside a stage's."""

from __future__ import annotations

from typing import Any

from tasks_ui import times, words
from tasks_ui.queries.instance import Instance, Task
from workflows.engine.lifecycle import TaskState


def fact(task: Task, done: set[int], stage_state: str, instance: Instance) -> str:
    """This will give the one fact that stands below a task's name; `done` are the positions that are done."""
    now = instance.now
    match task.state:
        case TaskState.COMPLETED:
            took = times.length(task.took)
            if instance.rolling:
                return f"{took}, may be undone" if task.definition.compensate else "nothing to undo"
            return f"{task.claimed_by}, {took}" if task.claimed_by else took
        case TaskState.SCHEDULED | TaskState.STARTED if task.kind == "HUMAN":
            who = task.claimed_by or (words.readable(task.assigned_to) if task.assigned_to else "nobody can do it")
            if task.due_at and task.due_at < now:
                return f"{who}, overdue"
            return f"{who}, due {times.moment(task.due_at, now=now, seconds=False)}" if task.due_at else who
        case TaskState.STARTED if task.progress:
            return task.progress
        case TaskState.SCHEDULED | TaskState.STARTED:
            since = task.started_at or task.scheduled_at
            again = f"attempt {task.attempt}, " if task.attempt > 1 else ""
            return f"{again}{times.age(now - since)}" + ("" if again else " so far") if since else ""
        case TaskState.FAILED:
            if task.attempt > 1:
                return f"attempt {task.attempt}" + (
                    f" of {task.attempts_allowed}" if task.attempt <= task.attempts_allowed else ""
                )
            return words.readable(str(task.error.get("code") or "failed"))
        case TaskState.WAITING:
            if task.retry_at:
                return f"next try {times.moment(task.retry_at, now=now)}"
            return task.progress or "a signal"
        case TaskState.SKIPPED:
            if task.definition.has_when and not task.attempt:
                return "condition is false"
            # A step may say so itself; its history tells who it was.
            return "nothing to do" if task.kind == "STEP" else "by an operator"
        case TaskState.CANCELLED:
            return "withdrawn" if task.attempt else "never sent"
        case TaskState.COMPENSATING:
            return "being undone"
        case TaskState.COMPENSATED:
            return "undone"
        case TaskState.COMPENSATION_FAILED:
            return "undoing failed"
        case _:
            open_parents = sum(parent not in done for parent in task.definition.parents)
            if stage_state == "ACTIVE" and task.definition.parents:
                return f"waits for {open_parents:,} of {len(task.definition.parents):,}"
            if task.kind == "HUMAN":
                return words.readable(task.assigned_to or "nobody")
            return task.definition.task_queue or task.definition.step or ""


def stage_note(stage: Any, tasks: tuple[Task, ...], instance: Instance) -> str:
    """This will give what stands beside a stage's name."""
    if stage.finished_at and stage.activated_at and stage.state in ("COMPLETED", "SKIPPED"):
        return times.length(stage.finished_at - stage.activated_at)
    if stage.state == "ACTIVE" and stage.activated_at:
        return f"{times.age(instance.now - stage.activated_at)} so far"
    if stage.state == "PENDING":
        people = sum(task.kind == "HUMAN" for task in tasks)
        return "" if not people else "1 person" if people == 1 else f"{people} people"
    return "withdrawn" if stage.state == "CANCELLED" else ""
