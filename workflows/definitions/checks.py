"""Small checks of one JSON value, to be put together in tables."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping

from workflows.definitions.problems import Problem, below
from workflows.definitions.schema import Json

Check = Callable[[Json, str], Iterator[Problem]]
"""Takes a value and the pointer to it, yields what is wrong."""

MAX_NAME_LENGTH = 200


def object_of(
    *, keys: Mapping[str, Check], required: Iterable[str] = (), kind: str = "an object"
) -> Callable[[Json, str], Iterator[Problem]]:
    """This will make the check of an object; keys that the table does not know are somebody else's business."""
    needed = tuple(required)

    def check(value: Json, pointer: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield wrong_type(value, pointer, kind)
            return
        for key in needed:
            if key not in value:
                yield missing(key, pointer)
        for key, entry in value.items():
            if key in keys:
                yield from keys[key](entry, below(pointer, key))

    return check


def list_of(entry_check: Check, *, at_least: int = 0, at_most: int, of: str) -> Check:
    """This will make the check of a list; of one that is too long the entries are not looked at."""

    def check(value: Json, pointer: str) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield wrong_type(value, pointer, f"a list of {of}")
        elif len(value) < at_least:
            yield bad_value(pointer, f"There must be at least {at_least:,} of the {of}.")
        elif len(value) > at_most:
            yield bad_value(pointer, f"There are {len(value):,} {of}; at most {at_most:,} are allowed.")
        else:
            for index, entry in enumerate(value):
                yield from entry_check(entry, f"{pointer}/{index}")

    return check


def name(*, slash: bool) -> Check:
    """This will make the check of a name, with or without `/` allowed."""

    def check(value: Json, pointer: str) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield wrong_type(value, pointer, "a name")
            return
        fault = _fault_of_name(value, slash)
        if fault:
            yield Problem(pointer=pointer, code="bad_name", message=fault)

    return check


def text(*, at_least: int = 0, at_most: int, plain: bool = False) -> Check:
    """This will make the check of a text; a plain one stays on one line and hides nothing."""

    def check(value: Json, pointer: str) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield wrong_type(value, pointer, "a text")
        elif len(value) < at_least:
            yield bad_value(pointer, "This may not be empty.")
        elif len(value) > at_most:
            yield bad_value(pointer, f"This has {len(value):,} characters; at most {at_most:,} are allowed.")
        elif plain and (value != value.strip() or _has_invisible(value)):
            yield bad_value(pointer, "This may not begin or end with a space nor hold invisible characters.")

    return check


def number(*, at_least: float = -math.inf, above: float = -math.inf, at_most: float = math.inf) -> Check:
    """This will make the check of a finite number within bounds."""

    def check(value: Json, pointer: str) -> Iterator[Problem]:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield wrong_type(value, pointer, "a number")
        elif not (at_least <= value <= at_most and above < value and abs(value) != math.inf):
            floor = f"more than {above:,}" if above > at_least else f"at least {at_least:,}"
            yield bad_value(pointer, f"This must be {floor} and at most {at_most:,}, not {value:,}.")

    return check


def integer(*, at_least: int, at_most: int) -> Check:
    """This will make the check of a whole number within bounds; 2.0 is one."""

    def check(value: Json, pointer: str) -> Iterator[Problem]:
        if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
            yield wrong_type(value, pointer, "a whole number")
        elif not at_least <= value <= at_most:
            yield bad_value(pointer, f"This must be between {at_least:,} and {at_most:,}, not {value:,}.")

    return check


def choice(*choices: str, code: str = "bad_value") -> Check:
    """This will make the check of a text that is one of a few."""

    def check(value: Json, pointer: str) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield wrong_type(value, pointer, "a text")
        elif value not in choices:
            yield Problem(pointer, code, f"{quoted(value)} is not one of {', '.join(choices)}.")

    return check


def boolean(value: Json, pointer: str) -> Iterator[Problem]:
    """This will check for true or false."""
    if not isinstance(value, bool):
        yield wrong_type(value, pointer, "true or false")


def wrong_type(value: Json, pointer: str, expected: str) -> Problem:
    """This will be the problem of a value of another kind than expected."""
    return Problem(pointer, "wrong_type", f"Expected {expected}, not {_kind(value)}.")


def missing(key: str, pointer: str) -> Problem:
    """This will be the problem of an absent key, at the place where it should be."""
    return Problem(below(pointer, key), "required", f"{key} is required.")


def bad_value(pointer: str, message: str) -> Problem:
    """This will be the problem of a value of the right kind that is not allowed."""
    return Problem(pointer, "bad_value", message)


def quoted(value: str) -> str:
    """This will give a text from outside as it can stand in a message: short, nothing invisible."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in value[:80])
    return f"“{shown}…”" if len(value) > 80 else f"“{shown}”"


def _fault_of_name(value: str, slash: bool) -> str | None:
    if not 1 <= len(value) <= MAX_NAME_LENGTH:
        return f"A name has 1 to {MAX_NAME_LENGTH} characters, not {len(value):,}."
    if value != value.strip():
        return "A name does not begin or end with a space."
    if _has_invisible(value):
        return "A name has no control characters and no invisible ones."
    if not slash and "/" in value:
        return "The name of a stage or task has no “/”: it would not fit into an address."
    return None


def _has_invisible(value: str) -> bool:
    """Control characters (Cc), those that change how others show, such as bidi overrides (Cf), line ends, halves."""
    return not value.isprintable() and any(unicodedata.category(char) in _INVISIBLE for char in value)


_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"
