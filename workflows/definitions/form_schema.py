"""JSON Schema for what people fill in, and for the context of a start: which schemas we take, and checking values.

A form is flat: an object of texts, numbers, whole numbers, yes/no, choices, dates, addresses, and lists of those. The
schema of a context may say more (context_schema.py). A form has no unknown keywords but those that begin with `x-`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from workflows.definitions.checks import (
    Check,
    boolean,
    choice,
    integer,
    number,
    quoted,
    text,
)
from workflows.definitions.context_schema import DIALECT, check_context_schema
from workflows.definitions.formats import FORMATS
from workflows.definitions.problems import Problem, below
from workflows.definitions.schema import Json
from workflows.definitions.strict_json import canonical

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

MAX_FIELDS = 500
MAX_PROBLEMS = 1_000
"""Of one value; whoever sends more faults than this has sent something else."""
_MAX_COUNT = 2**31


def check_schema(schema: Json, *, pointer: str, nested: bool = False) -> Iterator[Problem]:
    """This will yield why a schema is not taken, each fault with the pointer of the faulty node.

    A `form` is flat; `nested=True` is for the `context_schema`.
    """
    if not isinstance(schema, dict):
        yield Problem(pointer, "wrong_type", 'Expected a JSON Schema, an object such as {"type": "object"}.')
    elif nested:
        yield from check_context_schema(schema, pointer=pointer)
    else:
        yield from _check_form(schema, pointer)


def validate(schema: Mapping[str, Json], value: Json) -> tuple[Problem, ...]:
    """This will give what is wrong with a value: pointers into the value, codes that are keywords of JSON Schema.

    A property that is missing is told at its own pointer.
    """
    # Not before somebody has filled something in: what comes with the library is memory that few workers ever need.
    from referencing.exceptions import Unresolvable

    from workflows.definitions.schema_validator import describe_error

    try:
        errors = list(islice(_compiled(canonical(schema)).iter_errors(value), MAX_PROBLEMS))
    except (RecursionError, Unresolvable):
        return (Problem("", "bad_value", "The schema cannot be followed all the way for this value."),)
    return tuple(
        Problem(below("", *error.absolute_path), str(error.validator or "bad_value"), describe_error(error))
        for error in errors
    )


@lru_cache(maxsize=512)
def _compiled(schema: str) -> Draft202012Validator:
    from workflows.definitions.schema_validator import validator_of

    return validator_of(json.loads(schema))


def _bad(pointer: str, message: str) -> Problem:
    return Problem(pointer, "bad_schema", message)


# --- forms -----------------------------------------------------------------------------------------------------------

_SCALARS = ("string", "number", "integer", "boolean")


def _anything(value: Json, pointer: str) -> Iterator[Problem]:
    yield from ()


def _positive(value: Json, pointer: str) -> Iterator[Problem]:
    yield from number(above=0)(value, pointer)


def _names(value: Json, pointer: str) -> Iterator[Problem]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        yield _bad(pointer, "required is a list of names of fields.")
    elif len(set(value)) < len(value):
        yield _bad(pointer, "required names a field twice.")


def _choices(value: Json, pointer: str) -> Iterator[Problem]:
    if not isinstance(value, list) or not value:
        yield _bad(pointer, "enum is a list of at least one choice.")
        return
    for index, entry in enumerate(value):
        if isinstance(entry, (list, dict)):
            yield _bad(f"{pointer}/{index}", "A choice of a form is a text, a number, true, false or null.")
    if len({canonical(entry) for entry in value}) < len(value):
        yield _bad(pointer, "enum has the same choice twice.")


_note = text(at_most=20_000)
_count = integer(at_least=0, at_most=_MAX_COUNT)
_notes: Mapping[str, Check] = {
    "title": _note,
    "description": _note,
    "$comment": _note,
    "default": _anything,
    "examples": _anything,
    "deprecated": boolean,
    "readOnly": boolean,
    "writeOnly": boolean,
}
_FORM: Mapping[str, Check] = {
    **_notes,
    "$schema": choice(DIALECT),
    "type": choice("object"),
    "properties": _anything,
    "required": _names,
    "additionalProperties": boolean,
}
_FIELD: Mapping[str, Check] = {
    **_notes,
    "type": choice(*_SCALARS),
    "enum": _choices,
    "const": _anything,
    "format": choice(*FORMATS),
    "minimum": number(),
    "maximum": number(),
    "exclusiveMinimum": number(),
    "exclusiveMaximum": number(),
    "multipleOf": _positive,
    "minLength": _count,
    "maxLength": _count,
}
_LIST: Mapping[str, Check] = {
    **_notes,
    "type": choice("array"),
    "items": _anything,
    "minItems": _count,
    "maxItems": _count,
    "uniqueItems": boolean,
}


def _check_form(schema: dict[str, Json], pointer: str) -> Iterator[Problem]:
    yield from _check_keywords(schema, pointer, _FORM)
    fields = schema.get("properties", {})
    where = below(pointer, "properties")
    if not isinstance(fields, dict):
        yield _bad(where, "properties is an object with a schema for each field.")
    elif len(fields) > MAX_FIELDS:
        yield _bad(where, f"A form has at most {MAX_FIELDS} fields.")
    else:
        for name, field in fields.items():
            yield from _check_field(field, below(where, name), may_be_list=True)


def _check_field(field: Json, pointer: str, *, may_be_list: bool) -> Iterator[Problem]:
    if not isinstance(field, dict):
        yield _bad(pointer, "A field is described by an object.")
    elif field.get("type") == "array" and may_be_list:
        yield from _check_keywords(field, pointer, _LIST)
        if "items" in field:
            yield from _check_field(field["items"], below(pointer, "items"), may_be_list=False)
        else:
            yield _bad(below(pointer, "items"), "items is required: it describes the entries of the list.")
    else:
        yield from _check_keywords(field, pointer, _FIELD)
        if not field.keys() & {"type", "enum", "const"}:
            yield _bad(pointer, f"A field has a type: {', '.join(_SCALARS)} or a list of one of those.")


def _check_keywords(schema: dict[str, Json], pointer: str, known: Mapping[str, Check]) -> Iterator[Problem]:
    for keyword, value in schema.items():
        where = below(pointer, keyword)
        if keyword in known:
            yield from (_bad(problem.pointer, problem.message) for problem in known[keyword](value, where))
        elif keyword == "pattern":
            yield _bad(where, "Regular expressions are not taken: one can be written that never ends.")
        elif not keyword.startswith("x-"):
            yield _bad(where, f"The keyword {quoted(keyword)} is not one of those that a form may use here.")
