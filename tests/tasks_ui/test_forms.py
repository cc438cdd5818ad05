"""A JSON Schema as a form: what is typed becomes exactly the JSON that the schema asks for."""

import pytest

from tasks_ui.forms import Typed, fits, schema_form

SCHEMA = {
    "type": "object",
    "required": ["amount", "who"],
    "properties": {
        "amount": {"type": "integer", "minimum": 1, "title": "Amount"},
        "rate": {"type": "number", "maximum": 20},
        "who": {"type": "string", "maxLength": 20},
        "story": {"type": "string", "maxLength": 2000},
        "urgent": {"type": "boolean"},
        "kind": {"enum": ["a", "b", 3]},
        "country": {"enum": ["IT", "FR", "DE", "NL", "AT"]},
        "on": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "mail": {"type": "string", "format": "email"},
        "page": {"type": "string", "format": "uri"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "sums": {"type": "array", "items": {"type": "integer"}},
    },
}
GOOD = {"amount": "3", "who": "Ada"}


def filled(**typed):
    return schema_form(SCHEMA)({f"data-{name}": text for name, text in (GOOD | typed).items()}, prefix="data")


def test_each_kind_has_its_control():
    kinds = {field.name: field.kind for field in filled().shown()}

    assert list(kinds.values()) == [
        "whole", "decimal", "text", "long", "yes", "radio", "choice", "date", "moment", "email", "url", "lines", "lines",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("amount", " 12 ", 12),
        ("rate", "6.5", 6.5),
        ("rate", "6", 6),
        ("who", "<b>{{ 7*7 }}", "<b>{{ 7*7 }}"),
        ("urgent", "on", True),
        ("kind", "2", 3),
        ("country", "4", "AT"),
        ("on", "2028-02-29", "2028-02-29"),
        ("at", "2026-03-01T10:30", "2026-03-01T10:30:00Z"),
        ("tags", "one\r\n two \r\n\r\n", ["one", "two"]),
        ("sums", "1\n2", [1, 2]),
    ],
)
def test_what_is_typed_becomes_json(name, text, value):
    form = filled(**{name: text})

    assert form.is_valid(), form.errors
    assert form.value()[name] == value
    assert type(form.value()[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("amount", "0"), ("amount", "1.5"), ("amount", "١٢"), ("amount", "0x10"), ("amount", "1,000"), ("amount", "9" * 400),
        ("rate", "1e309"), ("rate", "nan"), ("rate", "21"), ("who", ""), ("who", "x" * 21), ("kind", "3"), ("kind", "b"),
        ("country", "-1"), ("on", "31/02"), ("on", "2027-02-29"), ("at", "soon"), ("mail", "nobody"), ("page", "nowhere"),
        ("sums", "1\nx"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_at_its_field_and_kept(name, text):
    form = filled(**{name: text})

    assert not form.is_valid()
    assert list(form.errors) == [name]
    assert next(field for field in form.shown() if field.name == f"data-{name}").text == text


def test_an_empty_field_is_left_out():
    form = filled()

    assert form.is_valid()
    assert form.value() == {"amount": 3, "who": "Ada", "urgent": False}


def test_a_draft_comes_back_as_it_was_typed():
    form = schema_form(SCHEMA)(initial={"amount": Typed("twelve"), "kind": Typed("1")}, prefix="data")

    shown = {field.name: field for field in form.shown()}
    assert shown["data-amount"].text == "twelve"
    assert [chosen for _, _, chosen in shown["data-kind"].choices] == [False, True, False]


def test_errors_of_an_answer_stand_at_their_fields():
    form = filled()
    form.is_valid()
    form.add_problems([{"pointer": "/data/who", "message": "Nobody knows them."}], below="/data")

    assert form.errors["who"] == ["Nobody knows them."]


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"type": "object"},
        {"properties": {"a": {"type": "object", "properties": {}}}},
        {"properties": {"a": {"type": "string"}}, "allOf": [{}]},
        {"properties": {"a": {"type": ["string", "null"]}}},
    ],
)
def test_what_is_more_than_fields_does_not_fit(schema):
    assert not fits(schema)
