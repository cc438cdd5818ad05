"""What one method of a route takes and gives: the checks and the documentation are both made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workflows.api.bodies import Field
from workflows.api.parameters import Parameter


@dataclass(frozen=True, slots=True)
class Document:
    """A body that somebody else judges (a template, a message): read as JSON, handed on whole."""

    schema: str


@dataclass(frozen=True, slots=True)
class Call:
    """One method of a route.

    `answers` maps a status to the name of a schema; `refusals` are the statuses that only this call has beside those
    that follow from its kind (see `schema`); `versioned` says that the thing carries an ETag and honours If-Match.
    """

    summary: str
    answers: Mapping[int, str]
    about: str = ""
    query: Sequence[Parameter] = ()
    body: Sequence[Field] | Document | None = None
    refusals: Sequence[int] = ()
    versioned: bool = False
    example: Any = None
    headers: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
