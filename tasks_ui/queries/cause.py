"""Why an instance needs someone, or what it waits for."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from tasks_ui import times, words
from tasks_ui.queries.instance import OPEN, Instance, Task
from workflows.engine.lifecycle import InstanceState, TaskState
from workflows.runtime.whereabouts import Turn


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an instance needs someone, or what it waits for: shown before everything else."""

    state: str
    icon: str
    heading: str
    text: str
    facts: tuple[tuple[str, str, str], ...] = ()
    task: Task | None = None
    details: Any = None
    others: tuple[Task, ...] = ()
    by_person: bool = False


def cause_of(instance: Instance, reason: str = "", undoing: Any = None, turn: Turn | None = None) -> Cause | None:
    """This will say what went wrong, or what it waits for; None while it is well.

    `reason` is what was said at the newest suspension; `undoing` the newest failure of a rollback, `turn` why it began.
    """
    failed = [task for task in instance.tasks if task.state == TaskState.FAILED and task.holds_up]
    match instance.state:
        case InstanceState.ROLLBACK_FAILED:
            return _stuck_rollback(instance, undoing, turn)
        case InstanceState.ROLLING_BACK | InstanceState.ROLLED_BACK if turn is not None:
            return _turned(instance, turn)
        case InstanceState.SUSPENDED:
            return Cause(
                "suspended", "suspended", "Suspended: nothing more is scheduled",
                f"“{reason}”"
                if reason
                else "Results, decisions and claims are still taken; they take effect when it is resumed.",
            )  # fmt: skip
        case InstanceState.FAILED if failed:
            return _failed_task(instance, failed)
        case InstanceState.FAILED:
            limit = instance.definition.timeout_seconds
            return Cause(
                "failed", "clock", "It takes longer than its template allows",
                f"The limit is {times.length(limit)}. Its tasks go on, and it may still complete."
                if limit else "Its tasks go on, and it may still complete.",
                facts=(("Who can fix it", "An operator accepts the delay with “Resume”, or ends it.", ""),),
            )  # fmt: skip
        case InstanceState.RUNNING:
            return _waiting(instance)
        case _:
            return None


def _failed_task(instance: Instance, failed: list[Task]) -> Cause:
    task = max(failed, key=lambda one: (one.finished_at or instance.created_at, -one.position))
    message = str(task.error.get("message") or "")
    code = str(task.error.get("code") or "")
    person = task.kind == "HUMAN" and bool(task.outcome)
    heading = f"{task.title}: {words.readable(task.outcome or '')}" if person else f"{task.title} failed"
    if message:
        heading += f": {message}"
    at = times.moment(task.finished_at, now=instance.now) if task.finished_at else ""
    if person:
        first = f"{task.claimed_by or 'A person'} decided it {at}." if at else f"{task.claimed_by} decided it."
    elif task.attempt > 1:
        first = f"All {task.attempt} attempts failed, the last at {at}."
    else:
        first = f"Its only attempt failed at {at}."
    facts = []
    if task.kind != "HUMAN":
        facts.append(("Answered by", task.definition.task_queue or task.definition.step or "", code))
    elif code and not person:
        facts.append(("Code", "", code))
    facts.append(
        ("Who can fix it", "An operator retries it once the cause is gone, completes it by hand, or skips it.", "")
    )
    others = tuple(one for one in failed if one is not task)
    return Cause(
        "failed", "failed", heading[:240], f"{first} {_waiters(instance, task)}".strip(), facts=tuple(facts), task=task,
        details=task.error or None, others=others[:10], by_person=person,
    )  # fmt: skip


def _waiters(instance: Instance, task: Task) -> str:
    """Who waits for a task that does not go on."""
    tasks = instance.definition.tasks
    children = [
        f"“{tasks[child].title or words.readable(tasks[child].task_name)}”" for child in task.definition.children
    ]
    later = sum(stage.state == "PENDING" for stage in instance.stages)
    named = children[:2] + ([f"{len(children) - 2} more tasks"] if len(children) > 2 else [])
    if later:
        named.append("1 stage" if later == 1 else f"{later} stages")
    going = sum(one.state in (*OPEN, TaskState.WAITING) for one in instance.tasks)
    goes_on = f" {going} other {'tasks go' if going > 1 else 'task goes'} on." if going else ""
    if not named:
        return goes_on.strip()
    text = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
    return f"{text} {'wait' if len(named) > 1 or text.endswith('stages') else 'waits'} for it.{goes_on}"


