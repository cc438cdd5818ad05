"""A JSON Schema as a form on the server: what is typed becomes JSON, and the schema itself is what judges it."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils import timezone

from tasks_ui.words import readable
from workflows.definitions.form_schema import validate
from workflows.definitions.problems import Problem

_LONG = 200
_RADIOS = 4
_SCALARS = ("string", "integer", "number", "boolean")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}([.][0-9]{1,18})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shown:
    """One field as a template prints it.

    `kind` picks the control: text, long, email, url, date, moment, whole, decimal, yes, radio, choice, lines.
    """

    name: str
    id: str
    kind: str
    label: str
    help: str
    required: bool
    text: str
    choices: Sequence[tuple[str, str, bool]]
    errors: Sequence[str]
    limit: int | None


class SchemaField(forms.Field):
    """A property of the schema: reads what was typed as the JSON that the schema asks for; empty is left out."""

    def __init__(self, schema: Mapping[str, Any], *, name: str, required: bool) -> None:
        super().__init__(required=False)
        self.schema, self.key, self.must = schema, name, required
        self.kind = _kind(schema)
        self.widget = forms.CheckboxInput() if self.kind == "yes" else forms.TextInput()

    def clean(self, value: Any) -> Any:
        """This will give the JSON value, or None where nothing was typed; raises ValidationError."""
        if self.kind == "yes":
            return bool(value)
        text = "" if value is None else str(value).replace("\r\n", "\n")
        if self.kind == "lines":
            items = [line.strip() for line in text.split("\n") if line.strip()]
            return [_read(line, _kind(self.schema.get("items", {})), self.schema.get("items", {})) for line in items]
        if not text.strip():
            return None
        return _read(text if self.kind == "long" else text.strip(), self.kind, self.schema)

    def text_of(self, value: Any) -> str:
        """This will write a JSON value as it would be typed."""
        if value is None:
            return ""
        if self.kind == "lines":
            return "\n".join(str(item) for item in value) if isinstance(value, list) else str(value)
        if self.kind in ("radio", "choice"):
            options = _options(self.schema)
            return str(options.index(value)) if value in options else ""
        if self.kind == "yes":
            return "on" if value is True or value == "on" else ""
        if self.kind == "moment":
            return str(value)[:16]
        return str(value)


class SchemaForm(forms.Form):
    """A form for one schema; see `schema_form`."""

    schema: Mapping[str, Any] = {}

    def value(self) -> dict[str, Any]:
        """This will give what was filled in, as JSON; fields that were left empty are not in it."""
        found: dict[str, Any] = {}
        for field in self._schema_fields():
            value = self.cleaned_data.get(field.key)
            if value is not None and not (field.kind == "lines" and not value and not field.must):
                found[field.key] = value
        return found

    def clean(self) -> dict[str, Any]:
        """This will let the schema judge the whole; each problem stands at its field."""
        cleaned = super().clean() or {}
        if not self.errors:
            self.add_problems(validate(self.schema, self.value()))
        return cleaned

    def add_problems(self, problems: Iterable[Problem | Mapping[str, str]], *, below: str = "") -> None:
        """This will put problems, or errors of an answer (whose pointers begin with `below`), at their fields."""
        for problem in problems:
            if isinstance(problem, Problem):
                pointer, message = problem.pointer, problem.message
            else:
                pointer, message = problem["pointer"].removeprefix(below), problem["message"]
            name = pointer.split("/")[1].replace("~1", "/").replace("~0", "~") if pointer.startswith("/") else None
            self.add_error(name if name in self.fields else None, message)

    def shown(self) -> list[Shown]:
        """This will give the fields as templates print them, in the schema's order."""
        return [self._shown(field, number) for number, field in enumerate(self._schema_fields())]

    def typed(self) -> dict[str, str]:
        """This will give what was typed, by property: what a draft keeps."""
        return {field.key: str(self.data.get(self.add_prefix(field.key), "")) for field in self._schema_fields()}

    def _schema_fields(self) -> list[SchemaField]:
        return [field for field in self.fields.values() if isinstance(field, SchemaField)]

    def _shown(self, field: SchemaField, number: int) -> Shown:
        name = self.add_prefix(field.key)
        if self.is_bound:
            text = str(self.data.get(name, ""))
        else:
            initial = self.initial.get(field.key, field.schema.get("default"))
            text = initial if isinstance(initial, Typed) else field.text_of(initial)
        options = _options(field.schema) if field.kind in ("radio", "choice") else []
        return Shown(
            name=name,
            id=f"field-{number}",
            kind=field.kind,
            label=str(field.schema.get("title") or readable(field.key)),
            help=str(field.schema.get("description") or ""),
            required=field.must and field.kind != "yes",
            text=text,
            choices=[(str(n), readable(str(option)), str(n) == text) for n, option in enumerate(options)],
            errors=[str(error) for error in self.errors.get(field.key, [])],
            limit=field.schema.get("maxLength"),
        )


