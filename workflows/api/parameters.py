"""The parameters of an address: known ones, once each, with values that make sense. Anything else is refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict

from workflows.api.problems import Problem
from workflows.conf import settings

_MOST_INTEGER = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: how its text becomes a value (ValueError: why not), and how the documentation describes it."""

    name: str
    read: Callable[[str], Any]
    schema: Mapping[str, Any]
    about: str
    default: Any = None
    explode: bool = True
    member: Callable[[str, str], Any] | None = None
    """Of a family such as `search.NAME`: reads one of them, by what its name has behind the dot."""


# --- Kinds of parameters ------------------------------------------------------------------------------------------


def text(name: str, about: str, *, least: int = 1, most: int = 200) -> Parameter:
    """This will take a text."""

    def read(given: str) -> str:
        if not least <= len(given) <= most:
            raise ValueError(f"takes {least} to {most} characters")
        return given

    return Parameter(name, read, {"type": "string", "minLength": least, "maxLength": most}, about)


def choice(name: str, options: Sequence[str], about: str, *, default: str | None = None) -> Parameter:
    """This will take one of some words."""

    def read(given: str) -> str:
        if given not in options:
            raise ValueError(f"takes {', '.join(options)}")
        return given

    schema: dict[str, Any] = {"type": "string", "enum": list(options)}
    if default is not None:
        schema["default"] = default
    return Parameter(name, read, schema, about, default)


def several(name: str, options: Iterable[str], about: str) -> Parameter:
    """This will take some of some words, with commas in between."""
    known = [str(option) for option in options]

    def read(given: str) -> list[str]:
        words = given.split(",")
        if any(word not in known for word in words):
            raise ValueError(f"takes {', '.join(known)}; several with commas in between")
        return sorted(set(words))

    schema = {"type": "array", "items": {"type": "string", "enum": known}, "minItems": 1}
    return Parameter(name, read, schema, about, explode=False)


def boolean(name: str, about: str) -> Parameter:
    """This will take true or false."""

    def read(given: str) -> bool:
        if given not in ("true", "false"):
            raise ValueError("takes true or false")
        return given == "true"

    return Parameter(name, read, {"type": "boolean"}, about)


def integer(
    name: str, about: str, *, least: int = 1, most: int = _MOST_INTEGER, default: int | None = None
) -> Parameter:
    """This will take a whole number in a range."""

    def read(given: str) -> int:
        # ASCII only: isdecimal knows the digits of every script.
        if not (given.isascii() and given.isdecimal()) or len(given) > 10 or not least <= int(given) <= most:
            raise ValueError(f"takes a whole number, {least} to {most}")
        return int(given)

    schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
    if default is not None:
        schema["default"] = default
    return Parameter(name, read, schema, about, default)


def moment(name: str, about: str) -> Parameter:
    """This will take a moment: ISO 8601 with a zone."""

    def read(given: str) -> dt.datetime:
        # A plus that nobody has encoded arrives as a space.
        said = given.replace(" ", "+") if "T" in given else given
        try:
            value = dt.datetime.fromisoformat(said)
            if value.tzinfo is None:
                raise ValueError
            return value.astimezone(dt.UTC)
        except (ValueError, OverflowError):
            raise ValueError("takes a moment with its zone, such as 2026-05-04T12:00:00Z") from None

    return Parameter(name, read, {"type": "string", "format": "date-time"}, about)


def family(
    name: str, about: str, *, member: Callable[[str, str], Any], patterns: Mapping[str, Mapping[str, Any]]
) -> Parameter:
    """This will take any number of parameters `name.WORD`; `patterns` describe what each kind of them takes."""

    def read(given: str) -> Any:
        raise ValueError("names no member")

    schema = {"type": "object", "patternProperties": dict(patterns), "additionalProperties": False}
    return Parameter(name, read, schema, about, default=(), member=member)


def ordering(columns: Sequence[str], *, default: str) -> Parameter:
    """This will take what to sort by; a minus in front turns it round."""
    options = [sign + column for column in columns for sign in ("", "-")]
    return choice("ordering", options, "What to sort by; `-` turns it round.", default=default)


LIMIT = integer("limit", "How many to give at once.", least=1, most=settings.MAX_PAGE, default=settings.PAGE)
CURSOR = text("cursor", "Where to go on: taken from `next` or `previous`, never made up.", most=500)
PAGING = (LIMIT, CURSOR)


# --- Reading ------------------------------------------------------------------------------------------------------


def read(query: QueryDict, known: Sequence[Parameter]) -> dict[str, Any]:
    """This will give the value of every known parameter; raises Problem with every fault at once."""
    table = {parameter.name: parameter for parameter in known if parameter.member is None}
    families = {parameter.name: parameter for parameter in known if parameter.member is not None}
    faults = []
    values = {parameter.name: parameter.default for parameter in known}
    for name, given in query.lists():
        family, _, word = name.partition(".")
        parameter = table.get(name) or (families.get(family) if word else None)
        if parameter is None:
            names = [*table, *(f"{one}.…" for one in families)]
            others = f" Known here: {', '.join(names)}." if names else " This address takes none."
            faults.append(_fault(name, f"There is no such parameter.{others}"))
        elif len(given) > 1:
            faults.append(_fault(name, "It stands there more than once."))
        elif "\0" in given[0]:
            faults.append(_fault(name, "It holds the character NUL."))
        else:
            try:
                if parameter.member is not None:
                    values[family] = (*values[family], parameter.member(word, given[0]))
                else:
                    values[name] = parameter.read(given[0])
            except ValueError as error:
                faults.append(_fault(name, f"It {error}."))
    if faults:
        raise invalid(faults)
    return values


def invalid(faults: Sequence[Mapping[str, str]]) -> Problem:
    """This will make the problem that names the parameters that cannot be used."""
    return Problem("invalid_parameter", f"{faults[0]['parameter']}: {faults[0]['message']}", errors=faults)


def bad_value(name: str, message: str) -> Problem:
    """This will make the problem about one parameter."""
    return invalid([_fault(name, message)])


def _fault(name: str, message: str) -> dict[str, str]:
    # The name is the caller's own: shown, but not at any length.
    shown = name[:100].replace("\0", "\ufffd")
    return {"parameter": shown, "pointer": "", "code": "invalid_parameter", "message": message}
