"""What a filter policy may say: every fault at its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from workflows.definitions.checks import bad_value, boolean, list_of, quoted, text, wrong_type
from workflows.definitions.problems import Problem, below
from workflows.definitions.schema import Json
from workflows.definitions.search import MAX_TEXT_LENGTH

OR = "$or"
MAX_CONDITIONS = 500
"""Of the whole policy, those inside `$or` included."""
MAX_LEVELS = 5
"""Of `$or` inside `$or`."""
_LOWER, _UPPER = (">", ">="), ("<", "<=")
_SHAPE = 'a policy (an object such as {"customer": ["ACME"]})'


@dataclass(slots=True)
class _Count:
    conditions: int = 0


def check_policy(value: Json, pointer: str) -> Iterator[Problem]:
    """This will yield what is wrong with a filter policy."""
    count = _Count()
    yield from _policy(value, pointer, level=0, count=count)
    if count.conditions > MAX_CONDITIONS:
        message = f"There are {count.conditions:,} conditions; at most {MAX_CONDITIONS} are allowed."
        yield bad_value(pointer, message)


def _policy(value: Json, pointer: str, *, level: int, count: _Count) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield wrong_type(value, pointer, _SHAPE)
        return
    for key, entry in value.items():
        at = below(pointer, key)
        if key == OR:
            yield from _alternatives(entry, at, level=level + 1, count=count)
        elif key.startswith("$") or not 1 <= len(key) <= MAX_TEXT_LENGTH:
            yield bad_value(at, f"{quoted(key)} names no attribute; the only key with a $ is {OR}.")
        else:
            count.conditions += len(entry) if isinstance(entry, list) else 1
            yield from _conditions(entry, at)


def _alternatives(value: Json, pointer: str, *, level: int, count: _Count) -> Iterator[Problem]:
    if level > MAX_LEVELS:
        yield bad_value(pointer, f"There is {OR} inside {OR} more than {MAX_LEVELS} times.")
    elif not isinstance(value, list):
        yield wrong_type(value, pointer, "a list of policies")
    elif not value:
        yield bad_value(pointer, f"{OR} needs at least one policy: of none, none ever holds.")
    else:
        count.conditions += len(value)
        for index, one in enumerate(value):
            yield from _policy(one, f"{pointer}/{index}", level=level, count=count)


def _condition(value: Json, pointer: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield from _scalar(value, pointer)
    elif len(value) != 1:
        yield bad_value(pointer, f"A condition has one operator: {', '.join(_OPERATORS)}.")
    else:
        ((operator, operand),) = value.items()
        check = _OPERATORS.get(operator)
        if check is None:
            message = f"There is no operator {quoted(operator)}; there are {', '.join(_OPERATORS)}."
            yield bad_value(below(pointer, operator), message)
        else:
            yield from check(operand, below(pointer, operator))


def _scalar(value: Json, pointer: str) -> Iterator[Problem]:
    if isinstance(value, str):
        if len(value) > MAX_TEXT_LENGTH:
            yield bad_value(pointer, f"This has {len(value):,} characters; at most {MAX_TEXT_LENGTH} are compared.")
    elif not isinstance(value, bool | int | float):
        yield wrong_type(value, pointer, "a text, a number, true, false or a condition (an object)")
    elif not _is_finite(value):
        yield bad_value(pointer, "This number is too large.")


def _anything_but(value: Json, pointer: str) -> Iterator[Problem]:
    if isinstance(value, list):
        yield from _some_scalars(value, pointer)
    elif not isinstance(value, dict):
        yield from _scalar(value, pointer)
    elif len(value) != 1 or not value.keys() <= {"prefix", "suffix"}:
        yield bad_value(pointer, "anything-but takes values, or one of prefix and suffix.")
    else:
        ((operator, operand),) = value.items()
        check = _some_texts if isinstance(operand, list) else _part
        yield from check(operand, below(pointer, operator))


def _numeric(value: Json, pointer: str) -> Iterator[Problem]:
    if not isinstance(value, list) or len(value) not in (2, 4):
        yield bad_value(pointer, 'A range is such as [">", 0], ["=", 5] or [">=", 0, "<", 100].')
        return
    known = ((*_LOWER, *_UPPER, "="),) if len(value) == 2 else (_LOWER, _UPPER)
    faults = False
    for index, signs in enumerate(known):
        sign, bound = value[2 * index], value[2 * index + 1]
        if sign not in signs:
            faults = True
            yield bad_value(f"{pointer}/{2 * index}", f"This must be one of {', '.join(signs)}.")
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            faults = True
            yield wrong_type(bound, f"{pointer}/{2 * index + 1}", "a number")
        elif not _is_finite(bound):
            faults = True
            yield bad_value(f"{pointer}/{2 * index + 1}", "This number is too large.")
    if not faults and len(value) == 4:
        low, high = value[1], value[3]
        if low > high or (low == high and value[::2] != [">=", "<="]):
            yield bad_value(pointer, "No number lies in this range.")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


_part = text(at_least=1, at_most=MAX_TEXT_LENGTH)
_some_texts = list_of(_part, at_least=1, at_most=MAX_CONDITIONS, of="texts")
_some_scalars = list_of(_scalar, at_least=1, at_most=MAX_CONDITIONS, of="values")
_conditions = list_of(_condition, at_least=1, at_most=MAX_CONDITIONS, of="conditions")
_OPERATORS: Mapping[str, Callable[[Json, str], Iterator[Problem]]] = {
    "prefix": _part,
    "suffix": _part,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "exists": boolean,
}
