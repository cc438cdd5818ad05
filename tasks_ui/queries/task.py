"""One human task: what it asks, why it is there, what was said so far, and what each answer would cause."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks_ui import words
from tasks_ui.queries.data import Datum, context_of
from tasks_ui.words import Sign
from workflows.definitions.schema import DEFAULT_OUTCOMES, Effect, Outcome, Phase, TaskDefinition, WorkflowDefinition
from workflows.definitions.search import SearchValue
from workflows.engine.commands import Command, CompleteTask, DecideTask
from workflows.engine.decide import decide
from workflows.engine.decision import Accepted
from workflows.engine.lifecycle import OPEN_HUMAN_TASK, InstanceState
from workflows.engine.plugins import Expected
from workflows.engine.snapshot import Snapshot
from workflows.models import HumanTask, LoggedEvent, Person
from workflows.runtime import plugins
from workflows.runtime.masking import masked
from workflows.runtime.reading import task_definition, why
from workflows.runtime.replay import state_at

_SAID = 8
_NAMED = 4


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer: what it is called, what it would cause, and how its button looks."""

    name: str
    label: str
    effect: str
    then: str
    danger: bool
    needs_comment: bool


@dataclass(frozen=True, slots=True)
class Said:
    """Something that happened before, as one line."""

    at: dt.datetime
    who: str
    what: str
    comment: str
    sign: Sign


@dataclass(frozen=True, slots=True)
class Task:
    """A human task as its page shows it."""

    id: uuid.UUID
    title: str
    description: str
    instance_id: uuid.UUID
    reference: str
    workflow: str
    version: int
    instance_sign: Sign
    business_status: str | None
    node: str
    sign: Sign
    is_open: bool
    holder: str | None
    assigned_to: str | None
    due_at: dt.datetime | None
    attempt: int
    compensation: bool
    why: str
    sequence: int
    data: Sequence[Datum]
    so_far: Sequence[Said]
    choices: Sequence[Choice]
    may_claim: bool
    may_release: bool
    may_reassign: bool
    may_comment: bool
    may_decide: bool
    hindrance: str
    decided: Mapping[str, Any] | None

    @property
    def refusable(self) -> bool:
        """This will tell whether one of the answers needs a comment."""
        return any(choice.needs_comment for choice in self.choices)


def task_of(row: HumanTask, person: Person) -> Task:
    """This will read everything that the page of a human task shows (its instance comes with the row)."""
    instance, definition = row.instance, task_definition(row)
    workflow, snapshot = state_at(instance)
    is_open = row.state in OPEN_HUMAN_TASK and instance.state not in ("COMPLETED", "CANCELLED", "ROLLED_BACK")
    theirs = _is_theirs(row, person)
    hindrance = _hindrance(row, person, definition, snapshot) if is_open else ""
    may_act = is_open and theirs and not person.is_auditor and not hindrance
    titles = {task.key: words.readable(task.title or task.task_name) for task in workflow.tasks}
    return Task(
        id=row.pk,
        title=("Undo: " if row.compensation else "") + words.readable(row.title),
        description=definition.description or "",
        instance_id=instance.pk,
        reference=instance.business_ref_no,
        workflow=instance.workflow_name,
        version=instance.version,
        instance_sign=words.instance_sign(instance.state, instance.health),
        business_status=instance.business_status,
        node=definition.key,
        sign=words.task_sign(row.state, "HUMAN", row.claimed_by),
        is_open=is_open,
        holder=row.claimed_by,
        assigned_to=row.assigned_to,
        due_at=row.due_at,
        attempt=row.attempt,
        compensation=row.compensation,
        why=why(row, person),
        sequence=instance.last_sequence,
        data=context_of(
            instance.pk,
            masked(instance.context, template=instance.template_id),
            titles=titles,
            until=instance.last_sequence,
            whence=False,
        ),
        so_far=_so_far(row, titles),
        choices=_choices(row, person, workflow, snapshot) if is_open and theirs else (),
        may_claim=may_act and row.claimed_by is None,
        may_release=is_open
        and row.claimed_by is not None
        and (row.claimed_by == person.username or person.is_operator),
        may_reassign=is_open and person.is_operator,
        may_comment=(theirs or person.is_operator) and not person.is_auditor,
        may_decide=may_act and row.claimed_by in (None, person.username),
        hindrance=hindrance,
        decided=None if row.state in OPEN_HUMAN_TASK else _decided(row, definition),
    )


