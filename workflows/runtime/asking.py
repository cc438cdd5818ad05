"""The question that comes through the one door, and the answer that leaves it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from workflows.definitions.schema import TaskDefinition, WorkflowDefinition
from workflows.engine.commands import Command
from workflows.engine.snapshot import Snapshot, Task
from workflows.tracecontext import TraceContext


@dataclass(frozen=True, slots=True)
class Reference:
    """Which instance a message is about: by the business's reference.

    `workflow_name` is needed where a component has several.
    """

    component_name: str
    business_ref_no: str
    workflow_name: str | None = None


@dataclass(frozen=True, slots=True)
class TurnWork:
    """What in-process work is given once its instance is locked; `savepoint` opens what can be undone alone."""

    workflow: WorkflowDefinition
    definition: TaskDefinition
    snapshot: Snapshot
    task: Task
    compensation: bool
    savepoint: Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Turn:
    """In-process work on a task whose turn it is: `work` runs in the transaction that records the command it gives."""

    stage_name: str
    task_name: str
    compensation: bool
    work: Callable[[TurnWork], Command]


@dataclass(frozen=True, slots=True)
class Asked:
    """One command with its circumstances.

    `target` is the instance's id or its reference (a start's `workflow_name` may be None where the component has one);
    `actor` is who asks (user name, or `clock`, `step`, …); `cause` is the id of the message or request; `event_id` is
    the
    sender's unique id (it must not count twice); `said` is what was said, kept with a refusal and digested for
    `event_id`; `version` picks a template version for a start; `if_match` is the `last_sequence` that the caller saw;
    `lease_id` names the lease under which a result is given; `trace` is the trace context in which the caller asks.
    """

    command: Command | Turn
    target: uuid.UUID | Reference
    actor: str
    cause: str | None = None
    event_id: str | None = None
    said: Mapping[str, Any] = field(default_factory=dict)
    version: int | None = None
    if_match: int | None = None
    lease_id: str | None = None
    trace: TraceContext | None = None


class Outcome(StrEnum):
    """What became of a command."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class InstanceNow:
    """The instance after the command."""

    id: uuid.UUID
    state: str
    business_status: str | None
    last_sequence: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one command.

    `code` is a problem code of the contract when refused; `reason` is for people; `errors` point at faults of the
    input; `details` are further members of the problem document; `created` tells a start that made the instance;
    `events` are the names of what happened.
    """

    outcome: Outcome
    instance: InstanceNow | None = None
    code: str | None = None
    reason: str | None = None
    errors: tuple[Mapping[str, str], ...] = ()
    created: bool = False
    events: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def applied(self) -> bool:
        """This will tell whether it changed something, or had done so before."""
        return self.outcome is not Outcome.REFUSED
