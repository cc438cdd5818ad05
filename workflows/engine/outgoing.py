"""What an event sends out: the messages that follow from it, before they are given their ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from workflows.definitions.schema import TaskDefinition, TaskKind, WorkflowDefinition
from workflows.engine import events as e
from workflows.engine.events import Event
from workflows.engine.snapshot import Compensation, Snapshot

START_TASK = "StartTask"
COMPENSATE_TASK = "CompensateTask"
CANCEL_TASK = "CancelTask"

CALLED = "@http/"
"""How the queues of services begin that are called by this site: no broker has them."""

_OF_COMPENSATIONS = frozenset({e.COMPENSATION_COMPLETED, e.COMPENSATION_SKIPPED})


class Outgoing(NamedTuple):
    """A message to a queue. `body` lacks only `message_id` and `instance_id`, which the shell adds."""

    event_name: str
    queue: str
    position: int
    attempt: int
    compensation: bool
    body: Mapping[str, Any]


def is_first(event_name: str, attempt: int) -> bool:
    """This will tell whether no other message of the task's has to go before this one."""
    return event_name == START_TASK and attempt == 1


def is_called(queue: str) -> bool:
    """This will tell whether this site calls who works on the queue."""
    return queue.startswith(CALLED)


def is_work(event_name: str, body: Mapping[str, Any]) -> bool:
    """This will tell whether a service is to do something: a person's task only tells the queue, and so does a cancel.

    `body` is the message.
    """
    if event_name == START_TASK:
        return str(body["task_type"]) != str(TaskKind.HUMAN)
    return event_name == COMPENSATE_TASK


def messages(definition: WorkflowDefinition, snapshot: Snapshot, events: Iterable[Event]) -> Iterator[Outgoing]:
    """This will give what the events of one decision send, in their order; `snapshot` is the instance after them."""
    for event in events:
        if event.position is None:
            continue
        task = definition.tasks[event.position]
        if event.name == e.TASK_SCHEDULED:
            if task.task_queue:
                yield _message(definition, snapshot, task, START_TASK, event.attempt or 0)
        elif event.name == e.COMPENSATION_SCHEDULED:
            if task.compensate and task.compensate.task_queue:
                yield _compensate(definition, snapshot, task, COMPENSATE_TASK, event.attempt or 0)
        elif "withdrew" in event.data:
            attempt = event.data["withdrew"]
            if event.name in _OF_COMPENSATIONS:
                if task.compensate and task.compensate.task_queue:
                    yield _compensate(definition, snapshot, task, CANCEL_TASK, attempt)
            elif task.task_queue and not is_called(task.task_queue):
                # Who was called is not called off: a late answer finds the attempt over.
                yield _message(definition, snapshot, task, CANCEL_TASK, attempt)


def _message(
    definition: WorkflowDefinition, snapshot: Snapshot, task: TaskDefinition, event_name: str, attempt: int
) -> Outgoing:
    assert task.task_queue is not None
    body = _envelope(definition, snapshot, task, event_name, attempt)
    if task.kind is TaskKind.HUMAN:
        body["assigned_to"] = snapshot.tasks[task.position].assigned_to
    return Outgoing(event_name, task.task_queue, task.position, attempt, False, {**task.extra, **body})


def _compensate(
    definition: WorkflowDefinition, snapshot: Snapshot, task: TaskDefinition, event_name: str, attempt: int
) -> Outgoing:
    how, undoing = task.compensate, snapshot.tasks[task.position].compensation or Compensation()
    assert how is not None
    assert how.task_queue is not None
    body = _envelope(definition, snapshot, task, event_name, attempt)
    body |= {"compensation": True, "output": undoing.output, "undoes_attempt": undoing.undoes_attempt}
    if undoing.possible:
        body["effect"] = "possible"
    return Outgoing(event_name, how.task_queue, task.position, attempt, True, {**task.extra, **how.extra, **body})


def _envelope(
    definition: WorkflowDefinition, snapshot: Snapshot, task: TaskDefinition, event_name: str, attempt: int
) -> dict[str, Any]:
    return {
        "business_ref_no": snapshot.business_ref_no,
        "component_name": definition.component_name,
        "event_name": event_name,
        "stage_name": task.stage_name,
        "task_name": task.task_name,
        "task_type": str(task.kind),
        "workflow_name": definition.workflow_name,
        "attempt": attempt,
        "context": snapshot.context,
    }
