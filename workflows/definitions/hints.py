"""What a template may say but probably does not mean: typing errors in keys, keys without effect, unknown people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

from workflows.definitions.checks import quoted
from workflows.definitions.problems import TemplateWarning, below
from workflows.definitions.schema import Json, TaskKind
from workflows.definitions.search import warn_of_search
from workflows.definitions.shape import (
    COMPENSATE_KEYS,
    OUTCOME_KEYS,
    RETRY_KEYS,
    STAGE_KEYS,
    TEMPLATE_KEYS,
    keys_of_task,
)

LONGEST_TYPO = 40


def warnings_about(
    template: Mapping[str, Json], *, known_assignee: Callable[[str], bool] | None
) -> Iterator[TemplateWarning]:
    """This will yield the warnings about a correct template, in the order of the document."""
    yield from _about_ineffective_keys(template, "", TEMPLATE_KEYS)
    yield from warn_of_search(template)
    for stage_index, stage in enumerate(template["stages"]):
        pointer = f"/stages/{stage_index}"
        yield from _about_ineffective_keys(stage, pointer, STAGE_KEYS)
        for index, task in enumerate(stage.get("tasks", ())):
            yield from _about_task(task, f"{pointer}/tasks/{index}", known_assignee)


def _about_task(
    task: Mapping[str, Json], pointer: str, known_assignee: Callable[[str], bool] | None
) -> Iterator[TemplateWarning]:
    yield from _about_typos(task, pointer, keys_of_task(task))
    yield from _about_ineffective_keys(task.get("retry", {}), below(pointer, "retry"), RETRY_KEYS)
    for index, outcome in enumerate(task.get("outcomes", ())):
        yield from _about_ineffective_keys(outcome, below(pointer, "outcomes", index), OUTCOME_KEYS)
    compensate, where = task.get("compensate", {}), below(pointer, "compensate")
    yield from _about_typos(compensate, where, COMPENSATE_KEYS)
    yield from _about_ineffective_keys(compensate.get("retry", {}), below(where, "retry"), RETRY_KEYS)
    if known_assignee:
        if task["task_type"] == TaskKind.HUMAN:
            yield from _about_people(task, pointer, ("assigned_to", "escalate_to"), known_assignee)
        yield from _about_people(compensate, where, ("assigned_to",), known_assignee)


def _about_ineffective_keys(
    value: Mapping[str, Json], pointer: str, known: Mapping[str, object]
) -> Iterator[TemplateWarning]:
    for key in value:
        if key not in known:
            yield TemplateWarning(
                below(pointer, key), "unknown_key", f"The key {quoted(key)} is kept and does nothing."
            )
    yield from _about_typos(value, pointer, known)


def _about_typos(value: Mapping[str, Json], pointer: str, known: Mapping[str, object]) -> Iterator[TemplateWarning]:
    for key in value:
        if key not in known:
            meant = _key_meant(key, tuple(known))
            if meant:
                yield TemplateWarning(below(pointer, key), "possible_typo", f"{quoted(key)}: did you mean {meant}?")


def _about_people(
    value: Mapping[str, Json], pointer: str, keys: Iterable[str], known_assignee: Callable[[str], bool]
) -> Iterator[TemplateWarning]:
    for key in keys:
        if key in value and not known_assignee(value[key]):
            message = f"There is no user and no group {quoted(value[key])} now; the task will be unassigned."
            yield TemplateWarning(below(pointer, key), "unknown_assignee", message)


@lru_cache(maxsize=1024)
def _key_meant(key: str, known: tuple[str, ...]) -> str | None:
    if len(key) > LONGEST_TYPO:
        return None
    return next((candidate for candidate in known if one_error_apart(key, candidate)), None)


def one_error_apart(one: str, other: str) -> bool:
    """This will tell whether one insertion, deletion, substitution or swap of neighbours makes one text the other."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    rest, other_rest = one[start:], other[start:]
    return (
        rest[1:] == other_rest[1:]
        or rest[1:] == other_rest
        or rest == other_rest[1:]
        or (rest[:2] == other_rest[1::-1] and rest[2:] == other_rest[2:])
    )