def _turned(instance: Instance, turn: Turn) -> Cause:
    """Why it is, or was, undone."""
    over = instance.state == InstanceState.ROLLED_BACK
    undone = sum(task.state == TaskState.COMPENSATED for task in instance.tasks)
    count = f"{undone} {'task is' if undone == 1 else 'tasks are'} undone"
    text = f"{count}." if over else f"{count} so far, newest first; what is next stands under “Rollback”."
    facts = [("Turned by", _who_turned(turn), str((turn.error or {}).get("code") or ""))]
    return Cause(
        "rolled_back" if over else "rolling_back", "rolled" if over else "rolling",
        f"{'Was undone' if over else 'Is being undone'}: {turn.message}"[:240], text, facts=tuple(facts),
        details=turn.error or None,
    )  # fmt: skip


def _who_turned(turn: Turn) -> str:
    if turn.guard:
        return f"the guard {turn.guard}"
    if turn.by == "operator":
        return turn.actor or "an operator"
    return f"the policy of {turn.task}" if turn.task else "the policy of the template"


def _stuck_rollback(instance: Instance, undoing: Any, turn: Turn | None) -> Cause:
    task = next((one for one in instance.tasks if one.state == TaskState.COMPENSATION_FAILED), None)
    if task is None:
        return Cause("rollback_failed", "failed", "The rollback stopped", "")
    error = (undoing or {}).get("error") or {}
    message, code = str(error.get("message") or ""), str(error.get("code") or "")
    how = task.definition.compensate
    undone = sum(one.state == TaskState.COMPENSATED for one in instance.tasks)
    where = (how.task_queue or how.step or words.readable(how.assigned_to or "")) if how else ""
    heading = f"{task.title} could not be undone" + (f": {message}" if message else "")
    tries = (undoing or {}).get("attempt") or 1
    text = f"{'All ' + str(tries) + ' tries' if tries > 1 else 'The only try'} failed, so the rollback stopped. "
    text += (
        f"{undone} {'task is' if undone == 1 else 'tasks are'} undone; the rest waits."
        if undone
        else "Nothing is undone yet."
    )
    return Cause(
        "rollback_failed", "failed", heading[:240], text,
        facts=(
            ("Answered by", where, code),
            *([("Undone because", turn.message, "")] if turn is not None else []),
            ("Who can fix it", "An operator tries again, or says that it is undone by hand or stays as it is.", ""),
        ),
        task=task, details=error or None,
    )  # fmt: skip


def _waiting(instance: Instance) -> Cause | None:
    """What a running instance should be watched for: between attempts, overdue with a person, with nobody."""
    by_state: dict[str, list[Task]] = defaultdict(list)
    for task in instance.tasks:
        if task.state == TaskState.WAITING and task.retry_at:
            by_state["retry"].append(task)
        elif task.kind == "HUMAN" and task.state in OPEN:
            if not task.assigned_to and not task.claimed_by:
                by_state["nobody"].append(task)
            elif task.due_at and task.due_at < instance.now:
                by_state["late"].append(task)
    if by_state["retry"]:
        task = min(by_state["retry"], key=lambda one: one.retry_at or instance.now)
        code = str(task.error.get("code") or "")
        message = str(task.error.get("message") or code or "no answer")
        return Cause(
            "retrying", "retrying", f"{task.title} failed and is tried again: {message}"[:240],
            f"Attempt {task.attempt} of {max(task.attempt, task.attempts_allowed)} failed; the next one is at "
            f"{times.moment(task.retry_at, now=instance.now)}. Nobody has to do anything." if task.retry_at else "",
            facts=(("Answered by", task.definition.task_queue or task.definition.step or "", code),), task=task,
            details=task.error or None, others=tuple(by_state["retry"][1:10]),
        )  # fmt: skip
    if by_state["nobody"]:
        task = by_state["nobody"][0]
        return Cause(
            "retrying", "person", f"Nobody can do “{task.title}”",
            "Its assignee is neither a user nor a group here. An operator gives it to somebody.",
            task=task, by_person=True,
        )  # fmt: skip
    if by_state["late"]:
        task = min(by_state["late"], key=lambda one: one.due_at or instance.now)
        who = task.claimed_by or words.readable(task.assigned_to or "")
        late = times.length(instance.now - task.due_at) if task.due_at else ""
        return Cause(
            "failed", "clock", f"{task.title} is {late} overdue", f"{who} has it. Everything behind it waits.",
            task=task,
            by_person=True,
        )  # fmt: skip
    return None