class Typed(str):
    """What somebody typed before, as it was typed: a draft."""

    __slots__ = ()


def fits(schema: Mapping[str, Any] | None) -> bool:
    """This will tell whether a schema can be shown as fields: an object of plain values, and lists of them."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, Mapping) or not properties:
        return False
    if any(key in (schema or {}) for key in ("allOf", "anyOf", "oneOf", "if", "not", "$ref", "patternProperties")):
        return False
    return all(isinstance(part, Mapping) and _kind(part) for part in properties.values())


def schema_form(schema: Mapping[str, Any]) -> type[SchemaForm]:
    """This will make the form of a schema that `fits`."""
    required = set(schema.get("required", ()))
    fields: dict[str, Any] = {
        name: SchemaField(part, name=name, required=name in required)
        for name, part in schema.get("properties", {}).items()
    }
    return type("FormOfSchema", (SchemaForm,), {**fields, "schema": schema})


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return "radio" if len(_options(schema)) <= _RADIOS else "choice"
    match schema.get("type"):
        case "boolean":
            return "yes"
        case "integer":
            return "whole"
        case "number":
            return "decimal"
        case "string":
            if schema.get("writeOnly") is True and "format" not in schema:
                return "secret"
            known = {"date": "date", "date-time": "moment", "email": "email", "uri": "url"}
            long = schema.get("maxLength", 0) > _LONG
            return known.get(schema.get("format", ""), "long" if long else "text")
        case "array":
            items = schema.get("items")
            plain = isinstance(items, Mapping) and items.get("type") in _SCALARS and "enum" not in items
            return "lines" if plain else ""
    return ""


def _options(schema: Mapping[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _read(text: str, kind: str, schema: Mapping[str, Any]) -> Any:
    match kind:
        case "whole":
            if not _WHOLE.fullmatch(text):
                raise forms.ValidationError("Write a whole number, such as 12.")
            return int(text)
        case "decimal":
            if not _DECIMAL.fullmatch(text):
                raise forms.ValidationError("Write a number with a point, such as 12.50.")
            number = float(text)
            return int(number) if math.isfinite(number) and number == int(number) and "." not in text else number
        case "radio" | "choice":
            options = _options(schema)
            if not text.isascii() or not text.isdigit() or int(text) >= len(options):
                raise forms.ValidationError("Pick one of the choices.")
            return options[int(text)]
        case "yes":
            if text.lower() not in ("yes", "true", "no", "false"):
                raise forms.ValidationError("Write yes or no.")
            return text.lower() in ("yes", "true")
        case "moment":
            return _moment(text)
    return text


def _moment(text: str) -> str:
    try:
        value = dt.datetime.fromisoformat(text)
    except ValueError:
        raise forms.ValidationError("Write a date with a time.") from None
    # A browser sends the visitor's wall clock, without a zone.
    if value.tzinfo is None:
        value = timezone.make_aware(value)
    return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
