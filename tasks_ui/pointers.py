"""Where in a JSON text each value stands: JSON pointers to line numbers. Text in, numbers out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workflows.definitions.problems import escape

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{},:]|[^\s\[\]{},:"]++', re.DOTALL)


@dataclass(slots=True)
class _Open:
    """A list or an object that is not closed yet: the pointer of its next value follows from these."""

    pointer: str
    is_list: bool
    count: int = 0
    key: str = ""
    awaits_key: bool = False


def lines_of(text: str) -> dict[str, int]:
    """This will give the line of every value by its pointer; a member of an object stands where its key does.

    What follows a fault of the syntax is left out or guessed; nothing raises.
    """
    found: dict[str, int] = {}
    inside: list[_Open] = []
    for part, line in _tokens(text):
        top = inside[-1] if inside else None
        if part in "}]":
            if inside:
                inside.pop()
        elif part == ",":
            if top is not None:
                top.count += 1
                top.awaits_key = not top.is_list
        elif part == ":":
            continue
        elif top is not None and top.awaits_key:
            top.key, top.awaits_key = _said(part), False
            found.setdefault(_pointer(top), line)
        else:
            pointer = "" if top is None else _pointer(top)
            found.setdefault(pointer, line)
            if part in "{[":
                inside.append(_Open(pointer, is_list=part == "[", awaits_key=part == "{"))
    return found


def line_of(pointer: str, lines: Mapping[str, int]) -> int:
    """This will give the line of a value; of what is not there, the line of the nearest value around it."""
    while pointer not in lines and pointer:
        pointer = pointer.rpartition("/")[0]
    return lines.get(pointer, 1)


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    line, seen = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", seen, match.start())
        seen = match.start()
        yield match.group(), line


def _pointer(top: _Open) -> str:
    return f"{top.pointer}/{top.count}" if top.is_list else f"{top.pointer}/{escape(top.key)}"


def _said(part: str) -> str:
    try:
        said = json.loads(part) if "\\" in part else part.strip('"')
    except ValueError:
        return part
    return said if isinstance(said, str) else part
