"""Folding the log: an instance as it was, and whether its rows say what its log says."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from workflows.definitions.schema import TaskKind, WorkflowDefinition
from workflows.engine import evolve
from workflows.engine.codec import Reader
from workflows.engine.draft import Draft
from workflows.engine.events import PHASE_STARTED
from workflows.engine.outgoing import messages
from workflows.engine.snapshot import Snapshot
from workflows.models import (
    HumanTask,
    LoggedEvent,
    OutboxMessage,
    PluginRun,
    SearchedValue,
    StageInstance,
    TaskInstance,
    WorkflowInstance,
)
from workflows.runtime.identity import human_task_id, message_id
from workflows.runtime.loading import definition_after, definition_of, history_of, snapshots
from workflows.runtime.projection import instance_columns, plugin_columns, search_columns, stage_columns, task_columns


def state_at(instance: WorkflowInstance, sequence: int | None = None) -> tuple[WorkflowDefinition, Snapshot]:
    """This will give the instance after event number `sequence` (None: now), folded from its log."""
    definition = definition_of(instance.template_id)
    known = snapshots.get(instance.pk)
    if known is not None and known.last_sequence == (sequence or instance.last_sequence):
        return definition_after(definition, known), known
    snapshot = evolve.fold(
        definition,
        history_of(definition, instance.pk, until=sequence or instance.last_sequence),
        instance_id=str(instance.pk),
    )
    if snapshot is None:
        raise LookupError(f"instance {instance.pk} has no history")
    return definition_after(definition, snapshot), snapshot


def followed(instance: WorkflowInstance, position: int) -> WorkflowDefinition:
    """This will give a definition that has a task at that position: the template's where that will do.

    Else it is read from the events by which it has grown, which are few; it may be newer than rows that were read
    before.
    """
    definition = definition_of(instance.template_id)
    if position < len(definition.tasks):
        return definition
    grew = LoggedEvent.objects.filter(instance=instance, event=PHASE_STARTED).order_by("sequence")
    reader = Reader(definition)
    for name, shape, stage, data in grew.values_list("event", "shape", "stage_name", "data"):
        reader.read(name, shape, stage, None, None, data)
    return reader.definition


def check_history(instance: WorkflowInstance) -> list[str]:
    """This will fold the log and compare it with rows, outbox and inbox; it gives what disagrees."""
    return list(_disagreements(instance))


def check_all(*, since: uuid.UUID | None = None) -> Iterator[tuple[WorkflowInstance, list[str]]]:
    """This will check every instance, one after the other, in the order of their ids."""
    rows = WorkflowInstance.objects.order_by("id")
    if since is not None:
        rows = rows.filter(pk__gt=since)
    for instance in rows.iterator(chunk_size=500):
        yield instance, check_history(instance)


def _disagreements(instance: WorkflowInstance) -> Iterator[str]:
    numbers = list(
        LoggedEvent.objects.filter(instance=instance).order_by("sequence").values_list("sequence", flat=True)
    )
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the log is not numbered 1 … {len(numbers)}"
        return
    if len(numbers) != instance.last_sequence:
        yield f"the log ends at {len(numbers)}, the row says {instance.last_sequence}"
        return
    definition = definition_of(instance.template_id)
    history = history_of(definition, instance.pk)
    snapshot = evolve.fold(definition, history, instance_id=str(instance.pk))
    if snapshot is None:
        yield "the log is empty"
        return
    definition = definition_after(definition, snapshot)
    yield from _compare("instance", instance, instance_columns(definition, snapshot))
    stages = {row.position: row for row in StageInstance.objects.filter(instance=instance)}
    tasks = {row.position: row for row in TaskInstance.objects.filter(instance=instance)}
    if sorted(stages) != list(range(len(definition.stages))) or sorted(tasks) != list(range(len(definition.tasks))):
        yield "rows of stages or tasks are missing"
        return
    for position, stage in enumerate(snapshot.stages):
        name = definition.stages[position].stage_name
        yield from _compare(f"stage {name}", stages[position], stage_columns(stage))
    for position, task in enumerate(snapshot.tasks):
        yield from _compare(
            f"task {definition.tasks[position].key}",
            tasks[position],
            task_columns(definition.tasks[position], task),
        )
    yield from _check_search(instance, definition, snapshot)
    yield from _check_plugins(instance, definition)
    yield from _check_messages(instance, history)
    yield from _check_people(instance, definition, snapshot, history)


def _compare(what: str, row: Any, columns: dict[str, Any]) -> Iterator[str]:
    for name, expected in columns.items():
        actual = getattr(row, name)
        if actual != expected:
            yield f"{what}: {name} is {actual!r}, the log says {expected!r}"


def _check_search(instance: WorkflowInstance, definition: WorkflowDefinition, snapshot: Snapshot) -> Iterator[str]:
    rows = SearchedValue.objects.filter(instance=instance).values_list("name", "text", "number", "boolean")
    actual = {name: values for name, *values in rows}
    expected = search_columns(definition.search, snapshot.context)
    for name in sorted(actual.keys() | expected.keys()):
        if name not in actual or name not in expected:
            yield f"search field {name}: {'its row is missing' if name in expected else 'the template has none'}"
        elif tuple(actual[name]) != expected[name]:
            yield f"search field {name} is {tuple(actual[name])!r}, the log says {expected[name]!r}"


def _check_plugins(instance: WorkflowInstance, definition: WorkflowDefinition) -> Iterator[str]:
    rows = PluginRun.objects.filter(instance=instance)
    expected = [
        columns for stage in definition.stages for phase in stage.phases
        for columns in plugin_columns(definition, stage, phase)
    ]  # fmt: skip
    actual = list(rows.values(*expected[0])) if expected else list(rows.values())
    for columns in expected:
        if columns not in actual:
            yield f"plugin {columns['stage_name']}/{columns['name']}: its row is missing, or says something else"
    if len(actual) > len(expected):
        yield f"{len(actual) - len(expected)} plugins take part in no phase"


def _check_messages(instance: WorkflowInstance, history: Any) -> Iterator[str]:
    """Outbox and attempts are one to one: each attempt at a queue has its message, each message its attempt."""
    draft: Draft | None = None
    definition = definition_of(instance.template_id)
    expected = set()
    for at, event in history:
        if draft is None:
            draft = Draft(definition, None, at=at, instance_id=str(instance.pk))
        draft.at = at
        draft.apply(event)
        for message in messages(draft.definition, draft, (event,)):  # type: ignore[arg-type]
            expected.add(
                message_id(
                    instance.pk,
                    event_name=message.event_name,
                    position=message.position,
                    attempt=message.attempt,
                    compensation=message.compensation,
                )
            )
    actual = set(OutboxMessage.objects.filter(instance=instance).values_list("message_id", flat=True))
    if expected - actual:
        yield f"{len(expected - actual)} messages were never written down"
    if actual - expected:
        yield f"{len(actual - expected)} messages belong to no event"


def _check_people(
    instance: WorkflowInstance, definition: WorkflowDefinition, snapshot: Snapshot, history: Any
) -> Iterator[str]:
    rows = {row.pk: row for row in HumanTask.objects.filter(instance=instance)}
    expected = set()
    for _, event in history:
        if event.position is None:
            continue
        task = definition.tasks[event.position]
        by_person = event.name == "TaskScheduled" and task.kind is TaskKind.HUMAN
        undone_by_person = (
            event.name == "CompensationScheduled" and task.compensate is not None and task.compensate.assigned_to
        )
        if by_person or undone_by_person:
            expected.add(
                human_task_id(
                    instance.pk,
                    position=event.position,
                    attempt=event.attempt or 0,
                    compensation=bool(undone_by_person),
                )
            )
    if set(rows) != expected:
        yield f"{len(set(rows) ^ expected)} human tasks are missing or belong to no attempt"
    for position, task_now in enumerate(snapshot.tasks):
        for compensation, now in ((False, task_now), (True, task_now.compensation)):
            if now is None or not now.attempt:
                continue
            key = human_task_id(instance.pk, position=position, attempt=now.attempt, compensation=compensation)
            row = rows.pop(key, None)
            if row is None:
                continue
            live = now.state in ("SCHEDULED", "STARTED")
            seen = (row.state, row.claimed_by, row.assigned_to) if live else row.state in ("SCHEDULED", "STARTED")
            if seen != ((now.state, now.claimed_by, now.assigned_to) if live else False):
                yield f"human task of {definition.tasks[position].key}: the row says {seen!r}"
    if any(row.state in ("SCHEDULED", "STARTED") for row in rows.values()):
        yield "a human task of an older attempt is still open"
