"""What becomes ready when something is done: conditions, joins, the next stage, the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workflows.definitions.conditions import holds
from workflows.definitions.schema import PHASES, ExcludedPlugin, Phase, TaskKind
from workflows.definitions.search import values_of
from workflows.engine import events as e
from workflows.engine.decision import World
from workflows.engine.draft import Draft
from workflows.engine.lifecycle import InstanceState, StageState, TaskState

_MOVING = (InstanceState.RUNNING, InstanceState.FAILED)


def go_on(draft: Draft, world: World, *, retried: Sequence[int] = ()) -> None:
    """This will let everything follow that has become possible; `retried` are tasks whose next attempt is due beside
    it.

    Conditions are judged and stages advanced first, tasks that became ready together are scheduled last, in template
    order (contract 3.1, `done`). Nothing follows while the instance is suspended or being undone.
    """
    if draft.state not in _MOVING:
        return
    ready = list(retried)
    while True:
        ready += _judged(draft, draft.take_ripe())
        if draft.ripe:
            continue
        if not ready and _advanced(draft, world):
            continue
        break
    if draft.active_stage < 0 and not ready and draft.state in _MOVING:
        draft.on_instance(e.WORKFLOW_COMPLETED)
        return
    settle(draft, leaving=ready)
    for position in sorted(set(ready)):
        schedule(draft, world, position)


def settle(draft: Draft, *, leaving: Iterable[int] = ()) -> None:
    """This will make the instance RUNNING or FAILED, as its tasks say once those of `leaving` are scheduled again."""
    blocked = draft.blocked - sum(1 for position in set(leaving) if blocks(draft, position))
    if draft.state == InstanceState.FAILED and not blocked and not draft.timed_out:
        draft.on_instance(e.WORKFLOW_RECOVERED)
    elif draft.state == InstanceState.RUNNING and (blocked or draft.timed_out):
        draft.on_instance(e.WORKFLOW_FAILED)


def blocks(draft: Draft, position: int) -> bool:
    """This will tell whether the task has failed for good and holds its stage up."""
    task = draft.tasks[position]
    return task.state == TaskState.FAILED and task.spent and not draft.is_done(position, task)


def schedule(draft: Draft, world: World, position: int, *, new_round: bool = False) -> None:
    """This will begin the task's next attempt."""
    task, definition = draft.tasks[position], draft.definition.tasks[position]
    data: dict[str, object] = {}
    if definition.kind is TaskKind.HUMAN:
        data |= assignment(definition.assigned_to, world)
    if new_round and task.failures:
        data["round"] = "new"
    draft.on_task(e.TASK_SCHEDULED, position, task.attempt + 1, data)


def assignment(name: str | None, world: World) -> dict[str, object]:
    """This will say whom a name stands for; a name that nobody bears leaves the task unassigned (contract 2)."""
    kind = world.assignee_kind(name) if name else ""
    if kind:
        return {"assigned_to": name, "assigned_kind": kind}
    return {"assigned_to": None, "assigned_kind": "", "unknown": name} if name else {"assigned_to": None}


def _judged(draft: Draft, ripe: Iterable[int]) -> list[int]:
    ready = []
    for position in sorted(set(ripe)):
        definition, task = draft.definition.tasks[position], draft.tasks[position]
        if definition.stage_position != draft.active_stage or task.state != TaskState.PENDING or task.waiting_for:
            continue
        if definition.plugin is not None and definition.plugin.phase != draft.stages[draft.active_stage].phase:
            continue
        if definition.has_when and not holds(definition.when, draft.context):
            draft.on_task(e.TASK_SKIPPED, position, None, {"condition": True})
        else:
            ready.append(position)
    return ready


def _advanced(draft: Draft, world: World) -> bool:
    at = draft.active_stage
    if at >= 0:
        where = draft.definition.stages[at]
        if where.activity is not None and _next_phase(draft, world, at):
            return True
        stage = draft.stages[at]
        if stage.remaining:
            return False
        all_skipped = where.end > where.first and stage.skipped == where.end - where.first
        draft.on_stage(e.STAGE_SKIPPED if all_skipped else e.STAGE_COMPLETED, at)
    following = next((n for n, stage in enumerate(draft.stages) if n > at and stage.state == StageState.PENDING), None)
    if following is None:
        return False
    draft.on_stage(e.STAGE_ACTIVATED, following)
    return True


def _next_phase(draft: Draft, world: World, at: int) -> bool:
    """Begin the next phase of an activity, once everybody in the one before has answered."""
    stage, where = draft.stages[at], draft.definition.stages[at]
    if stage.phase == Phase.POST:
        return False
    if stage.phase is not None:
        begun = next(n for n, one in enumerate(where.phases) if one.phase == stage.phase)
        if stage.left[begun]:
            return False
    _begin_phase(draft, world, at, PHASES[0] if stage.phase is None else PHASES[PHASES.index(Phase(stage.phase)) + 1])
    return True


def _begin_phase(draft: Draft, world: World, at: int, phase: Phase) -> None:
    """Ask who takes part in the phase, and freeze the answer; what was frozen before stays so."""
    where, definition = draft.definition.stages[at], draft.definition
    activity = where.activity or where.stage_name
    data: dict[str, object] = {"activity": activity, "phase": str(phase)}
    if where.frozen(phase) is not None:
        draft.on_stage(e.PHASE_STARTED, at, {**data, "again": True})
        return
    attributes = {
        **values_of(definition.search, draft.context),
        "workflow_name": definition.workflow_name,
        "component_name": definition.component_name,
    }
    expected = world.expected_plugins(activity, phase, attributes)
    data["plugins"] = [
        {"name": one.name, "mandatory": one.mandatory, "labels": dict(one.labels), "task": dict(one.task)}
        for one in expected.plugins
    ]
    data["excluded"] = _grouped(expected.excluded)
    draft.on_stage(e.PHASE_STARTED, at, data)


def _grouped(excluded: Iterable[ExcludedPlugin]) -> list[dict[str, object]]:
    """Those kept out, alike ones together: of a thousand registered plugins this may be most, in every instance."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for one in excluded:
        groups.setdefault((one.mandatory, *sorted(one.labels.items())), []).append(one.name)
    return [
        {"mandatory": mandatory, "labels": dict(labels), "names": names}  # type: ignore[arg-type]
        for (mandatory, *labels), names in groups.items()
    ]
