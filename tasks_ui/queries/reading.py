"""Reading an instance: from its rows as it is now, or folded from its log as it was after an event."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from tasks_ui import words
from tasks_ui.queries.facts import fact, stage_note
from tasks_ui.queries.instance import OPEN, Instance, Stage, Task
from workflows.definitions.schema import FailurePolicy, StageDefinition, TaskDefinition, WorkflowDefinition
from workflows.engine.lifecycle import InstanceState, TaskState
from workflows.models import Deadline, DeadlineKind, HumanTask, StageInstance, StepCallback, TaskInstance, TaskProgress
from workflows.runtime import projection, replay
from workflows.runtime.callbacks import progress_told
from workflows.runtime.masking import masked
from workflows.runtime.phases import Seen, ShownPhase, phases_of

_TASK_COLUMNS = (
    "position", "state", "attempt", "queue", "assigned_to", "claimed_by", "outcome", "error", "due_at",
    "scheduled_at", "started_at", "finished_at",
)  # fmt: skip


def read(row: Any, *, now: dt.datetime, at: int | None = None) -> Instance:
    """This will read the whole instance: from its rows, or folded from its log where `at` names an event."""
    if at is not None:
        return _as_of(row, at)
    values = {task["position"]: task for task in TaskInstance.objects.filter(instance=row).values(*_TASK_COLUMNS)}
    definition = replay.followed(row, max(values, default=0))
    stages = {stage.position: stage for stage in StageInstance.objects.filter(instance=row)}
    retries, timed_out = _clocks(row)
    people = _human_tasks(row)
    instance = _head(row, definition, now=now, sequence=row.last_sequence, frozen=False)
    instance.timed_out = row.state == InstanceState.FAILED and not row.failed_tasks and timed_out
    instance.stages = _stages(definition, stages, values, retries, people, instance, _progress(row, values))
    return instance


def _as_of(row: Any, at: int) -> Instance:
    definition, snapshot = replay.state_at(row, at)
    columns = projection.instance_columns(definition, snapshot)
    instance = _head(row, definition, now=snapshot.updated_at, sequence=at, frozen=True, columns=columns)
    instance.timed_out = snapshot.timed_out and not snapshot.blocked
    tasks = zip(definition.tasks, snapshot.tasks, strict=True)
    values = {task.position: projection.task_columns(task, how) for task, how in tasks}
    stages = dict(enumerate(snapshot.stages))
    retries = {number: task.retry_at for number, task in enumerate(snapshot.tasks) if task.retry_at}
    instance.stages = _stages(definition, stages, values, retries, {}, instance, {})
    return instance


def _head(
    row: Any, definition: WorkflowDefinition, *, now: dt.datetime, sequence: int, frozen: bool,
    columns: Mapping[str, Any] | None = None,
) -> Instance:  # fmt: skip
    def of(name: str) -> Any:
        return columns[name] if columns is not None else getattr(row, name)

    return Instance(
        id=row.pk, reference=row.business_ref_no, workflow=row.workflow_name, component=row.component_name,
        version=row.version, template_id=row.template_id, state=of("state"), health=of("health"),
        sign=words.instance_sign(of("state"), of("health")), business_status=of("business_status"),
        context=masked(of("context") or {}, template=row.template_id), started_by=row.started_by,
        created_at=row.created_at,
        updated_at=of("updated_at"), finished_at=of("finished_at"), sequence=sequence,
        last_sequence=row.last_sequence, definition=definition, frozen=frozen, now=now,
    )  # fmt: skip


def _clocks(row: Any) -> tuple[dict[int, dt.datetime], bool]:
    """The moments of the next attempts by position; and whether the clock of the whole instance has run out."""
    if row.finished_at is not None:
        return {}, False
    clocks = Deadline.objects.filter(instance=row, kind__in=[DeadlineKind.RETRY, DeadlineKind.INSTANCE_TIMEOUT])
    found = list(clocks.values_list("kind", "position", "due_at"))
    retries = {position: due for kind, position, due in found if kind == DeadlineKind.RETRY}
    return retries, not any(kind == DeadlineKind.INSTANCE_TIMEOUT for kind, _, _ in found)


def _human_tasks(row: Any) -> dict[int, tuple[uuid.UUID, str | None, str | None, dt.datetime | None]]:
    """The open human task of each position, undoings by people included: id, assignee, holder, due moment."""
    if row.finished_at is not None:
        return {}
    rows = HumanTask.objects.filter(instance=row, state__in=OPEN)
    found = rows.values_list("position", "pk", "assigned_to", "claimed_by", "due_at")
    return {position: (key, assigned, holder, due) for position, key, assigned, holder, due in found}


def _stages(
    definition: WorkflowDefinition, stages: Mapping[int, Any], values: Mapping[int, Mapping[str, Any]],
    retries: Mapping[int, Any], people: Mapping[int, Any], instance: Instance,
    progress: Mapping[int, tuple[float | None, str]],
) -> list[Stage]:  # fmt: skip
    done = {
        position
        for position, value in values.items()
        if value["state"] in (TaskState.COMPLETED, TaskState.SKIPPED, TaskState.COMPENSATED)
        or (value["state"] == TaskState.FAILED and definition.tasks[position].on_failure is FailurePolicy.CONTINUE)
    }
    result = []
    for where in definition.stages:
        row = stages.get(where.position)
        if row is None:
            continue
        tasks = tuple(
            _task(
                task,
                values[task.position],
                retries.get(task.position),
                people.get(task.position),
                done,
                row,
                instance,
                progress.get(task.position),
            )
            for task in definition.tasks_of(where.position)
            if task.position in values
        )
        result.append(
            Stage(
                name=where.stage_name, position=where.position, state=row.state, sign=words.stage_sign(row.state),
                note=stage_note(row, tasks, instance), tasks=tasks, done=row.state in ("COMPLETED", "SKIPPED"),
                activity=where.activity or "", phases=_phases(definition, where, row.state, tasks),
            )
        )  # fmt: skip
    return result


def _phases(
    definition: WorkflowDefinition, where: StageDefinition, state: str, tasks: tuple[Task, ...]
) -> tuple[ShownPhase, ...]:
    if where.activity is None:
        return ()
    known = {task.position: task for task in tasks}

    def look(position: int) -> Seen:
        task = known.get(position)
        if task is None:  # it came while the page was read
            return Seen(TaskState.PENDING)
        return Seen(TaskState(task.state), task.error, task.percent, task.message)

    return phases_of(definition, where, stage_state=state, look=look)


def _progress(row: Any, values: Mapping[int, Mapping[str, Any]]) -> dict[int, tuple[float | None, str]]:
    """What was said of the attempts that are under way: by services, and by those who are to call back."""
    told: dict[int, tuple[float | None, str]] = {}
    taken = {n: value["attempt"] for n, value in values.items() if value["state"] == TaskState.STARTED}
    if taken:
        rows = TaskProgress.objects.filter(instance=row, compensation=False)
        told = {one.position: (one.percent, one.message) for one in rows if taken.get(one.position) == one.attempt}
    waiting = {n: value["attempt"] for n, value in values.items() if value["state"] == TaskState.WAITING}
    if waiting:
        calls = StepCallback.objects.filter(instance=row, called_at=None, progress_at__isnull=False)
        for position, attempt, said in calls.values_list("position", "attempt", "progress"):
            if waiting.get(position) == attempt:
                told[position] = progress_told(said)
    return told


def _task(
    task: TaskDefinition, value: Mapping[str, Any], retry_at: dt.datetime | None, person: Any, done: set[int],
    stage: Any, instance: Instance, said: tuple[float | None, str] | None,
) -> Task:  # fmt: skip
    kind, state = task.kind.value, value["state"]
    human_task, assigned, holder, due = person or (None, value["assigned_to"], value["claimed_by"], value["due_at"])
    made = Task(
        definition=task, kind=kind, title=task.title or words.readable(task.task_name),
        sign=words.task_sign(state, kind, holder if state in OPEN else None), state=state, attempt=value["attempt"],
        queue=value["queue"], assigned_to=assigned or task.assigned_to, claimed_by=holder,
        outcome=value["outcome"], error=masked(value["error"] or {}, template=instance.template_id),
        due_at=due, scheduled_at=value["scheduled_at"],
        started_at=value["started_at"], finished_at=value["finished_at"], retry_at=retry_at, human_task=human_task,
        done=task.position in done, fact="", percent=said[0] if said else None,
        message=said[1] if said else "",
    )  # fmt: skip
    object.__setattr__(made, "fact", fact(made, done, stage.state, instance))
    return made
