"""What callers send: read within limits, strictly, with a pointer to each fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, UnreadablePostError
from rest_framework.parsers import BaseParser

from workflows.api.problems import Problem, fault
from workflows.conf import settings
from workflows.definitions import strict_json
from workflows.definitions.problems import below
from workflows.definitions.schema import Json

NAME: Mapping[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 200,
    # Not padded, no control characters.
    "pattern": r"^(?!\s)[^\u0000-\u001f\u007f-\u009f]*(?<!\s)$",
}

Fault = tuple[str, str]
"""Code and message of what is wrong with one value."""


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a body: how it is checked, and how the documentation describes it."""

    name: str
    check: Callable[[Any], Fault | None]
    schema: Mapping[str, Any]
    required: bool = False
    default: Any = None


# --- Kinds of fields ----------------------------------------------------------------------------------------------


def text(name: str, *, required: bool = False, most: int = 2_000, default: Any = None, about: str = "") -> Field:
    """This will take a text that says something."""

    def check(value: Any) -> Fault | None:
        if not isinstance(value, str):
            return _wrong("a text", value)
        if len(value) > most:
            return "bad_value", f"At most {most:,} characters are taken; this has {len(value):,}."
        if required and not value.strip():
            return "bad_value", "This is empty."
        return None

    schema = {"type": "string", "maxLength": most, **({"minLength": 1, "pattern": r"\S"} if required else {})}
    return Field(name, check, _described(schema, about), required, default)


def identifier(name: str, *, required: bool = False, about: str = "") -> Field:
    """This will take a name: 1 to 200 characters, not padded, no control characters."""

    def check(value: Any) -> Fault | None:
        if not isinstance(value, str):
            return _wrong("a text", value)
        return name_fault(value)

    return Field(name, check, _described(dict(NAME), about), required)


def integer(name: str, *, least: int, most: int, default: int | None = None, about: str = "") -> Field:
    """This will take a whole number in a range."""

    def check(value: Any) -> Fault | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return _wrong("a whole number", value)
        if not least <= value <= most:
            return "bad_value", f"This takes {least:,} to {most:,}, not {value:,}."
        return None

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Field(name, check, _described(schema, about), False, default)


def number(name: str, *, least: float, most: float, about: str = "") -> Field:
    """This will take a number in a range, whole or not."""

    def check(value: Any) -> Fault | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return _wrong("a number", value)
        if not least <= value <= most:
            return "bad_value", f"This takes {least:,g} to {most:,g}, not {value:,g}."
        return None

    return Field(name, check, _described({"type": "number", "minimum": least, "maximum": most}, about))


def mapping(name: str, *, default: Any = None, about: str = "") -> Field:
    """This will take an object of any content."""
    return Field(
        name,
        lambda value: None if isinstance(value, dict) else _wrong("an object", value),
        _described({"type": "object"}, about),
        False,
        default,
    )


def flag(name: str, *, about: str = "") -> Field:
    """This will take true or false; absent is false."""
    return Field(
        name,
        lambda value: None if isinstance(value, bool) else _wrong("true or false", value),
        _described({"type": "boolean", "default": False}, about),
        False,
        False,
    )


def choice(name: str, options: Sequence[str], *, default: str, about: str = "") -> Field:
    """This will take one of some words."""

    def check(value: Any) -> Fault | None:
        if not isinstance(value, str):
            return _wrong("a text", value)
        return None if value in options else ("bad_value", f"This takes {' or '.join(options)}.")

    return Field(name, check, _described({"type": "string", "enum": list(options)}, about), False, default)


def listing(name: str, *, most: int, of: Mapping[str, Any], about: str = "") -> Field:
    """This will take a list; its entries are judged by whom they are for."""

    def check(value: Any) -> Fault | None:
        if not isinstance(value, list):
            return _wrong("a list", value)
        if len(value) > most:
            return "bad_value", f"At most {most:,} entries are taken at once; these are {len(value):,}."
        return None

    return Field(name, check, _described({"type": "array", "maxItems": most, "items": dict(of)}, about), True)


def name_fault(value: str) -> Fault | None:
    """This will say what keeps a text from being a name."""
    if not 1 <= len(value) <= 200:
        return "bad_value", f"A name has 1 to 200 characters; this has {len(value):,}."
    if value != value.strip():
        return "bad_value", "A name does not begin or end with a space."
    if any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in value):
        return "bad_value", "A name holds no control characters."
    return None


# --- Reading ------------------------------------------------------------------------------------------------------


def raw(request: HttpRequest) -> bytes:
    """This will read the body, at most as much of it as we take, whether or not its length was announced."""
    announced = request.META.get("CONTENT_LENGTH") or ""
    limit = settings.MAX_BODY_BYTES
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(limit)
    pieces, have = [], 0
    try:
        while have <= limit and (piece := request.read(limit + 1 - have)):
            pieces.append(piece)
            have += len(piece)
    except UnreadablePostError:
        raise Problem("invalid_json", "The body broke off.") from None
    if have > limit:
        raise _too_large(limit)
    return b"".join(pieces)


def parse(body: bytes, *, content_type: str, content_encoding: str = "") -> Json:
    """This will give the JSON value that was sent."""
    kind, _, rest = content_type.partition(";")
    charset = rest.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise Problem(
            "unsupported_media_type",
            f"Send the body as application/json in UTF-8, not as {content_type[:100] or 'something unnamed'}.",
        )
    if content_encoding.strip().lower() not in ("", "identity"):
        raise Problem("unsupported_media_type", "Send the body as it is: no Content-Encoding is taken.")
    try:
        return strict_json.parse(body, max_bytes=settings.MAX_BODY_BYTES, max_depth=settings.MAX_JSON_DEPTH)
    except strict_json.InvalidJson as error:
        raise Problem(error.code, error.message) from None


def read(value: Json, fields: Sequence[Field]) -> dict[str, Any]:
    """This will give what the fields say, defaults filled in; raises Problem with every fault at once.

    Null for something optional counts as absent. Unknown keys are ignored.
    """
    if not isinstance(value, dict):
        raise invalid_body([fault("", *_wrong("an object", value))])
    faults, said = [], {}
    for field in fields:
        given = value.get(field.name)
        if given is None and not field.required:
            said[field.name] = field.default
        elif field.name not in value:
            faults.append(fault(below("", field.name), "required", f"{field.name} is missing."))
        elif wrong := field.check(given):
            faults.append(fault(below("", field.name), *wrong))
        else:
            said[field.name] = given
    if faults:
        raise invalid_body(faults)
    return said


def invalid_body(faults: Sequence[Mapping[str, str]]) -> Problem:
    """This will make the problem that lists the faults of a body."""
    first = faults[0]
    more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
    return Problem("invalid_body", f"{first['pointer'] or 'The body'}: {first['message']}{more}", errors=faults)


class StrictJsonParser(BaseParser):
    """The strict parser for any view of the framework that reads `request.data`."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """This will read the stream within the limit."""
        return parse(stream.read(settings.MAX_BODY_BYTES + 1), content_type=media_type or "application/json")


def _too_large(limit: int) -> Problem:
    return Problem("too_large", f"At most {limit:,} bytes are taken.")


def _wrong(wanted: str, value: Any) -> Fault:
    return "wrong_type", f"This takes {wanted}, not {_KINDS.get(type(value), 'this')}."


_KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}


def _described(schema: dict[str, Any], about: str) -> dict[str, Any]:
    return {**schema, "description": about} if about else schema
