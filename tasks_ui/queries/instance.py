"""One instance, now or as it was after an event: its stages and tasks as plain values, and why it needs someone."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks_ui import graph, times, words
from tasks_ui.words import Sign
from workflows.definitions.schema import FailurePolicy, TaskDefinition, WorkflowDefinition
from workflows.engine.lifecycle import ENDED, ROLLING, InstanceState, TaskState
from workflows.models import Deadline, DeadlineKind, HumanTask, StageInstance, TaskInstance
from workflows.runtime import projection, replay
from workflows.runtime.loading import definition_of

_TASK_COLUMNS = (
    "position", "state", "attempt", "queue", "assigned_to", "claimed_by", "outcome", "error", "due_at",
    "scheduled_at", "started_at", "finished_at",
)  # fmt: skip
_OPEN = (TaskState.SCHEDULED, TaskState.STARTED)
_UNDOING = (TaskState.COMPENSATING, TaskState.COMPENSATION_FAILED)


@dataclass(frozen=True, slots=True)
class Task:
    """One task: what the template says of it, and how it stands."""

    definition: TaskDefinition
    kind: str
    title: str
    sign: Sign
    state: str
    attempt: int
    queue: str
    assigned_to: str | None
    claimed_by: str | None
    outcome: str | None
    error: Mapping[str, Any]
    due_at: dt.datetime | None
    scheduled_at: dt.datetime | None
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    retry_at: dt.datetime | None
    human_task: uuid.UUID | None
    done: bool
    fact: str

    @property
    def node(self) -> str:
        """This will give STAGE/TASK."""
        return self.definition.key

    @property
    def position(self) -> int:
        """This will give the task's place in the workflow."""
        return self.definition.position

    @property
    def took(self) -> dt.timedelta | None:
        """This will tell how long the newest attempt took from its sending."""
        if self.finished_at is None or self.scheduled_at is None:
            return None
        return self.finished_at - self.scheduled_at

    @property
    def attempts_allowed(self) -> int:
        """This will tell how many attempts one round has."""
        return self.definition.retry.max_attempts

    @property
    def kind_word(self) -> str:
        """This will name who does it."""
        return words.KIND_WORDS.get(self.kind, self.kind.capitalize())

    @property
    def kind_icon(self) -> str:
        """This will give the icon of who does it."""
        return words.KIND_ICONS.get(self.kind, "service")

    @property
    def holds_up(self) -> bool:
        """This will tell whether the instance waits for it when it has failed."""
        return self.definition.on_failure is not FailurePolicy.CONTINUE

    @property
    def unhealthy(self) -> bool:
        """This will tell whether it has failed, or its undoing has."""
        return self.state in (TaskState.FAILED, TaskState.COMPENSATION_FAILED)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage with its tasks."""

    name: str
    position: int
    state: str
    sign: Sign
    note: str
    tasks: tuple[Task, ...]
    done: bool
    hidden: int = 0


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


@dataclass(slots=True)
class Instance:
    """All that the page shows of an instance."""

    id: uuid.UUID
    reference: str
    workflow: str
    component: str
    version: int
    template_id: uuid.UUID
    state: str
    health: str
    sign: Sign
    business_status: str | None
    context: Mapping[str, Any]
    started_by: str
    created_at: dt.datetime
    updated_at: dt.datetime
    finished_at: dt.datetime | None
    sequence: int
    last_sequence: int
    definition: WorkflowDefinition
    frozen: bool
    now: dt.datetime
    timed_out: bool = False
    stages: list[Stage] = field(default_factory=list)

    @property
    def tasks(self) -> Iterable[Task]:
        """This will give the tasks in the order of the workflow."""
        return (task for stage in self.stages for task in stage.tasks)

    @property
    def by_node(self) -> dict[str, Task]:
        """This will give the tasks by STAGE/TASK."""
        return {task.node: task for task in self.tasks}

    @property
    def titles(self) -> dict[str, str]:
        """This will give the tasks' titles by STAGE/TASK."""
        return {task.node: task.title for task in self.tasks}

    @property
    def ended(self) -> bool:
        """This will tell whether it is over."""
        return self.state in ENDED

    @property
    def rolling(self) -> bool:
        """This will tell whether it is, or was, rolled back."""
        return self.state in ROLLING or self.state == InstanceState.ROLLED_BACK

    @property
    def needs_someone(self) -> bool:
        """This will tell whether its badge says so."""
        return self.state in (InstanceState.FAILED, InstanceState.ROLLBACK_FAILED)

    @property
    def age(self) -> dt.timedelta:
        """This will tell how long it has been going on, or went on."""
        return (self.finished_at or self.now) - self.created_at

    @property
    def counts(self) -> dict[str, int]:
        """This will count the tasks by what the heading says."""
        states = Counter(task.state for task in self.tasks)
        return {
            "all": states.total(),
            "done": states[TaskState.COMPLETED] + states[TaskState.COMPENSATED],
            "skipped": states[TaskState.SKIPPED],
            "failed": states[TaskState.FAILED] + states[TaskState.COMPENSATION_FAILED],
        }


