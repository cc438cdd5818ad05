"""Running again what was done: a task with what depends on it, or a whole stage, and all later stages."""

from __future__ import annotations

from collections.abc import Iterable

from workflows.engine import commands as c
from workflows.engine import events as e
from workflows.engine.decision import Duplicate, Rejected, World
from workflows.engine.draft import Draft
from workflows.engine.lifecycle import ROLLING, InstanceState, StageState, TaskState
from workflows.engine.rules.progress import go_on
from workflows.engine.rules.refusing import ended, find, not_its_turn, suspended, wrong_state
from workflows.engine.rules.tasks import withdrew

Refusal = Duplicate | Rejected | None


def replay_task(draft: Draft, command: c.ReplayTask, world: World) -> Refusal:
    """This will run a done task again, with its descendants in the stage and all later stages."""
    position = find(draft, command)
    if isinstance(position, Rejected):
        return position
    if refusal := _not_now(draft):
        return refusal
    task = draft.tasks[position]
    if not draft.is_done(position, task):
        if task.state == TaskState.PENDING:
            return not_its_turn(draft, position)
        name = draft.definition.tasks[position].key
        return Rejected("wrong_state", f"{name} is {task.state}: only a done task can be replayed.")
    draft.on_instance(
        e.REPLAY_REQUESTED,
        {"reason": command.reason, "stage_name": command.stage_name, "task_name": command.task_name},
    )
    rewind_to_task(draft, position)
    go_on(draft, world)
    return None


def replay_stage(draft: Draft, command: c.ReplayStage, world: World) -> Refusal:
    """This will run a reached stage and all later ones again."""
    stage = draft.definition.stage_positions.get(command.stage_name)
    if stage is None:
        return Rejected("unknown_task", f"The workflow has no stage {command.stage_name}.")
    if refusal := _not_now(draft):
        return refusal
    if draft.stages[stage].state == StageState.PENDING:
        return Rejected("not_its_turn", f"{command.stage_name} is PENDING: it has not been reached.")
    draft.on_instance(e.REPLAY_REQUESTED, {"reason": command.reason, "stage_name": command.stage_name})
    where = draft.definition.stages[stage]
    _rewind(draft, stage, range(where.first, where.end), reopen=True)
    go_on(draft, world)
    return None


def rewind_to_task(draft: Draft, position: int, *, answered: int | None = None) -> None:
    """This will reset the task, its descendants and the later stages. `answered` is a task whose attempt a person has
    just answered: it is reset, too, but nothing is taken back from anybody."""
    definitions = draft.definition.tasks
    stage, reached, open_ = definitions[position].stage_position, {position}, [position]
    while open_:
        for child in definitions[open_.pop()].children:
            if child not in reached:
                reached.add(child)
                open_.append(child)
    part, where = definitions[position].plugin, draft.definition.stages[stage]
    if part is not None:
        # The phases after its own build on it, too.
        reached.update(range(next(one.end for one in where.phases if one.phase == part.phase), where.end))
    closed = draft.stages[stage].state != StageState.ACTIVE
    # An active stage that has come to a later phase comes back to that of the task.
    further = part is not None and draft.stages[stage].phase != part.phase
    _rewind(draft, stage, sorted(reached), reopen=closed or further, answered=answered)
    draft.ripe.append(position)


def _rewind(draft: Draft, stage: int, positions: Iterable[int], *, reopen: bool, answered: int | None = None) -> None:
    later = (at for where in draft.definition.stages[stage + 1 :] for at in range(where.first, where.end))
    for position in (*positions, *later):
        task = draft.tasks[position]
        if task.state != TaskState.PENDING:
            data = {} if position == answered else withdrew(task)
            draft.on_task(e.TASK_RESET, position, task.attempt or None, data)
    for following in range(stage + 1, len(draft.stages)):
        if draft.stages[following].state != StageState.PENDING:
            draft.on_stage(e.STAGE_RESET, following)
    if reopen:
        draft.on_stage(e.STAGE_RESET, stage)
        draft.on_stage(e.STAGE_ACTIVATED, stage)


def _not_now(draft: Draft) -> Rejected | None:
    if draft.state == InstanceState.COMPLETED:
        return None
    if refusal := ended(draft) or suspended(draft):
        return refusal
    if draft.state in ROLLING:
        return wrong_state("Nothing is replayed during a rollback", draft)
    return None
