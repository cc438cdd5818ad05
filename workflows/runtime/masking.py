"""What nobody is shown of an instance's data: the values of keys that are secret.

Note [Masked where it is shown]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
The state of an instance is the fold of its log, and steps and services need the true values; so these are kept as they
came, in the database and in the messages that carry work. Everything that shows data to somebody (pages, the admin, the
API) asks here first, whoever looks: operators and admins see no more than others. Whoever reads the database sees all.

A key is secret when MASKED_KEYS says so, or a schema of the template (`"writeOnly": true`). A secret that somebody puts
into a text, under another key or into the message of an error is not found.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from workflows.conf import settings
from workflows.models.fields import dump
from workflows.runtime.loading import definition_of

MASK = "••••••••"

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def masked(value: Any, *, template: uuid.UUID | None = None) -> Any:
    """This will give the value as it may be shown; `template` is that of the instance whose data it is."""
    names = _of_template(template) if template is not None else frozenset()
    return _masked(value, tuple(settings.MASKED_KEYS), names)


def masked_at(pointer: str, value: Any, *, template: uuid.UUID | None = None) -> Any:
    """This will give the value at a JSON pointer as it may be shown; `template` is as for `masked`."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]
    secret, names = tuple(settings.MASKED_KEYS), _of_template(template) if template is not None else frozenset()
    hidden = value is not None and any(_is_secret(part, secret, names) for part in parts)
    return MASK if hidden else _masked(value, secret, names)


def is_masked(path: Iterable[str], *, template: uuid.UUID) -> bool:
    """This will tell whether what lies at this path of an instance's data is shown to nobody."""
    secret, names = tuple(settings.MASKED_KEYS), _of_template(template)
    return any(_is_secret(part, secret, names) for part in path)


def masked_text(text: str) -> str:
    """This will give a text as it may be shown; one that is no JSON is shown as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    shown = masked(value)
    return text if shown == value else dump(shown)


def _masked(value: Any, secret: tuple[str, ...], names: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {
            key: MASK if inner is not None and _is_secret(key, secret, names) else _masked(inner, secret, names)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(inner, secret, names) for inner in value]
    return value


def _is_secret(key: str, secret: tuple[str, ...], names: frozenset[str]) -> bool:
    return key in names or _ends_in_one(key, secret)


@lru_cache(maxsize=8192)
def _ends_in_one(key: str, secret: tuple[str, ...]) -> bool:
    """Whether the last words of a key are one of these: `token` is meant by `token`, `access_token`, `accessToken`."""
    words = _words(key)
    return any(words[-len(wanted) :] == wanted for wanted in map(_words, secret) if wanted)


def _words(key: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(key)]


@lru_cache(maxsize=512)
def _of_template(template: uuid.UUID) -> frozenset[str]:
    # A version never changes.
    definition = definition_of(template)
    schemas = [definition.context_schema, *(task.form for task in definition.tasks)]
    return frozenset(name for schema in schemas if schema is not None for name in _write_only(schema))


def _write_only(schema: Any) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    properties = schema.get("properties")
    for name, inner in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(inner, Mapping) and inner.get("writeOnly") is True:
            yield name
        yield from _write_only(inner)
    yield from _write_only(schema.get("items"))


def mask_row(row: Any, names: Iterable[str]) -> None:
    """This will mask these attributes of a row that is only looked at, and never saved."""
    instance = getattr(row, "instance", row)
    template = getattr(instance, "template_id", None)
    for name in names:
        setattr(row, name, masked(getattr(row, name), template=template))
