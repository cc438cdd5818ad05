"""Which JSON Schemas we take for the context of a start.

All of 2020-12, except regular expressions (one can be written that never ends), references to other documents, and
references that lead back to themselves or multiply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from workflows.definitions.problems import Problem, below
from workflows.definitions.schema import Json

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_SCHEMA_SIZE = 10_000
"""Nodes of a schema, those that its references lead to counted each time."""
MAX_SCHEMA_HEIGHT = 48
"""Levels of a schema, references followed."""
_MAX_PROBLEMS = 1_000

_ONE = frozenset(
    [
        "additionalProperties",
        "contains",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    ]
)
_SEVERAL = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_NAMED = frozenset(("$defs", "definitions", "dependentSchemas", "properties"))
_NOT_TAKEN = {
    "pattern": "Regular expressions are not taken: one can be written that never ends.",
    "patternProperties": "Regular expressions are not taken: one can be written that never ends.",
    **dict.fromkeys(
        ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$recursiveAnchor", "$vocabulary"),
        "Only references of the form #/$defs/name are taken.",
    ),
}


@cache
def _meta() -> Draft202012Validator:
    # Not before there is something to check: see form_schema.validate.
    from jsonschema import Draft202012Validator

    return Draft202012Validator(Draft202012Validator.META_SCHEMA)


def check_context_schema(schema: dict[str, Json], *, pointer: str) -> Iterator[Problem]:
    """This will yield why a schema is not taken, each fault with the pointer of the faulty node."""
    nodes = dict(_walk(schema, ""))
    if len(nodes) > MAX_SCHEMA_SIZE:
        yield _bad(pointer, f"The schema has {len(nodes):,} nodes; at most {MAX_SCHEMA_SIZE:,} are allowed.")
        return
    problems = [
        _bad(below(pointer, *error.absolute_path), f"Not JSON Schema 2020-12: {error.message[:200]}")
        for error in islice(_meta().iter_errors(schema), _MAX_PROBLEMS)
    ]
    yield from problems
    for at, node in nodes.items():
        for keyword in [keyword for keyword in node if keyword in _NOT_TAKEN]:
            yield _bad(below(pointer + at, keyword), _NOT_TAKEN[keyword])
        if node.get("$schema", DIALECT) != DIALECT:
            yield _bad(below(pointer + at, "$schema"), "Only JSON Schema 2020-12 is taken.")
        if "$ref" in node and _target(node) not in nodes:
            yield _bad(below(pointer + at, "$ref"), "This refers to nothing in this schema, such as #/$defs/name.")
    if not problems:
        yield from _check_expanse(nodes, pointer)


def _walk(schema: dict[str, Json], at: str) -> Iterator[tuple[str, dict[str, Json]]]:
    """Every schema inside a schema, with the pointer to it; the levels are bounded by those of the document."""
    yield at, schema
    for way, inner in _subschemas(schema):
        yield from _walk(inner, below(at, *way))


def _subschemas(schema: dict[str, Json]) -> Iterator[tuple[tuple[str | int, ...], dict[str, Json]]]:
    for keyword, value in schema.items():
        if keyword in _ONE:
            found: Any = [((keyword,), value)]
        elif keyword in _SEVERAL and isinstance(value, list):
            found = [((keyword, index), entry) for index, entry in enumerate(value)]
        elif keyword in _NAMED and isinstance(value, dict):
            found = [((keyword, name), entry) for name, entry in value.items()]
        else:
            continue
        yield from ((way, inner) for way, inner in found if isinstance(inner, dict))


def _target(node: Mapping[str, Json]) -> str | None:
    reference = node.get("$ref")
    return reference[1:] if isinstance(reference, str) and reference.startswith("#") and "%" not in reference else None


class _Endless(Exception):
    """Following references does not end within the limits."""


def _check_expanse(nodes: Mapping[str, dict[str, Json]], pointer: str) -> Iterator[Problem]:
    """References may neither lead in a circle nor, by doubling again and again, to more nodes than can be checked."""
    known: dict[str, tuple[int, int]] = {}

    def expanse(at: str, depth: int) -> tuple[int, int]:
        """The size and the height of the schema at a pointer, with all that its references lead to."""
        if depth > MAX_SCHEMA_HEIGHT:
            raise _Endless(at)
        if at not in known:
            inner = [below(at, *way) for way, _ in _subschemas(nodes[at])]
            target = _target(nodes[at])
            parts = [expanse(one, depth + 1) for one in (inner if target is None else [*inner, target]) if one in nodes]
            known[at] = 1 + sum(size for size, _ in parts), 1 + max((height for _, height in parts), default=0)
        size, height = known[at]
        if depth + height > MAX_SCHEMA_HEIGHT + 1 or size > MAX_SCHEMA_SIZE:
            raise _Endless(at)
        return known[at]

    references = [at for at, node in nodes.items() if "$ref" in node]
    for at in [*references, ""]:
        try:
            expanse(at, 0)
        except _Endless:
            where = below(pointer + at, "$ref") if at in references else pointer
            yield _bad(where, "Followed to the end, the references lead in a circle, too deep or too far.")
            return


def _bad(pointer: str, message: str) -> Problem:
    return Problem(pointer, "bad_schema", message)
