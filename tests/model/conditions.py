"""What a `when` comes to, stated a second time: the JSON conditions of the contract."""

from typing import Any


def holds(node: Any, context: dict) -> bool:
    """Whether a condition is met; `false null 0 "" []` count as false, and nothing else does."""
    value = _value(node, context)
    return isinstance(value, dict) or bool(value)


def _value(node: Any, context: dict) -> Any:
    if not isinstance(node, dict):
        return node
    [(operator, given)] = node.items()
    given = given if isinstance(given, list) else [given]
    if operator == "var":
        return _look_up(given[0], context, given[1] if len(given) > 1 else None)
    if operator == "missing":
        return any(_look_up(path, context, holds) is holds for path in given)
    if operator in ("and", "or"):
        return (all if operator == "and" else any)(holds(one, context) for one in given)
    if operator == "not":
        return not holds(given[0], context)
    values = [_value(one, context) for one in given]
    match operator:
        case "==" | "!=":
            return _same(*values) == (operator == "==")
        case "in" if isinstance(values[1], list):
            return any(_same(values[0], one) for one in values[1])
        case "in":
            return isinstance(values[1], str) and isinstance(values[0], str) and values[0] in values[1]
    if not any(all(isinstance(v, kind) and not isinstance(v, bool) for v in values) for kind in (int | float, str)):
        return False  # Between unlike types nothing is less or more.
    a, b = values
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator]


def _look_up(path: str, found: Any, default: Any) -> Any:
    for part in path.split("."):
        if isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict) and part in found:
            found = found[part]
        else:
            return default
    return found


def _same(a: Any, b: Any) -> bool:
    """No type is converted: `1 == 1.0`, but `1 != "1"` and `1 != true`."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    return a == b and isinstance(a, bool) == isinstance(b, bool)
