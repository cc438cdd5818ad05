"""Lists by keyset: a cursor says after which row to go on, so that pages neither repeat nor miss a row.

No page is found by counting: the hundredth costs what the first does, and rows inserted meanwhile move nothing.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import json
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from workflows.api import parameters

_SIGNATURE = 12


@dataclass(frozen=True, slots=True)
class Key:
    """One column of an order; `read` makes its value of the cursor's text. The last key of an order is unique."""

    column: str
    descending: bool = False
    read: Callable[[Any], Any] = str


def moments(column: str, *, descending: bool = False) -> Key:
    """This will make a key of a column of moments."""
    return Key(column, descending, dt.datetime.fromisoformat)


def ids(*, descending: bool = False) -> Key:
    """This will make the last key of rows with random ids."""
    return Key("id", descending, uuid.UUID)


def numbers(column: str, *, descending: bool = False) -> Key:
    """This will make a key of a column of whole numbers."""
    return Key(column, descending, int)


def page(
    request: HttpRequest,
    rows: QuerySet[Any],
    *,
    keys: Sequence[Key],
    query: Mapping[str, Any],
    render: Callable[[Any], Mapping[str, Any]],
) -> dict[str, Any]:
    """This will give one page of the rows, with the addresses of its neighbours."""
    limit, cursor = query["limit"], query["cursor"]
    backwards, place = _read_cursor(cursor, keys) if cursor else (False, None)
    if place is not None:
        rows = rows.filter(_beyond(keys, place, backwards=backwards))
    # One more than asked tells whether there is a page behind this one.
    found = list(rows.order_by(*_order(keys, backwards=backwards))[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if backwards:
        found.reverse()
    before, after = (more, True) if backwards else (place is not None, more)
    return {
        "results": [render(row) for row in found],
        "next": _address(request, _cursor(found[-1], keys, backwards=False)) if found and after else None,
        "previous": _address(request, _cursor(found[0], keys, backwards=True)) if found and before else None,
    }


def page_of_names(request: HttpRequest, names: Sequence[str], *, query: Mapping[str, Any]) -> dict[str, Any]:
    """This will give one page of names that are at hand, in their order, with the addresses of its neighbours."""
    keys = (Key("name"),)
    limit, cursor = query["limit"], query["cursor"]
    backwards, place = _read_cursor(cursor, keys) if cursor else (False, None)
    found = sorted(names)
    start = 0 if place is None else bisect_left(found, place[0]) if backwards else bisect_right(found, place[0])
    first, end = (max(0, start - limit), start) if backwards else (start, start + limit)
    shown = found[first:end]
    after = bool(shown) and end < len(found)
    return {
        "results": shown,
        "next": _address(request, _signed([shown[-1]], keys, backwards=False)) if after else None,
        "previous": _address(request, _signed([shown[0]], keys, backwards=True)) if shown and first > 0 else None,
    }


def holding(part: str, *columns: str) -> Q:
    """This will keep rows that hold the text in one of the columns, whatever its case; `%` and `_` mean themselves.

    SQLite folds the case of ASCII only, so that other scripts are sought in each case.
    """
    found = Q()
    for form in {part} if part.isascii() else {part, part.lower(), part.upper(), part.title()}:
        for column in columns:
            found |= Q(**{f"{column}__icontains": form})
    return found


def _order(keys: Sequence[Key], *, backwards: bool) -> list[str]:
    return [("-" if key.descending is not backwards else "") + key.column for key in keys]


def _beyond(keys: Sequence[Key], place: Sequence[Any], *, backwards: bool) -> Q:
    """This will keep the rows behind a place: a > x, or a = x and (b > y, or …); `a >= x` lets an index begin."""
    key, value = keys[0], place[0]
    word = "lt" if key.descending is not backwards else "gt"
    beyond = Q(**{f"{key.column}__{word}": value})
    if len(keys) == 1:
        return beyond
    rest = Q(**{key.column: value}) & _beyond(keys[1:], place[1:], backwards=backwards)
    return Q(**{f"{key.column}__{word}e": value}) & (beyond | rest)


# --- Cursors ------------------------------------------------------------------------------------------------------


def _cursor(row: Model, keys: Sequence[Key], *, backwards: bool) -> str:
    return _signed([_text(getattr(row, key.column)) for key in keys], keys, backwards=backwards)


def _signed(place: Sequence[Any], keys: Sequence[Key], *, backwards: bool) -> str:
    said = json.dumps([int(backwards), place], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_signature(said, keys) + said).decode().rstrip("=")


def _read_cursor(cursor: str, keys: Sequence[Key]) -> tuple[bool, list[Any]]:
    try:
        whole = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        signature, said = whole[:_SIGNATURE], whole[_SIGNATURE:]
        if not hmac.compare_digest(signature, _signature(said, keys)):
            raise ValueError
        backwards, place = json.loads(said)
        return bool(backwards), [key.read(value) for key, value in zip(keys, place, strict=True)]
    except (ValueError, TypeError, binascii.Error):
        raise parameters.bad_value("cursor", "It was not given out by this list in this order.") from None


def _signature(said: bytes, keys: Sequence[Key]) -> bytes:
    # The order is signed with the place: a cursor of one order means nothing in another.
    salt = "workflows.api.paging " + " ".join(_order(keys, backwards=False))
    return salted_hmac(salt, said, algorithm=hashlib.sha256().name).digest()[:_SIGNATURE]


def _text(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value


def _address(request: HttpRequest, cursor: str) -> str:
    query = request.GET.copy()
    query["cursor"] = cursor
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
