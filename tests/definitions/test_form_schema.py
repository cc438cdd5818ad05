"""Schemas of forms and contexts: which are taken, and what is told about a value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.templates import FORM, json_values
from workflows.definitions.form_schema import check_schema, validate
from workflows.definitions.formats import is_date, is_date_time, is_email, is_uri


def form(**properties):
    return {"type": "object", "properties": properties}


def faults(schema, *, nested=False):
    return [(problem.pointer, problem.code) for problem in check_schema(schema, pointer="", nested=nested)]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        FORM,
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": False},
        form(a={"type": "string", "minLength": 1, "maxLength": 10, "title": "A", "x-rows": 3}),
        form(a={"enum": ["x", 1, None]}, b={"const": True}),
        form(a={"type": "integer", "minimum": -1, "exclusiveMaximum": 2.5, "multipleOf": 0.5, "default": 0}),
        form(a={"type": "array", "items": {"type": "string", "format": "email"}, "uniqueItems": True, "minItems": 1}),
    ],
)
def test_forms_that_are_taken(schema):
    assert faults(schema) == []
    assert faults(schema, nested=True) == []
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "pointers"),
    [
        ({"type": "array"}, ["/type"]),
        ({"properties": []}, ["/properties"]),
        ({"required": "a"}, ["/required"]),
        ({"required": ["a", "a"]}, ["/required"]),
        ({"allOf": []}, ["/allOf"]),
        ({"$ref": "https://example.com/"}, ["/$ref"]),
        ({"additionalProperties": {}}, ["/additionalProperties"]),
        (form(a={"type": "string", "pattern": "^(a+)+$"}), ["/properties/a/pattern"]),
        (form(a={"type": "object"}), ["/properties/a/type"]),
        (form(a={"type": "null"}), ["/properties/a/type"]),
        (form(a={"type": ["string"]}), ["/properties/a/type"]),
        (form(a={}), ["/properties/a"]),
        (form(a=True), ["/properties/a"]),
        (form(a={"type": "string", "format": "regex"}), ["/properties/a/format"]),
        (form(a={"type": "string", "minLength": -1}), ["/properties/a/minLength"]),
        (form(a={"type": "string", "maxLength": "9"}), ["/properties/a/maxLength"]),
        (form(a={"type": "string", "requierd": True}), ["/properties/a/requierd"]),
        (form(a={"type": "number", "multipleOf": 0}), ["/properties/a/multipleOf"]),
        (form(a={"type": "number", "minimum": True}), ["/properties/a/minimum"]),
        (form(a={"enum": []}), ["/properties/a/enum"]),
        (form(a={"enum": ["x", "x"]}), ["/properties/a/enum"]),
        (form(a={"enum": [{}]}), ["/properties/a/enum/0"]),
        (form(a={"type": "array"}), ["/properties/a/items"]),
        (form(a={"type": "array", "items": {"type": "array"}}), ["/properties/a/items/type"]),
        (form(**{"a/b~": {"type": "x"}}), ["/properties/a~1b~0/type"]),
        (form(a={"type": "x"}, b={"type": "y"}), ["/properties/a/type", "/properties/b/type"]),
    ],
)
def test_forms_that_are_refused(schema, pointers):
    assert faults(schema) == [(pointer, "bad_schema") for pointer in pointers]


@pytest.mark.parametrize(
    "schema",
    [
        form(a=form(b={"type": ["string", "null"]})),
        {"$defs": {"x": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/x"}}},
        {"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "if": True, "then": {}, "unknown": 1},
        {"type": "array", "prefixItems": [{"type": "integer"}], "items": False},
    ],
)
def test_context_schemas_that_are_taken(schema):
    assert faults(schema, nested=True) == []


def doubling(times):
    definitions = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(times)
    }
    return {"$defs": {**definitions, f"d{times}": {"type": "string"}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "text"}, "/type"),
        ({"properties": {"a": {"minimum": "1"}}}, "/properties/a/minimum"),
        ({"properties": {"a": {"pattern": "a"}}}, "/properties/a/pattern"),
        ({"items": {"patternProperties": {"a": {}}}}, "/items/patternProperties"),
        ({"$id": "https://example.com/"}, "/$id"),
        ({"$ref": "https://example.com/"}, "/$ref"),
        ({"$ref": "#/$defs/nobody"}, "/$ref"),
        ({"$ref": "#anchor"}, "/$ref"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"),
        ({"properties": {"a": {"$ref": "#"}}}, "/properties/a/$ref"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "/$defs/a/$ref"),
        (doubling(25), "/$ref"),
        ({"anyOf": [{}] * 10_001}, ""),
    ],
)
def test_context_schemas_that_are_refused(schema, pointer):
    assert (pointer, "bad_schema") in [(at.rstrip("/"), code) for at, code in faults(schema, nested=True)]


@pytest.mark.parametrize("schema", [None, True, 1, "x", []])
@pytest.mark.parametrize("nested", [False, True])
def test_a_schema_is_an_object(schema, nested):
    assert faults(schema, nested=nested) == [("", "wrong_type")]


keywords = st.sampled_from([*Draft202012Validator.VALIDATORS, "$defs", "default", "title", "x-y"])
schemas = st.recursive(
    json_values | st.sampled_from(["string", "object", "array", "integer", "date", ["string"], "#", "#/$defs/a"]),
    lambda inner: st.dictionaries(keywords | st.sampled_from("abc"), inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=8,
)


@given(schemas, json_values, st.booleans())
def test_a_schema_that_is_taken_is_valid_and_checks_any_value(schema, value, nested):
    if not faults(schema, nested=nested):
        Draft202012Validator.check_schema(schema)
        validate(schema, value)


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"type": "object"}, [], [("", "type")]),
        ({"required": ["a", "b/c"]}, {}, [("/a", "required"), ("/b~1c", "required")]),
        (form(a={"type": "number"}), {"a": True}, [("/a", "type")]),
        (form(a={"type": "number"}), {"a": "5"}, [("/a", "type")]),
        (form(a={"type": "integer"}), {"a": 2.0}, []),
        (form(a={"type": "integer"}), {"a": 2.5}, [("/a", "type")]),
        (form(a={"type": "string"}), {"a": None}, [("/a", "type")]),
        (form(a={"enum": [1]}), {"a": True}, [("/a", "enum")]),
        (form(a={"enum": ["x"]}), {"a": "y"}, [("/a", "enum")]),
        (form(a={"const": "x"}), {"a": "y"}, [("/a", "const")]),
        (form(a={"minimum": 3, "multipleOf": 2}), {"a": 1}, [("/a", "minimum"), ("/a", "multipleOf")]),
        (form(a={"multipleOf": 0.01}), {"a": 19.99}, []),
        (form(a={"multipleOf": 0.01}), {"a": 19.999}, [("/a", "multipleOf")]),
        (form(a={"multipleOf": 1e-308}), {"a": 1e308}, []),
        (form(a={"minLength": 1}), {"a": ""}, [("/a", "minLength")]),
        (form(a={"type": "array", "items": {"type": "string"}}), {"a": ["x", 1]}, [("/a/1", "type")]),
        (form(a={"uniqueItems": True}), {"a": [1, "1", True, [1.0], [1]]}, [("/a", "uniqueItems")]),
        (form(a={"uniqueItems": True}), {"a": [1, True, "1", None]}, []),
        ({**form(a={"const": 1}), "additionalProperties": False}, {"a": 1, "b": 1, "c": 1},
         [("/b", "additionalProperties"), ("/c", "additionalProperties")]),
        ({"additionalProperties": {"type": "string"}}, {"b": 1}, [("/b", "type")]),
        (form(a={"type": "string", "format": "date"}), {"a": "31/02"}, [("/a", "format")]),
        (form(a={"format": "date"}), {"a": 7}, []),
        # The library forgets the place of what a schema `false` forbids.
        (form(a=False), {"a": 7}, [("", "bad_value")]),
    ],
)  # fmt: skip
def test_what_is_told_about_a_value(schema, value, expected):
    problems = validate(schema, value)

    assert [(problem.pointer, problem.code) for problem in problems] == expected
    assert all(problem.message.endswith(".") for problem in problems)


def test_a_long_list_is_compared_in_one_pass():
    value = {"a": [{"n": n} for n in range(20_000)]}

    assert validate(form(a={"uniqueItems": True}), value) == ()


def test_nothing_is_fetched():
    assert [problem.code for problem in validate({"$ref": "https://example.invalid/schema"}, 1)] == ["bad_value"]


def test_a_flood_of_faults_is_cut():
    assert len(validate(form(a={"items": {"type": "string"}}), {"a": [1] * 5_000})) == 1_000


@pytest.mark.parametrize("value", ["2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"])
def test_dates(value):
    assert is_date(value)
    assert is_date_time(f"{value}T23:59:59.123456789+14:00")
    assert is_date_time(f"{value}t00:00:00z")


@pytest.mark.parametrize(
    "value",
    ["2023-02-29", "1900-02-29", "2024-13-01", "2024-00-10", "2024-04-31", "0000-01-01", "20240229", "2024-W01-1",
     "2024-2-9", "٢٠٢٤-01-01", "2024-02-29\n", "", "31/02"],
)  # fmt: skip
def test_what_is_no_date(value):
    assert not is_date(value)
    assert not is_date_time(f"{value}T10:00:00Z")


@pytest.mark.parametrize(
    "value", ["2024-02-29", "2024-02-29 10:00:00Z", "2024-02-29T10:00:00", "2024-02-29T24:00:00Z",
              "2024-02-29T10:00Z", "2024-02-29T10:00:00+24:00", "2024-02-29T10:60:00Z", "2024-02-29T10:00:60Z"],
)  # fmt: skip
def test_what_is_no_moment(value):
    assert not is_date_time(value)


@pytest.mark.parametrize("value", ["ada@example.com", "a.b+c@x-y.example", "ada@localhost"])
def test_addresses_of_people(value):
    assert is_email(value)


@pytest.mark.parametrize(
    "value", ["", "ada", "@x", "ada@", "a b@x", "a..b@x", ".a@x", "a@-x", "a@x-", "a@x..y", "a@b@c", "a@x\n", "é@x",
              "a" * 65 + "@x", "a@" + "x" * 64, "a@" + "x." * 150 + "x"],
)  # fmt: skip
def test_what_is_no_address_of_a_person(value):
    assert not is_email(value)


@pytest.mark.parametrize(
    "value",
    ["https://example.com", "https://u:p@example.com:80/a/b?c=d#e", "http://[::1]/", "urn:isbn:1", "mailto:a@b"],
)
def test_addresses_of_pages(value):
    assert is_uri(value)


@pytest.mark.parametrize(
    "value", ["", "/a", "example.com", "https://", "http:///a", "http://a b", "http://a:b/", "http://é", "a:%zz", "a:#b#c",
              "1a:b", "http://x\n", "http://[::1", "x:["],
)  # fmt: skip
def test_what_is_no_address_of_a_page(value):
    assert not is_uri(value)
