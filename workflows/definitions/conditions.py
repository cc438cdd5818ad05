"""The `when` of a task: a JSON tree judged on the context. It always ends, always the same way, and never raises.

A node is an object with one operator as its only key; everything else is a literal, lists literals of nodes.
No type is converted, so `1 == 1.0` but `1 != "1"` and `1 != true`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from workflows.definitions.problems import Problem, below
from workflows.definitions.schema import Json

MAX_CONDITION_DEPTH = 32
MAX_CONDITION_NODES = 256
MAX_PATH_LENGTH = 1_000


def holds(node: Json, context: Mapping[str, Json]) -> bool:
    """This will tell whether the condition is met: everything but `false null 0 "" []` counts as true."""
    return _counts_as_true(evaluate(node, context))


def evaluate(node: Json, context: Mapping[str, Json]) -> Json:
    """This will give the value of a node. A node that `check_condition` would have refused gives null."""
    if isinstance(node, list):
        return [evaluate(entry, context) for entry in node]
    if not isinstance(node, dict):
        return node
    if len(node) != 1:
        return None
    ((operator, operands),) = node.items()
    if operator in _COMPARISONS:
        if not isinstance(operands, list) or len(operands) != 2:
            return None
        left, right = operands
        return _COMPARISONS[operator](evaluate(left, context), evaluate(right, context))
    evaluator = _OTHERS.get(operator)
    return evaluator(operands, context) if evaluator else None


def equal(left: Json, right: Json) -> bool:
    """This will compare two JSON values all the way down, converting nothing: true is not 1, 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(value, right[key]) for key, value in left.items())
    return bool(left == right)


# --- what each operator gives ----------------------------------------------------------------------------------------


def _ordered(compare: Callable[[Json, Json], bool]) -> Callable[[Json, Json], bool]:
    def compare_alike(left: Json, right: Json) -> bool:
        alike = (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str))
        return alike and compare(left, right)

    return compare_alike


def _is_in(left: Json, right: Json) -> bool:
    if isinstance(right, list):
        return any(equal(left, entry) for entry in right)
    return isinstance(left, str) and isinstance(right, str) and left in right


_COMPARISONS: dict[str, Callable[[Json, Json], bool]] = {
    "==": equal,
    "!=": lambda left, right: not equal(left, right),
    "<": _ordered(lambda left, right: left < right),
    "<=": _ordered(lambda left, right: left <= right),
    ">": _ordered(lambda left, right: left > right),
    ">=": _ordered(lambda left, right: left >= right),
    "in": _is_in,
}


def _and(operands: Json, context: Mapping[str, Json]) -> bool:
    return isinstance(operands, list) and all(holds(operand, context) for operand in operands)


def _or(operands: Json, context: Mapping[str, Json]) -> bool:
    return isinstance(operands, list) and any(holds(operand, context) for operand in operands)


def _not(operands: Json, context: Mapping[str, Json]) -> bool:
    return not holds(operands[0] if isinstance(operands, list) and operands else operands, context)


def _var(operands: Json, context: Mapping[str, Json]) -> Json:
    path, default = (*operands, None, None)[:2] if isinstance(operands, list) else (operands, None)
    found = _look_up(path, context)
    return evaluate(default, context) if found is _ABSENT else found


def _missing(operands: Json, context: Mapping[str, Json]) -> bool:
    paths = operands if isinstance(operands, list) else [operands]
    return any(_look_up(path, context) is _ABSENT for path in paths)


_OTHERS: dict[str, Callable[[Json, Mapping[str, Json]], Json]] = {
    "and": _and,
    "or": _or,
    "not": _not,
    "var": _var,
    "missing": _missing,
}

_ABSENT = object()


def _look_up(path: Json, context: Mapping[str, Json]) -> Json:
    """Gives _ABSENT where the path leads nowhere; a null at its end is a value."""
    if not isinstance(path, str):
        return _ABSENT
    value: Json = context
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part, _ABSENT)
        elif isinstance(value, list) and part.isascii() and part.isdecimal() and len(part) < 10:
            value = value[int(part)] if int(part) < len(value) else _ABSENT
        else:
            return _ABSENT
        if value is _ABSENT:
            return _ABSENT
    return value


def _is_number(value: Json) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _counts_as_true(value: Json) -> bool:
    return bool(value) or isinstance(value, dict)


# --- what publishing refuses -----------------------------------------------------------------------------------------


