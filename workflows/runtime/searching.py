"""Finding instances by their search fields: what is asked for, and the rows that it keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery

from workflows.definitions.search import NAME
from workflows.models import SearchedValue
from workflows.models.search import IS_ABSENT, IS_PRESENT

OPERATORS = ("gt", "gte", "lt", "lte", "prefix", "exists")
MAX_LENGTH = 200
_NAME = re.compile(NAME)
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_FEW = 2_000
_LAST = 0x10FFFF


@dataclass(frozen=True, slots=True)
class Wanted:
    """One filter; `operator` is "" where the field must equal the value."""

    name: str
    operator: str
    value: str


def read_wanted(word: str, value: str) -> Wanted:
    """This will read a filter such as `amount__gte`, `100`; ValueError says why it is none."""
    name, mark, operator = word.partition("__")
    if not _NAME.fullmatch(name):
        raise ValueError("names no search field: letters, digits and single underscores")
    if mark and operator not in OPERATORS:
        raise ValueError(f"has no operator “{operator[:50]}”; there are {', '.join(OPERATORS)}")
    if operator == "exists":
        if value not in ("true", "false"):
            raise ValueError("takes true or false")
    elif not 1 <= len(value) <= MAX_LENGTH:
        raise ValueError(f"takes 1 to {MAX_LENGTH} characters")
    return Wanted(name, operator, value)


@dataclass(frozen=True, slots=True)
class Looked:
    """What is there for one filter: rows for each type that the value can be read as, and whether they are many."""

    rows: tuple[QuerySet[Any], ...]
    condition: Q
    name: str
    many: bool


def look(wanted: Iterable[Wanted]) -> tuple[Looked, ...]:
    """This will ask how many values there are for each filter, no further than it matters.

    Note [Few or many]
    Few of many instances are found by their values and then sorted; of many the newest are looked at one by one until
    a page is full. Which of the two is right depends on the value, and no planner knows: values of one name are not
    spread like those of another, and a planner sees the columns one by one. So we look first, and leave it no choice.
    """
    return tuple(map(_look, wanted))


def kept(rows: QuerySet[Any], looked: Iterable[Looked], *, in_order: bool = True) -> QuerySet[Any]:
    """This will keep the instances that all of the filters hold for.

    `in_order`: the newest of them are wanted, or the first in another order; else any will do, to count them.
    """
    walks = in_order
    for number, one in enumerate(looked):
        if one.many and walks:
            found = SearchedValue.objects.filter(one.condition, name=one.name, instance=OuterRef("pk"))
            rows = rows.alias(**{f"found{number}": Subquery(found.values("pk")[:1])})
            rows = rows.filter(**{f"found{number}__isnull": False})
        else:
            lookup, walks = ("pk__in", True) if one.many else ("pk__among", walks)
            rows = rows.filter(reduce(or_, (Q(**{lookup: some}) for some in one.rows)))
    return rows


def _look(wanted: Wanted) -> Looked:
    conditions = _conditions(wanted)
    # Not as one query: a planner that meets OR reads all that has the name.
    rows = [SearchedValue.objects.filter(one, name=wanted.name).values("instance_id") for one in conditions]
    counts = [some[: _FEW + 1].count() for some in rows]
    return Looked(
        rows=tuple(some for some, count in zip(rows, counts, strict=True) if count) or (rows[0],),
        condition=reduce(or_, conditions),
        name=wanted.name,
        many=sum(counts) > _FEW,
    )


def _conditions(wanted: Wanted) -> list[Q]:
    """A value counts as each of the types that it can be read as; in a column of another type nothing is like it."""
    value = wanted.value
    match wanted.operator:
        case "exists":
            return [IS_PRESENT if value == "true" else IS_ABSENT]
        case "prefix":
            return [_beginning_with(value)]
    lookup = f"__{wanted.operator}" if wanted.operator else ""
    conditions = [Q(**{f"text{lookup}": value})]
    number = float(value) if _NUMBER.fullmatch(value) else None
    if number is not None and abs(number) != float("inf"):
        conditions.append(Q(**{"text__isnull": True, f"number{lookup}": number}))
    if not lookup and value in ("true", "false"):
        conditions.append(Q(text__isnull=True, number__isnull=True, boolean=value == "true"))
    return conditions


def _beginning_with(prefix: str) -> Q:
    condition, start = Q(text__gte=prefix), prefix.rstrip(chr(_LAST))
    if start:
        after = ord(start[-1]) + 1
        # Between these two lie the halves of surrogate pairs, which no text holds.
        condition &= Q(text__lt=start[:-1] + chr(0xE000 if after == 0xD800 else after))
    return condition