def _is_theirs(row: HumanTask, person: Person) -> bool:
    if row.claimed_by == person.username:
        return True
    if row.assigned_kind == "user":
        return row.assigned_to == person.username
    return row.assigned_kind == "group" and row.assigned_to in person.groups


def _hindrance(row: HumanTask, person: Person, definition: TaskDefinition, snapshot: Snapshot) -> str:
    """Why a person whose task it is may not take it just now, in one sentence."""
    if row.claimed_by not in (None, person.username):
        return f"{row.claimed_by} has it. It comes back to the group if they release it."
    if not definition.four_eyes or row.compensation:
        return ""
    if snapshot.started_by == person.username:
        return "It needs four eyes: you started this one, so somebody else decides."
    if any(who == person.username and where != row.position for who, where in snapshot.deciders):
        return "It needs four eyes: you decided an earlier task of this one, so somebody else decides."
    return ""


def _so_far(row: HumanTask, titles: Mapping[str, str]) -> list[Said]:
    told = ["WorkflowStarted", "TaskCommented", "TaskCompleted", "TaskFailed", "TaskReturned", "TaskReassigned"]
    rows = LoggedEvent.objects.filter(instance=row.instance_id, event__in=told).order_by("-sequence")[:40]
    said = []
    for event in rows:
        data = event.data or {}
        if event.event in ("TaskCompleted", "TaskFailed") and "by" not in data:
            continue
        said.append(_said(event, data, titles.get(f"{event.stage_name}/{event.task_name}", "")))
    return said[:_SAID]


def _said(event: LoggedEvent, data: Mapping[str, Any], title: str) -> Said:
    who, comment = data.get("by") or event.actor, data.get("comment") or ""
    outcome = words.readable(data.get("outcome") or "").lower()
    match event.event:
        case "WorkflowStarted":
            return Said(event.occurred_at, who, "started it", "", Sign("running", "start", "Started"))
        case "TaskCommented":
            return Said(event.occurred_at, who, f"on {title}", comment, Sign("person", "comment", "Comment"))
        case "TaskReassigned":
            what = f"gave {title} to {words.readable(data['assigned_to'])}"
            return Said(event.occurred_at, who, what, data.get("reason", ""), Sign("person", "person", "Reassigned"))
        case "TaskReturned":
            return Said(
                event.occurred_at, who, f"sent {title} back", comment, Sign("retrying", "retrying", "Sent back")
            )
        case "TaskFailed":
            what = f"decided {title}: {outcome}" if outcome else f"gave {title} up"
            return Said(event.occurred_at, who, what, comment, Sign("failed", "failed", "Refused"))
        case _:
            what = f"decided {title}: {outcome}" if outcome not in ("", "complete") else f"did {title}"
            return Said(event.occurred_at, who, what, comment, Sign("completed", "completed", "Done"))


def _decided(row: HumanTask, definition: TaskDefinition) -> dict[str, Any]:
    labels = {outcome.name: outcome.label for outcome in definition.offered_outcomes}
    properties = (definition.form or {}).get("properties", {})
    data = [
        (str(properties.get(key, {}).get("title") or words.readable(key)), value)
        for key, value in masked(row.data or {}, template=row.instance.template_id).items()
    ]
    return {
        "by": row.decided_by,
        "at": row.closed_at,
        "outcome": words.readable(labels.get(row.outcome or "", row.outcome or "")),
        "comment": row.comment,
        "data": data,
    }


