"""The picture of an instance, and the task that it opens with."""

from __future__ import annotations

from typing import Any

from tasks_ui import graph
from tasks_ui.queries import activity
from tasks_ui.queries.instance import Instance, Stage, Task
from workflows.engine.lifecycle import TaskState


def picture(instance: Instance, *, chosen: str | None, link: Any) -> graph.Picture:
    """This will lay the graph out; `link` makes the address of a task."""
    return graph.draw(
        graph.Lane(
            position=stage.position, title=stage.name, sign=stage.sign, note=stage.note, done=stage.done,
            nodes=_nodes(stage, chosen, link),
        )
        for stage in instance.stages
    )  # fmt: skip


def _nodes(stage: Stage, chosen: str | None, link: Any) -> tuple[graph.Node, ...]:
    nodes = tuple(
        graph.Node(
            position=task.position, name=task.definition.task_name, title=task.title,
            kind_icon=task.kind_icon, sign=task.sign, fact=task.fact, href=link(task.node),
            parents=task.definition.parents, selected=task.node == chosen, done=task.done,
        )
        for task in stage.tasks
    )  # fmt: skip
    if not stage.phases:
        return nodes
    by_position = {node.position: node for node in nodes}
    return tuple(activity.nodes_of(stage.position, stage.phases, by_position, href=f"#activity-{stage.position}"))


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
