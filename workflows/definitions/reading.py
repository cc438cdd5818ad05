"""From the JSON of a correct template to frozen values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from workflows.definitions.outline import outline_of
from workflows.definitions.returns import Returns
from workflows.definitions.schema import (
    ACTIVITY_KIND,
    CompensationDefinition,
    Effect,
    FailurePolicy,
    Json,
    Outcome,
    RetryPolicy,
    StageDefinition,
    Target,
    TaskDefinition,
    TaskKind,
    WorkflowDefinition,
)
from workflows.definitions.search import read_fields
from workflows.definitions.shape import COMPENSATE_KEYS, keys_of_task


def read_definition(value: Mapping[str, Json]) -> WorkflowDefinition:
    """This will read a template that was found correct when it was published; nothing is checked again."""
    policy = FailurePolicy(value.get("on_failure", FailurePolicy.HALT))
    stages: list[StageDefinition] = []
    tasks: list[TaskDefinition] = []
    for position, stage in enumerate(_in_order(value)):
        first = len(tasks)
        tasks += read_stage_tasks(stage, stage_position=position, first=first, policy=policy)
        stages.append(
            StageDefinition(
                stage_name=stage["stage_name"],
                stage_order=stage["stage_order"],
                position=position,
                first=first,
                end=len(tasks),
                activity=activity_of(stage),
            )
        )
    if any(outcome.effect is Effect.RETURN for task in tasks for outcome in task.outcomes):
        tasks = _with_returns(value, tasks)
    return WorkflowDefinition(
        workflow_name=value["workflow_name"],
        component_name=value["component_name"],
        stages=tuple(stages),
        tasks=tuple(tasks),
        context_schema=value.get("context_schema"),
        on_failure=policy,
        timeout_seconds=value.get("timeout_seconds"),
        observers=tuple(value.get("observers", ())),
        search=read_fields(value),
        raw=value,
        target=Target(value["target"]) if "target" in value else None,
        runs_out_of_sync=value.get("runs_out_of_sync", False),
        products=tuple(value.get("products", ())),
    )


def activity_of(stage: Mapping[str, Json]) -> str | None:
    """This will name the activity of a stage; None where its tasks are the template's own."""
    # What an old template says under these keys may be anything: without tasks it did nothing, and still does.
    if stage.get("kind") != ACTIVITY_KIND or stage.get("tasks"):
        return None
    named = stage.get("activity", stage["stage_name"])
    return named if isinstance(named, str) else stage["stage_name"]


def read_tasks(value: Mapping[str, Json]) -> Iterator[TaskDefinition]:
    """This will read the tasks alone, one after the other: of thousands, most callers keep little. Without returns."""
    policy = FailurePolicy(value.get("on_failure", FailurePolicy.HALT))
    first = 0
    for position, stage in enumerate(_in_order(value)):
        yield from read_stage_tasks(stage, stage_position=position, first=first, policy=policy)
        first += len(stage.get("tasks", ()))


def _in_order(value: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    return sorted(value["stages"], key=lambda stage: stage["stage_order"])


def read_stage_tasks(
    stage: Mapping[str, Json], *, stage_position: int, first: int, policy: FailurePolicy
) -> Iterator[TaskDefinition]:
    """This will read the tasks of one stage, from position `first` on. Without returns."""
    listed = stage.get("tasks", ())
    positions = {task["task_name"]: position for position, task in enumerate(listed, start=first)}
    children: dict[int, list[int]] = {}
    for position, task in enumerate(listed, start=first):
        for parent in task.get("parent_task", ()):
            children.setdefault(positions[parent], []).append(position)
    for position, task in enumerate(listed, start=first):
        yield TaskDefinition(
            task_name=task["task_name"],
            stage_name=stage["stage_name"],
            position=position,
            stage_position=stage_position,
            kind=TaskKind(task["task_type"]),
            parents=tuple(positions[parent] for parent in task.get("parent_task", ())),
            children=tuple(children.get(position, ())),
            task_queue=task.get("task_queue"),
            step=task.get("step") if task["task_type"] == TaskKind.STEP else None,
            assigned_to=task.get("assigned_to"),
            business_status=task.get("business_status"),
            title=task.get("title"),
            description=task.get("description"),
            form=task.get("form"),
            outcomes=tuple(map(_outcome, task.get("outcomes", ()))),
            due_in_seconds=task.get("due_in_seconds"),
            escalate_to=task.get("escalate_to"),
            four_eyes=task.get("four_eyes", False),
            quorum=task.get("quorum"),
            retry=_retry(task.get("retry")),
            timeout_seconds=task.get("timeout_seconds"),
            on_failure=FailurePolicy(task["on_failure"]) if "on_failure" in task else policy,
            compensate=_compensation(task.get("compensate")),
            when=task.get("when"),
            has_when="when" in task,
            extra=_others(task, keys_of_task(task)),
        )


_NO_RETRY = RetryPolicy()


def _retry(value: Mapping[str, Json] | None) -> RetryPolicy:
    if not value:
        return _NO_RETRY
    return RetryPolicy(
        max_attempts=int(value.get("max_attempts", _NO_RETRY.max_attempts)),
        delay_seconds=value.get("delay_seconds", _NO_RETRY.delay_seconds),
        backoff=value.get("backoff", _NO_RETRY.backoff),
        max_delay_seconds=value.get("max_delay_seconds", _NO_RETRY.max_delay_seconds),
        jitter=value.get("jitter", _NO_RETRY.jitter),
    )


def _outcome(value: Mapping[str, Json]) -> Outcome:
    return Outcome(
        name=value["name"],
        label=value.get("label", value["name"]),
        effect=Effect(value.get("effect", Effect.COMPLETE)),
        return_to=value.get("return_to"),
    )


def _compensation(value: Mapping[str, Json] | None) -> CompensationDefinition | None:
    if value is None:
        return None
    return CompensationDefinition(
        task_queue=value.get("task_queue"),
        step=value.get("step"),
        assigned_to=value.get("assigned_to"),
        retry=_retry(value.get("retry")),
        timeout_seconds=value.get("timeout_seconds"),
        after_failure=value.get("after_failure", False),
        extra=_others(value, COMPENSATE_KEYS),
    )


def _others(value: Mapping[str, Json], known: Mapping[str, object]) -> Mapping[str, Json]:
    return {key: value[key] for key in value if key not in known}


def _with_returns(value: Mapping[str, Json], tasks: list[TaskDefinition]) -> list[TaskDefinition]:
    outline = outline_of(value)
    returns = Returns(outline)
    outlined = {(outline[task.stage].name, task.name): task for stage in outline for task in stage.tasks}
    positions = {(task.stage_name, task.task_name): task.position for task in tasks}

    def position_of(task: TaskDefinition, outcome: Outcome) -> int | None:
        if outcome.effect is not Effect.RETURN or outcome.return_to is None:
            return None
        target = returns.target(outlined[task.stage_name, task.task_name], return_to=outcome.return_to)
        return positions[outline[target.stage].name or "", target.name or ""] if target else None

    return [
        replace(task, outcomes=tuple(replace(it, return_position=position_of(task, it)) for it in task.outcomes))
        if task.outcomes
        else task
        for task in tasks
    ]
