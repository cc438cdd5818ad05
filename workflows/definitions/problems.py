"""What is wrong with a document, said with the place where it is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault. `pointer` is a JSON pointer (RFC 6901) into the document as it was sent."""

    pointer: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class TemplateWarning:
    """Something that is allowed in a template, and probably not meant."""

    pointer: str
    code: str
    message: str


class InvalidTemplate(Exception):
    """The template has faults. Correct every one listed in `problems` and publish again."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p.pointer or 'the template'}: {p.message}" for p in self.problems[:5]))


def below(pointer: str, *parts: str | int) -> str:
    """This will give the JSON pointer of something further inside, escaped as RFC 6901 says."""
    return pointer + "".join(f"/{part}" if isinstance(part, int) else "/" + escape(part) for part in parts)


def escape(key: str) -> str:
    """This will give a key as it stands in a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def in_document_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """This will sort problems by place, entries of lists by number."""
    return tuple(sorted(problems, key=lambda problem: _place(problem.pointer)))


def _place(pointer: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() and len(part) < 10 else (1, 0, part) for part in pointer.split("/")]