def read(row: Any, *, now: dt.datetime, at: int | None = None) -> Instance:
    """This will read the whole instance: from its rows, or folded from its log where `at` names an event."""
    if at is not None:
        return _as_of(row, at)
    definition = definition_of(row.template_id)
    values = {task["position"]: task for task in TaskInstance.objects.filter(instance=row).values(*_TASK_COLUMNS)}
    stages = {stage.position: stage for stage in StageInstance.objects.filter(instance=row)}
    retries, timed_out = _clocks(row)
    people = _human_tasks(row)
    instance = _head(row, definition, now=now, sequence=row.last_sequence, frozen=False)
    instance.timed_out = row.state == InstanceState.FAILED and not row.failed_tasks and timed_out
    instance.stages = _stages(definition, stages, values, retries, people, instance)
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
    instance.stages = _stages(definition, stages, values, retries, {}, instance)
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
        context=of("context") or {}, started_by=row.started_by, created_at=row.created_at,
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
    rows = HumanTask.objects.filter(instance=row, state__in=_OPEN)
    found = rows.values_list("position", "pk", "assigned_to", "claimed_by", "due_at")
    return {position: (key, assigned, holder, due) for position, key, assigned, holder, due in found}


def _stages(
    definition: WorkflowDefinition, stages: Mapping[int, Any], values: Mapping[int, Mapping[str, Any]],
    retries: Mapping[int, Any], people: Mapping[int, Any], instance: Instance,
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
                task, values[task.position], retries.get(task.position), people.get(task.position), done, row, instance
            )
            for task in definition.tasks_of(where.position)
            if task.position in values
        )
        result.append(
            Stage(
                name=where.stage_name, position=where.position, state=row.state, sign=words.stage_sign(row.state),
                note=_stage_note(row, tasks, instance), tasks=tasks, done=row.state in ("COMPLETED", "SKIPPED"),
            )
        )  # fmt: skip
    return result


def _task(
    task: TaskDefinition, value: Mapping[str, Any], retry_at: dt.datetime | None, person: Any, done: set[int],
    stage: Any, instance: Instance,
) -> Task:  # fmt: skip
    kind, state = task.kind.value, value["state"]
    human_task, assigned, holder, due = person or (None, value["assigned_to"], value["claimed_by"], value["due_at"])
    made = Task(
        definition=task, kind=kind, title=task.title or words.readable(task.task_name),
        sign=words.task_sign(state, kind, holder if state in _OPEN else None), state=state, attempt=value["attempt"],
        queue=value["queue"], assigned_to=assigned or task.assigned_to, claimed_by=holder,
        outcome=value["outcome"], error=value["error"] or {}, due_at=due, scheduled_at=value["scheduled_at"],
        started_at=value["started_at"], finished_at=value["finished_at"], retry_at=retry_at, human_task=human_task,
        done=task.position in done, fact="",
    )  # fmt: skip
    object.__setattr__(made, "fact", _fact(made, done, stage.state, instance))
    return made


