"""Search fields: how they are declared, what a schema says of them, what they find in a context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import service, workflow
from tests.templates import json_values
from workflows.definitions import search
from workflows.definitions.parsing import parse_template, problems_of, read_definition
from workflows.definitions.schema import SearchKind


def template(fields, **more):
    return workflow(service("a"), search=fields, **more)


def faults(fields):
    return [(problem.pointer, problem.code) for problem in problems_of(template(fields))]


def kinds(fields, schema):
    return {
        field.name: field.kind for field in parse_template(template(fields, context_schema=schema)).definition.search
    }


def values(fields, context, **more):
    return search.values_of(read_definition(template(fields, **more)).search, context)


# --- declaring -------------------------------------------------------------------------------------------------------


def test_fields_are_declared_in_the_template():
    parsed = parse_template(template({"customer": "/order/customer", "amount2": "/order/lines/0/amount"}))

    assert [(field.name, field.path) for field in parsed.definition.search] == [
        ("customer", ("order", "customer")),
        ("amount2", ("order", "lines", "0", "amount")),
    ]
    assert parsed.warnings == ()
    assert parse_template(workflow(service("a"))).definition.search == ()


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ("customer", [("/search", "wrong_type")]),
        ({"customer": 5}, [("/search/customer", "wrong_type")]),
        ({"customer": ""}, [("/search/customer", "bad_value")]),
        ({"customer": "order/customer"}, [("/search/customer", "bad_value")]),
        ({"customer": "/a~2"}, [("/search/customer", "bad_value")]),
        ({"customer": "/" + "a" * 500}, [("/search/customer", "bad_value")]),
        ({"the customer": "/c"}, [("/search/the customer", "bad_name")]),
        ({"a__b": "/c"}, [("/search/a__b", "bad_name")]),
        ({"a_": "/c"}, [("/search/a_", "bad_name")]),
        ({"_a": "/c"}, [("/search/_a", "bad_name")]),
        ({"": "/c"}, [("/search/", "bad_name")]),
        ({"1a": "/c"}, [("/search/1a", "bad_name")]),
        ({"ä": "/c"}, [("/search/ä", "bad_name")]),
        ({"a" * 51: "/c"}, [("/search/" + "a" * 51, "bad_name")]),
        ({"a/b": 1}, [("/search/a~1b", "bad_name"), ("/search/a~1b", "wrong_type")]),
        ({f"f{number}": "/a" for number in range(31)}, [("/search", "bad_value")]),
    ],
)
def test_each_fault_is_told_at_its_place(fields, found):
    assert faults(fields) == found


def test_thirty_fields_are_taken():
    assert faults({f"f{number}": "/a" for number in range(30)}) == []


@given(json_values)
def test_anything_may_be_sent_and_nothing_that_was_published_breaks_a_definition(value):
    problems_of(template(value))
    read_definition(template(value))


# --- what the schema says --------------------------------------------------------------------------------------------

SCHEMA = {
    "$defs": {"money": {"type": "number"}, "party": {"allOf": [{"$ref": "#/$defs/named"}]}, "named": {
        "type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False}},
    "type": "object",
    "properties": {
        "customer": {"type": "string"}, "maybe": {"type": ["string", "null"]}, "amount": {"$ref": "#/$defs/money"},
        "count": {"type": "integer"}, "paid": {"type": "boolean"}, "either": {"type": ["string", "number"]},
        "color": {"enum": ["red", "green", None]}, "size": {"const": 5}, "open": True, "closed": False,
        "any": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "party": {"$ref": "#/$defs/party"},
        "lines": {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "number"}},
        "strict": {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
        "many": {"type": "object", "additionalProperties": {"type": "boolean"}},
        "both": {"type": "string", "allOf": [{"type": "number"}]},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("pointer", "kind"),
    [
        ("/customer", "text"), ("/maybe", "text"), ("/amount", "number"), ("/count", "number"), ("/paid", "boolean"),
        ("/either", None), ("/color", "text"), ("/size", "number"), ("/open", None), ("/open/a/b", None),
        ("/any", "text"), ("/party/name", "text"), ("/lines/0", "text"), ("/lines/7", "number"),
        ("/strict/a", "text"), ("/many/x", "boolean"), ("/elsewhere", None),
    ],
)  # fmt: skip
def test_the_type_is_what_the_schema_says(pointer, kind):
    assert kinds({"f": pointer}, SCHEMA) == {"f": kind and SearchKind(kind)}


@pytest.mark.parametrize(
    "pointer",
    [
        "/closed", "/strict/b", "/strict", "/customer/name", "/lines", "/lines/x", "/party/age", "/party/name/x", "/both",
        "/lines/-1", "/lines/01",
    ],
)  # fmt: skip
def test_what_can_never_be_there_is_allowed_and_warned_of(pointer):
    warnings = parse_template(template({"f": pointer, "g": "/customer"}, context_schema=SCHEMA)).warnings

    assert [(warning.pointer, warning.code) for warning in warnings] == [("/search/f", "never_there")]


# --- what is found ---------------------------------------------------------------------------------------------------


def test_values_are_looked_up():
    fields = {
        "text": "/a/b", "number": "/n", "flag": "/f", "entry": "/l/1/x", "gone": "/no/where", "null": "/z", "list": "/l",
        "slash": "/a~1b/c~0d", "key": "/digits/0", "empty": "/",
    }  # fmt: skip
    context = {
        "a": {"b": "B"}, "n": 1.5, "f": False, "l": [0, {"x": "y"}], "z": None, "a/b": {"c~d": 7}, "digits": {"0": "null"},
        "": "e",
    }  # fmt: skip

    assert values(fields, context) == {
        "text": "B", "number": 1.5, "flag": False, "entry": "y", "slash": 7, "key": "null", "empty": "e",
    }  # fmt: skip


def test_a_value_of_another_type_than_declared_is_not_there():
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "number"}, "c": {"type": "boolean"}}}
    fields = {"a": "/a", "b": "/b", "c": "/c"}

    assert values(fields, {"a": 1, "b": True, "c": "true"}, context_schema=schema) == {}
    assert values(fields, {"a": "1", "b": 2, "c": True}, context_schema=schema) == {"a": "1", "b": 2, "c": True}


def test_of_long_texts_the_beginning_counts_and_of_endless_numbers_nothing():
    assert values({"t": "/t", "n": "/n"}, {"t": "x" * 201, "n": 10**400}) == {"t": "x" * 200}


@given(json_values, st.lists(st.sampled_from(["a", "0", "", "x/y", "~"]), max_size=4))
def test_any_place_of_any_context_can_be_asked_for(context, path):
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in ["c", *path])

    found = values({"f": pointer}, {"c": context})

    assert set(found) <= {"f"}
    assert all(isinstance(value, str | bool | int | float) for value in found.values())
