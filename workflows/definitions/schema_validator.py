"""jsonschema, with the few keywords done over that it does too slowly, inexactly, or without saying where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any, cast

from jsonschema import Draft202012Validator, FormatChecker, validators
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.jsonschema import Schema

from workflows.definitions.checks import quoted
from workflows.definitions.formats import FORMATS
from workflows.definitions.schema import Json
from workflows.definitions.strict_json import canonical


def validator_of(schema: Mapping[str, Json]) -> Draft202012Validator:
    """This will compile a schema; nothing is ever fetched for it."""
    return cast(Draft202012Validator, _VALIDATOR(schema, registry=_NOTHING_ELSE, format_checker=_FORMAT_CHECKER))


def describe_error(error: ValidationError) -> str:
    """This will say what is wrong to the person who filled it in."""
    limit = error.validator_value
    match error.validator:
        case "required":
            return "This is required."
        case "additionalProperties":
            return "There is no such field."
        case "type":
            kinds = limit if isinstance(limit, list) else [limit]
            return f"This must be {' or '.join(_KINDS.get(str(kind), str(kind)) for kind in kinds)}."
        case "enum":
            return f"This must be one of {_listed(limit)}."
        case "const":
            return f"This must be {_shown(limit)}."
        case "format":
            return f"This must be {_FORMATS_SAID.get(str(limit), f'of the format {limit}')}."
        case "minLength" if limit == 1:
            return "This may not be empty."
        case str(keyword) if keyword in _BOUNDS:
            return _BOUNDS[keyword].format(_shown(limit))
        case _:
            return f"{error.message[:300]}."


_KINDS = {
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_FORMATS_SAID = {
    "date": "a date such as 2024-02-29",
    "date-time": "a date and time with its zone, such as 2024-02-29T13:30:00Z",
    "email": "an e-mail address such as ada@example.com",
    "uri": "an address such as https://example.com/",
}
_BOUNDS = {
    "minimum": "This must be at least {}.",
    "maximum": "This must be at most {}.",
    "exclusiveMinimum": "This must be more than {}.",
    "exclusiveMaximum": "This must be less than {}.",
    "multipleOf": "This must be a multiple of {}.",
    "minLength": "This must have at least {} characters.",
    "maxLength": "This must have at most {} characters.",
    "minItems": "There must be at least {} entries.",
    "maxItems": "There must be at most {} entries.",
    "uniqueItems": "No two entries may be equal.",
}


def _listed(values: Json) -> str:
    shown = [_shown(value) for value in values[:20]]
    return ", ".join(shown) + (" …" if len(values) > 20 else "")


def _shown(value: Json) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:,}"
    return quoted(value) if isinstance(value, str) else canonical(value)[:80]


# --- keywords done over ----------------------------------------------------------------------------------------------


def _required(validator: Any, names: Json, instance: Json, schema: Json) -> Iterator[ValidationError]:
    """Each missing property at its own place."""
    if isinstance(instance, dict):
        for name in names:
            if name not in instance:
                yield ValidationError(f"{name} is required", path=[name])


def _additional_properties(validator: Any, allowed: Json, instance: Json, schema: Json) -> Iterator[ValidationError]:
    """Each property too many at its own place."""
    if isinstance(instance, dict):
        known = schema.get("properties", {})
        for name in [name for name in instance if name not in known]:
            if allowed is False:
                yield ValidationError(f"{name} is not known", path=[name])
            else:
                yield from validator.descend(instance[name], allowed, path=name)


def _multiple_of(validator: Any, step: Json, instance: Json, schema: Json) -> Iterator[ValidationError]:
    """Exact: 19.99 is a multiple of 0.01, which floats deny."""
    if validator.is_type(instance, "number") and Fraction(str(instance)) % Fraction(str(step)):
        yield ValidationError(f"{instance} is not a multiple of {step}")


def _unique_items(validator: Any, unique: Json, instance: Json, schema: Json) -> Iterator[ValidationError]:
    """In one pass; comparing every two entries would take hours for a long list."""
    if unique and isinstance(instance, list) and len({canonical(entry) for entry in instance}) < len(instance):
        yield ValidationError("two entries are equal")


def _only_texts(check: Callable[[str], bool]) -> Callable[[object], bool]:
    return lambda value: not isinstance(value, str) or check(value)


_VALIDATOR = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "required": _required,
        "additionalProperties": _additional_properties,
        "multipleOf": _multiple_of,
        "uniqueItems": _unique_items,
    },
)
_NOTHING_ELSE: Registry[Schema] = Registry()


_FORMAT_CHECKER = FormatChecker(formats=())
# On the instance: `FormatChecker.checks` of the library registers for everybody.
_FORMAT_CHECKER.checkers = {name: (_only_texts(check), ()) for name, check in FORMATS.items()}
