"""What instances of a template are found by: fields that are declared, values that are looked up in the context."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from workflows.definitions.checks import bad_value, quoted, text, wrong_type
from workflows.definitions.problems import Problem, TemplateWarning, below
from workflows.definitions.schema import Json, SearchField, SearchKind

MAX_FIELDS = 30
MAX_NAME_LENGTH = 50
MAX_TEXT_LENGTH = 200
"""Of a longer text the beginning counts."""
MAX_POINTER_LENGTH = 500
NAME = "[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*"
"""How a field is named. Two underscores are left to operators: `amount__gte`."""
POINTER = "(/([^~/]|~[01])*)+"

SearchValue = str | float | bool
"""What a field may hold."""

_NAME = re.compile(NAME)
_POINTER = re.compile(POINTER)
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")


def check_search(value: Json, pointer: str) -> Iterator[Problem]:
    """This will yield what is wrong with the `search` of a template."""
    if not isinstance(value, dict):
        yield wrong_type(value, pointer, 'an object such as {"customer": "/order/customer"}')
        return
    if len(value) > MAX_FIELDS:
        yield bad_value(pointer, f"There are {len(value):,} search fields; at most {MAX_FIELDS} are allowed.")
    for name, where in value.items():
        at = below(pointer, name)
        if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
            message = f"A search field is named by up to {MAX_NAME_LENGTH} letters, digits and single underscores."
            yield Problem(at, "bad_name", message)
        faults = tuple(text(at_least=1, at_most=MAX_POINTER_LENGTH)(where, at))
        yield from faults
        if not faults and not _POINTER.fullmatch(where):
            yield bad_value(at, "This is no JSON pointer into the context, such as /order/customer.")


def warn_of_search(template: Mapping[str, Json]) -> Iterator[TemplateWarning]:
    """This will yield the fields that the `context_schema` says can never be there."""
    schema = template.get("context_schema")
    for name, pointer in template.get("search", {}).items() if schema is not None else ():
        if not kinds_said(schema, _path(pointer)):
            message = f"The context_schema says that there is never a text, a number or a yes/no at {quoted(pointer)}."
            yield TemplateWarning(below("/search", name), "never_there", message)


def read_fields(template: Mapping[str, Json]) -> tuple[SearchField, ...]:
    """This will read the fields of a published template; what an old one says under this key may be anything."""
    search, schema = template.get("search", {}), template.get("context_schema")
    if next(check_search(search, ""), None) is not None:
        return ()
    fields = []
    for name, pointer in search.items():
        path = _path(pointer)
        kinds = kinds_said(schema, path) if schema is not None else _ALL
        fields.append(SearchField(name=name, path=path, kind=next(iter(kinds)) if len(kinds) == 1 else None))
    return tuple(fields)


def values_of(fields: Sequence[SearchField], context: Json) -> dict[str, SearchValue]:
    """This will give the fields that are there; a value of another type than its field's is not.

    Numbers are compared as floating-point numbers: one that is too large for that is not there either.
    """
    found: dict[str, SearchValue] = {}
    for field in fields:
        value = _at(context, field.path)
        kind = kind_of(value)
        if kind is None or (field.kind is not None and kind is not field.kind):
            continue
        if kind is SearchKind.TEXT:
            found[field.name] = value[:MAX_TEXT_LENGTH]
        elif kind is SearchKind.BOOLEAN or _is_finite(value):
            found[field.name] = value
    return found


def kind_of(value: Json) -> SearchKind | None:
    """This will say what a value is searched as; None: it is not searched by."""
    match value:
        case bool():
            return SearchKind.BOOLEAN
        case str():
            return SearchKind.TEXT
        case int() | float():
            return SearchKind.NUMBER
    return None


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _path(pointer: str) -> tuple[str, ...]:
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def _at(value: Json, path: Sequence[str]) -> Json:
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and _INDEX.fullmatch(part) and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


# --- what a schema says of a place ------------------------------------------------------------------------------------

_ALL = frozenset(SearchKind)
_NONE: frozenset[SearchKind] = frozenset()
_TYPES = {
    "string": SearchKind.TEXT,
    "number": SearchKind.NUMBER,
    "integer": SearchKind.NUMBER,
    "boolean": SearchKind.BOOLEAN,
}


def kinds_said(schema: Json, path: Sequence[str]) -> frozenset[SearchKind]:
    """This will say what the schema lets a value at that place be searched as; what it leaves open may be anything.

    `not`, `if` and what is unevaluated are not followed: they may say less than this, never more.
    """
    return _Schema(schema).kinds(schema, tuple(path))


class _Schema:
    """A schema that was taken: its references end."""

    def __init__(self, root: Json) -> None:
        self._root = root

    def kinds(self, schema: Json, path: tuple[str, ...]) -> frozenset[SearchKind]:
        if not isinstance(schema, dict):
            return _NONE if schema is False else _ALL
        found = self._inside(schema, path) if path else _scalars(schema)
        if "$ref" in schema:
            found &= self.kinds(self._target(schema["$ref"]), path)
        for one in schema.get("allOf", ()):
            found &= self.kinds(one, path)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                found &= _NONE.union(*(self.kinds(one, path) for one in schema[keyword]))
        return found

    def _inside(self, schema: Mapping[str, Json], path: tuple[str, ...]) -> frozenset[SearchKind]:
        part, rest = path[0], path[1:]
        types = _types(schema)
        found = _NONE
        if types is None or "object" in types:
            properties = schema.get("properties", {})
            inner = properties[part] if part in properties else schema.get("additionalProperties", True)
            found |= self.kinds(inner, rest)
        if (types is None or "array" in types) and _INDEX.fullmatch(part):
            first = schema.get("prefixItems", ())
            found |= self.kinds(first[int(part)] if int(part) < len(first) else schema.get("items", True), rest)
        return found

    def _target(self, reference: str) -> Json:
        return _at(self._root, _path(reference.removeprefix("#")))


def _scalars(schema: Mapping[str, Json]) -> frozenset[SearchKind]:
    types = _types(schema)
    found = _ALL if types is None else frozenset(_TYPES[one] for one in types if one in _TYPES)
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return found if values is None else found & {kind for kind in map(kind_of, values) if kind is not None}


def _types(schema: Mapping[str, Json]) -> Sequence[str] | None:
    types = schema.get("type")
    return [types] if isinstance(types, str) else types