def check_condition(node: Json, *, pointer: str) -> Iterator[Problem]:
    """This will yield what is wrong with a `when`, each fault with the pointer of the faulty node."""
    if not isinstance(node, (dict, bool)):
        yield _faulty(pointer, 'A condition is an object such as {"==": [{"var": "order.country"}, "IT"]}.')
        return
    nodes = 0
    todo: list[tuple[Json, str, int]] = [(node, pointer, 1)]
    while todo:
        one, where, depth = todo.pop()
        if isinstance(one, (dict, list)) and depth > MAX_CONDITION_DEPTH:
            yield _faulty(where, f"The condition is more than {MAX_CONDITION_DEPTH} levels deep.")
            continue
        if isinstance(one, dict):
            nodes += 1
            if nodes > MAX_CONDITION_NODES:
                yield _faulty(where, f"The condition has more than {MAX_CONDITION_NODES} nodes.")
                return
            fault = _fault_of(one)
            if fault:
                yield _faulty(where, fault)
                continue
        todo.extend(reversed([(inner, below(where, *way), depth + 1) for way, inner in _inside(one)]))


_OPERATORS = (*_COMPARISONS, *_OTHERS)


def _fault_of(node: dict[str, Json]) -> str | None:
    if len(node) != 1:
        return f"A node has one operator as its only key, not {len(node)} keys."
    ((operator, operands),) = node.items()
    if operator in _COMPARISONS:
        if not isinstance(operands, list) or len(operands) != 2:
            return f"{operator} takes a list of two operands."
    elif operator in ("and", "or"):
        if not isinstance(operands, list) or not operands:
            return f"{operator} takes a list of at least one condition."
    elif operator == "not":
        if isinstance(operands, list) and len(operands) != 1:
            return "not takes one condition."
    elif operator == "var":
        of_list = isinstance(operands, list) and 1 <= len(operands) <= 2
        if not _is_path(operands[0] if of_list else operands):
            return "var takes a path such as order.country, or a list of a path and a default."
    elif operator == "missing":
        paths = operands if isinstance(operands, list) else [operands]
        if not paths or not all(map(_is_path, paths)):
            return "missing takes a list of paths such as order.country."
    else:
        return f"{operator[:40]} is not an operator; there are {' '.join(_OPERATORS)}."
    return None


def _inside(node: Json) -> Iterator[tuple[Sequence[str | int], Json]]:
    """The nodes right below a correct node, each with the way to it."""
    if isinstance(node, list):
        yield from (((index,), entry) for index, entry in enumerate(node))
    elif isinstance(node, dict):
        ((operator, operands),) = node.items()
        if operator == "var" and isinstance(operands, list):
            yield from (((operator, 1), default) for default in operands[1:])
        elif operator not in ("var", "missing"):
            if isinstance(operands, list):
                yield from (((operator, index), entry) for index, entry in enumerate(operands))
            else:
                yield (operator,), operands


def _is_path(value: Json) -> bool:
    return isinstance(value, str) and len(value) <= MAX_PATH_LENGTH and all(value.split("."))


def _faulty(pointer: str, message: str) -> Problem:
    return Problem(pointer=pointer, code="bad_condition", message=message)


# --- for people ------------------------------------------------------------------------------------------------------

_SPOKEN = {"==": "is", "!=": "is not", "<": "<", "<=": "≤", ">": ">", ">=": "≥"}


def describe(node: Json) -> str:
    """This will say a condition in words: `order.country is IT and amount > 1,000`."""
    if not isinstance(node, dict):
        return _say(node)
    if len(node) != 1:
        return "an unreadable condition"
    ((operator, operands),) = node.items()
    match operator, operands:
        case (("and" | "or"), [*parts]):
            return f" {operator} ".join(_bracketed(part, unless=operator) for part in parts)
        case "not", [inner]:
            return f"not ({describe(inner)})"
        case "not", inner:
            return f"not ({describe(inner)})"
        case "var", [path, default]:
            return f"{path} (or {_say(default)} when it is missing)"
        case "var", [path]:
            return str(path)
        case "var", path:
            return str(path)
        case "missing", [*paths]:
            return f"{' or '.join(map(str, paths))} is missing"
        case "missing", path:
            return f"{path} is missing"
        case "in", [left, [*choices]]:
            return f"{_bracketed(left)} is one of {', '.join(map(_bracketed, choices))}"
        case "in", [left, right]:
            return f"{_bracketed(left)} is in {_bracketed(right)}"
        case str(), [left, right] if operator in _SPOKEN:
            return f"{_bracketed(left)} {_SPOKEN[operator]} {_bracketed(right)}"
        case _:
            return "an unreadable condition"


def _bracketed(node: Json, unless: str = "var") -> str:
    """Brackets around what would read differently without; comparisons bind tighter than `and` and `or`."""
    said = describe(node)
    if not isinstance(node, dict) or set(node) <= {unless, "var"}:
        return said
    if unless in ("and", "or") and not set(node) & {"and", "or"}:
        return said
    return f"({said})"


def _say(value: Json) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"{value:,}"
        case "":
            return "an empty text"
        case list():
            return f"[{', '.join(map(describe, value))}]"
        case _:
            return str(value) if not isinstance(value, dict) else describe(value)
