"""How the parts of a template must fit together: one generator per rule, listed in RULES.

A rule gets an outline, which leaves out what is no stage or task at all; so it says what it can of a faulty template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from workflows.definitions.checks import bad_value, quoted
from workflows.definitions.outline import Outline, OutlinedTask
from workflows.definitions.problems import Problem, below
from workflows.definitions.returns import Returns
from workflows.definitions.schema import Effect
from workflows.definitions.shape import MAX_TASKS

LONGEST_PATH_SHOWN = 30


def not_too_many_tasks(outline: Outline) -> Iterator[Problem]:
    """The whole template has at most MAX_TASKS tasks."""
    count = sum(len(stage.tasks) for stage in outline)
    if count > MAX_TASKS:
        yield bad_value("/stages", f"There are {count:,} tasks; at most {MAX_TASKS:,} are allowed.")


def stage_names_differ(outline: Outline) -> Iterator[Problem]:
    """No two stages have the same name."""
    seen: set[str] = set()
    for stage in outline:
        if stage.name in seen:
            message = f"There is already a stage {quoted(stage.name)}."
            yield Problem(below(stage.pointer, "stage_name"), "duplicate_stage", message)
        elif stage.name is not None:
            seen.add(stage.name)


def stage_orders_differ(outline: Outline) -> Iterator[Problem]:
    """No two stages have the same order: nobody could say which comes first."""
    seen: set[float] = set()
    for stage in outline:
        if stage.order in seen:
            message = f"There is already a stage with the order {stage.order:,}."
            yield Problem(below(stage.pointer, "stage_order"), "duplicate_stage_order", message)
        elif stage.order is not None:
            seen.add(stage.order)


def task_names_differ_in_a_stage(outline: Outline) -> Iterator[Problem]:
    """No two tasks of one stage have the same name."""
    for stage in outline:
        seen: set[str] = set()
        for task in stage.tasks:
            if task.name in seen:
                message = f"There is already a task {quoted(task.name)} in this stage."
                yield Problem(below(task.pointer, "task_name"), "duplicate_task", message)
            elif task.name is not None:
                seen.add(task.name)


def parents_differ(outline: Outline) -> Iterator[Problem]:
    """A task names each parent once."""
    for stage in outline:
        for task in stage.tasks:
            seen: set[str] = set()
            for index, parent in task.parents:
                if parent in seen:
                    yield _parent_problem(task, index, "duplicate_parent", f"{quoted(parent)} is named already.")
                seen.add(parent)


def parents_are_in_the_stage(outline: Outline) -> Iterator[Problem]:
    """A parent is a task of the same stage."""
    homes = {task.name: stage.name for stage in outline for task in stage.tasks if task.name is not None}
    for stage in outline:
        here = {task.name for task in stage.tasks}
        for task in stage.tasks:
            for index, parent in task.parents:
                if parent not in here:
                    message = f"There is no task {quoted(parent)} in this stage."
                    if parent in homes:
                        message += f" The one in stage {quoted(homes[parent] or '')} cannot be a parent."
                    yield _parent_problem(task, index, "unknown_parent", message)


def no_task_waits_for_itself(outline: Outline) -> Iterator[Problem]:
    """Following parents never leads back: every entry of `parent_task` that closes a circle is told with its path."""
    for stage in outline:
        tasks = {task.name: task for task in reversed(stage.tasks) if task.name is not None}
        finished: set[str] = set()
        for name in [task.name for task in stage.tasks if task.name is not None]:
            if name in finished:
                continue
            path: dict[str, int] = {name: 0}
            names = [name]
            todo = [iter(tasks[name].parents)]
            while todo:
                index, parent = next(todo[-1], (0, None))
                if parent is None:
                    todo.pop()
                    finished.add(done := names.pop())
                    del path[done]
                elif parent in path:
                    circle = _shown(names, first=path[parent])
                    message = f"A task may not wait for itself: {circle} (each waits for the next)."
                    yield _parent_problem(tasks[names[-1]], index, "cycle", message)
                elif parent in tasks and parent not in finished:
                    path[parent] = len(names)
                    names.append(parent)
                    todo.append(iter(tasks[parent].parents))


def outcome_names_differ(outline: Outline) -> Iterator[Problem]:
    """No two outcomes of a task have the same name."""
    for stage in outline:
        for task in stage.tasks:
            seen: set[str] = set()
            for index, outcome in task.outcomes:
                name = outcome.get("name")
                if isinstance(name, str):
                    if name in seen:
                        where = below(task.pointer, "outcomes", index, "name")
                        yield bad_value(where, f"There is already an outcome {quoted(name)}.")
                    seen.add(name)


def returns_go_back_to_people(outline: Outline) -> Iterator[Problem]:
    """`return_to` names a HUMAN task of an earlier stage, or an ancestor in the same stage."""
    returns = Returns(outline)
    for stage in outline:
        for task in stage.tasks:
            for index, outcome in task.outcomes:
                return_to = outcome.get("return_to")
                if outcome.get("effect") != Effect.RETURN or not isinstance(return_to, str) or not return_to:
                    continue
                if returns.target(task, return_to=return_to) is None:
                    where = below(task.pointer, "outcomes", index, "return_to")
                    message = f"{quoted(return_to)} is not a HUMAN task that comes before this one."
                    yield Problem(where, "unknown_return_to", message)


RULES: tuple[Callable[[Outline], Iterator[Problem]], ...] = (
    not_too_many_tasks,
    stage_names_differ,
    stage_orders_differ,
    task_names_differ_in_a_stage,
    parents_differ,
    parents_are_in_the_stage,
    no_task_waits_for_itself,
    outcome_names_differ,
    returns_go_back_to_people,
)


def check_soundness(outline: Outline) -> Iterator[Problem]:
    """This will yield what every rule finds."""
    for rule in RULES:
        yield from rule(outline)


def _parent_problem(task: OutlinedTask, index: int, code: str, message: str) -> Problem:
    return Problem(below(task.pointer, "parent_task", index), code, message)


def _shown(names: list[str], *, first: int) -> str:
    """The circle from names[first] to the last and back, `a → b → a`, shortened in the middle when it is long."""
    left_out = len(names) - first - LONGEST_PATH_SHOWN
    shown = names[first : first + LONGEST_PATH_SHOWN] + ([f"… {left_out:,} more …"] if left_out > 0 else [])
    return " → ".join([*shown, names[first]])