def _fact(task: Task, done: set[int], stage_state: str, instance: Instance) -> str:
    """The one fact that stands below a task's name."""
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
            return f"next try {times.moment(task.retry_at, now=now)}" if task.retry_at else "a signal"
        case TaskState.SKIPPED:
            return "condition is false" if task.definition.has_when and not task.attempt else "by an operator"
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


def _stage_note(stage: Any, tasks: tuple[Task, ...], instance: Instance) -> str:
    if stage.finished_at and stage.activated_at and stage.state in ("COMPLETED", "SKIPPED"):
        return times.length(stage.finished_at - stage.activated_at)
    if stage.state == "ACTIVE" and stage.activated_at:
        return f"{times.age(instance.now - stage.activated_at)} so far"
    if stage.state == "PENDING":
        people = sum(task.kind == "HUMAN" for task in tasks)
        return "" if not people else "1 person" if people == 1 else f"{people} people"
    return "withdrawn" if stage.state == "CANCELLED" else ""


# --- The picture --------------------------------------------------------------------------------------------------


def picture(instance: Instance, *, chosen: str | None, link: Any) -> graph.Picture:
    """This will lay the graph out; `link` makes the address of a task."""
    return graph.draw(
        graph.Lane(
            position=stage.position, title=stage.name, sign=stage.sign, note=stage.note, done=stage.done,
            nodes=tuple(
                graph.Node(
                    position=task.position, name=task.definition.task_name, title=task.title,
                    kind_icon=task.kind_icon, sign=task.sign, fact=task.fact, href=link(task.node),
                    parents=task.definition.parents, selected=task.node == chosen, done=task.done,
                )
                for task in stage.tasks
            ),
        )
        for stage in instance.stages
    )  # fmt: skip


def most_telling(instance: Instance) -> Task | None:
    """This will choose the task that the page opens with: what failed, else what is going on, else what ended last."""
    order = (
        TaskState.COMPENSATION_FAILED, TaskState.FAILED, TaskState.WAITING, TaskState.COMPENSATING,
        TaskState.STARTED, TaskState.SCHEDULED, TaskState.COMPLETED, TaskState.COMPENSATED,
    )  # fmt: skip
    best: tuple[int, float] | None = None
    chosen = None
    for task in instance.tasks:
        if task.state not in order:
            continue
        rank = (order.index(task.state), -(task.finished_at or task.scheduled_at or instance.created_at).timestamp())
        if best is None or rank < best:
            best, chosen = rank, task
    return chosen


# --- The cause ----------------------------------------------------------------------------------------------------


def cause_of(instance: Instance, reason: str = "", undoing: Any = None) -> Cause | None:
    """This will say what went wrong, or what it waits for; None while it is well.

    `reason` is what was said at the newest suspension; `undoing` the newest failure of a rollback.
    """
    failed = [task for task in instance.tasks if task.state == TaskState.FAILED and task.holds_up]
    match instance.state:
        case InstanceState.ROLLBACK_FAILED:
            return _stuck_rollback(instance, undoing)
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
    going = sum(one.state in (*_OPEN, TaskState.WAITING) for one in instance.tasks)
    goes_on = f" {going} other {'tasks go' if going > 1 else 'task goes'} on." if going else ""
    if not named:
        return goes_on.strip()
    text = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
    return f"{text} {'wait' if len(named) > 1 or text.endswith('stages') else 'waits'} for it.{goes_on}"


def _stuck_rollback(instance: Instance, undoing: Any) -> Cause:
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
        elif task.kind == "HUMAN" and task.state in _OPEN:
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
