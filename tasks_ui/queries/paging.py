"""Pages by key, both ways: no offsets, so that neither size nor new rows disturb them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and the cursors that lead on; None where there is nothing more."""

    rows: Sequence[Any]
    newer: str | None
    older: str | None


def page_of(
    rows: QuerySet[Any], *, ordering: str, size: int, older: str | None = None, newer: str | None = None
) -> Page:
    """This will take the page after the cursor `older`, or the one before the cursor `newer`, or the first.

    An unreadable cursor gives the first page.
    """
    descending = ordering.startswith("-")
    field = ordering.lstrip("-")
    backwards = _read(newer) is not None
    mark = _read(newer) or _read(older)
    down = descending != backwards
    if mark is not None:
        try:
            value, key = _typed(rows, field, mark)
        except (ValidationError, ValueError, TypeError):
            mark = None
            down, backwards = descending, False
        else:
            way = "lt" if down else "gt"
            rows = rows.filter(Q(**{f"{field}__{way}": value}) | Q(**{field: value, f"pk__{way}": key}))
    sign = "-" if down else ""
    found = list(rows.order_by(f"{sign}{field}", f"{sign}pk")[: size + 1])
    more, found = len(found) > size, found[:size]
    if backwards:
        found.reverse()
    has_newer = more if backwards else mark is not None
    has_older = mark is not None if backwards else more
    return Page(
        rows=found,
        newer=_write(found[0], field) if found and has_newer else None,
        older=_write(found[-1], field) if found and has_older else None,
    )


def _typed(rows: QuerySet[Any], field: str, mark: list[Any]) -> tuple[Any, Any]:
    meta = rows.model._meta
    return meta.get_field(field).to_python(mark[0]), meta.pk.to_python(mark[1])


def _write(row: Any, field: str) -> str:
    value = getattr(row, field)
    text = json.dumps([value.isoformat() if hasattr(value, "isoformat") else value, str(row.pk)])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(cursor: str | None) -> list[Any] | None:
    if not cursor or len(cursor) > 1000:
        return None
    try:
        value = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        return None
    return value if isinstance(value, list) and len(value) == 2 and value[0] is not None else None