# --- What an answer would cause ---------------------------------------------------------------------------------


def _choices(row: HumanTask, person: Person, workflow: WorkflowDefinition, snapshot: Snapshot) -> list[Choice]:
    definition = workflow.tasks[row.position]
    offered = DEFAULT_OUTCOMES if row.compensation else definition.offered_outcomes
    return [
        Choice(
            name=outcome.name,
            label=outcome.label if outcome.label != outcome.name else words.readable(outcome.label),
            effect=str(outcome.effect),
            then=consequence(row, outcome, workflow, snapshot, person),
            danger=outcome.effect is Effect.FAIL,
            needs_comment=outcome.effect is Effect.FAIL,
        )
        for outcome in offered
    ]


def consequence(
    row: HumanTask, outcome: Outcome, workflow: WorkflowDefinition, snapshot: Snapshot, person: Person
) -> str:
    """This will say what the answer would cause as things stand: the engine decides it on a copy, nothing is kept."""
    about: dict[str, Any] = {
        "stage_name": row.stage_name,
        "task_name": row.task_name,
        "attempt": row.attempt,
        "compensation": row.compensation,
    }
    command: Command = (
        CompleteTask(**about)
        if outcome.effect is Effect.COMPLETE
        else DecideTask(
            **about, by=row.claimed_by or person.username, groups=person.groups, outcome=outcome.name, comment="?"
        )
    )
    decision = decide(workflow, snapshot, command, at=snapshot.updated_at, world=_Nobody())
    if not isinstance(decision, Accepted):
        return "It is recorded."
    return _told(decision, decision.snapshot.grown or workflow, snapshot)


class _Nobody:
    """A world in which every name is a group: a preview looks nobody up. Plugins are asked for: who comes is told."""

    def assignee_kind(self, name: str) -> str:
        return "group"

    def chance(self) -> float:
        return 0.5

    def expected_plugins(self, activity: str, phase: Phase, attributes: Mapping[str, SearchValue]) -> Expected:
        return plugins.expected(activity, phase, attributes)


def _told(decision: Accepted, workflow: WorkflowDefinition, before: Snapshot) -> str:
    names = [event.name for event in decision.events]
    if "RollbackStarted" in names:
        undone = [
            _title(workflow, n)
            for n, task in enumerate(before.tasks)
            if task.done_attempt and workflow.tasks[n].compensate
        ]
        return f"It rolls back and undoes {_list(undone)}." if undone else "It rolls back; nothing has to be undone."
    scheduled = [event.position for event in decision.events if event.name == "TaskScheduled"]
    parts = [_starts(workflow, n) for n in scheduled[:_NAMED] if n is not None]
    if len(scheduled) > _NAMED:
        parts.append(f"{len(scheduled) - _NAMED} more tasks start")
    if "TaskReturned" in names:
        return "It goes back: " + "; ".join(parts) + ", with what was filled in before."
    if parts:
        return "; ".join(parts) + "."
    if before.state == InstanceState.SUSPENDED:
        return "It is recorded; what follows waits until the instance is resumed."
    if "CompensationCompleted" in names:
        return "This is undone, and the rollback goes on."
    if "WorkflowCompleted" in names:
        return "That was the last task: the workflow is completed."
    if "WorkflowFailed" in names:
        return "The instance stops here and waits for an operator."
    return "It is recorded; other tasks of this stage are still open."


def _starts(workflow: WorkflowDefinition, position: int) -> str:
    task = workflow.tasks[position]
    to = f" for {words.readable(task.assigned_to)}" if task.assigned_to else ""
    return f"“{_title(workflow, position)}” starts{to}"


def _title(workflow: WorkflowDefinition, position: int) -> str:
    task = workflow.tasks[position]
    return words.readable(task.title or task.task_name)


def _list(names: Sequence[str]) -> str:
    if len(names) > _NAMED:
        return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more tasks"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
