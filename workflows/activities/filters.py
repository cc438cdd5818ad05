"""Filter policies: what the attributes of an instance must be like, in the manner of Amazon SNS.

    {"customer": ["ACME", {"prefix": "AC-"}], "amount": [{"numeric": [">=", 100, "<", 200]}],
     "$or": [{"paid": [true]}, {"region": [{"anything-but": ["EU"]}]}]}

Every key must hold, and of its conditions one: a value, `prefix`, `suffix`, `anything-but` (values, or a prefix or
suffix), `numeric`, `exists`. Of the policies in `$or` one must hold. Nothing is converted: "1" is not 1, true is not 1.
An attribute that is not there satisfies `{"exists": false}` and nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from workflows.activities.policy_checks import OR, check_policy
from workflows.definitions.problems import Problem, in_document_order
from workflows.definitions.schema import Json
from workflows.definitions.search import SearchValue

Attributes = Mapping[str, SearchValue]


class InvalidPolicy(Exception):
    """The policy has faults. Correct every one listed in `problems`."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{p.pointer or 'the policy'}: {p.message}" for p in self.problems[:5]))


class Range(NamedTuple):
    """Numbers between two bounds."""

    low: float
    high: float
    with_low: bool = True
    with_high: bool = True

    def holds(self, value: float) -> bool:
        """This will tell whether the number lies in the range."""
        above = value >= self.low if self.with_low else value > self.low
        return above and (value <= self.high if self.with_high else value < self.high)


class AnythingBut(NamedTuple):
    """Every value but these (`values` without booleans, which are kept apart: to Python, true is 1)."""

    values: frozenset[str | float] = frozenset()
    booleans: frozenset[bool] = frozenset()
    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()

    def holds(self, value: SearchValue) -> bool:
        """This will tell whether the value is none of those."""
        if value is True or value is False:
            return value not in self.booleans
        if value in self.values:
            return False
        return not (isinstance(value, str) and (value.startswith(self.prefixes) or value.endswith(self.suffixes)))


@dataclass(frozen=True, slots=True)
class Attribute:
    """The conditions on one attribute, sorted by kind; one of them must hold."""

    key: str
    values: frozenset[str | float]
    booleans: frozenset[bool]
    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]
    ranges: tuple[Range, ...]
    anything_but: tuple[AnythingBut, ...]
    present: bool
    absent: bool

    def holds(self, attributes: Attributes) -> bool:
        """This will tell whether one of the conditions holds."""
        value = attributes.get(self.key)
        if value is None:
            return self.absent
        if self.present:
            return True
        if value is True or value is False:
            return value in self.booleans or any(one.holds(value) for one in self.anything_but)
        if value in self.values:
            return True
        if isinstance(value, str):
            if value.startswith(self.prefixes) or value.endswith(self.suffixes):
                return True
        elif any(one.holds(value) for one in self.ranges):
            return True
        return any(one.holds(value) for one in self.anything_but)


@dataclass(frozen=True, slots=True)
class Policy:
    """A compiled policy: all of `attributes` must hold, and of each of the `alternatives` one."""

    attributes: tuple[Attribute, ...] = ()
    alternatives: tuple[tuple[Policy, ...], ...] = ()

    def matches(self, attributes: Attributes) -> bool:
        """This will tell whether the policy holds for these attributes."""
        for one in self.attributes:
            if not one.holds(attributes):
                return False
        return all(any(policy.matches(attributes) for policy in some) for some in self.alternatives)


def problems_of(policy: Json, *, pointer: str = "") -> tuple[Problem, ...]:
    """This will give everything that is wrong with a policy; `pointer` is where it stands in the document."""
    return in_document_order(check_policy(policy, pointer))


def compile_policy(policy: Json) -> Policy:
    """This will make a policy ready to be matched; raises InvalidPolicy with every problem."""
    problems = problems_of(policy)
    if problems:
        raise InvalidPolicy(problems)
    return _compiled(policy)


def reason_against(policy: Policy, attributes: Attributes) -> str:
    """This will say in a sentence why the policy does not hold; nothing where it does."""
    for one in policy.attributes:
        if not one.holds(attributes):
            value = attributes.get(one.key)
            return f"{one.key} is not there." if value is None else f"{one.key} is {json.dumps(value)}."
    if not policy.matches(attributes):
        return "None of the policies in $or holds."
    return ""


def _compiled(policy: Mapping[str, Json]) -> Policy:
    return Policy(
        attributes=tuple(_attribute(key, conditions) for key, conditions in policy.items() if key != OR),
        alternatives=(tuple(map(_compiled, policy[OR])),) if OR in policy else (),
    )


def _attribute(key: str, conditions: Sequence[Json]) -> Attribute:
    plain = [one for one in conditions if not isinstance(one, dict)]
    said = [next(iter(one.items())) for one in conditions if isinstance(one, dict)]
    ranges = [_range(operand) for operator, operand in said if operator == "numeric"]
    points = [one.low for one in ranges if one.low == one.high]
    return Attribute(
        key=key,
        values=frozenset([*(one for one in plain if not isinstance(one, bool)), *points]),
        booleans=frozenset(one for one in plain if isinstance(one, bool)),
        prefixes=tuple(operand for operator, operand in said if operator == "prefix"),
        suffixes=tuple(operand for operator, operand in said if operator == "suffix"),
        ranges=tuple(one for one in ranges if one.low != one.high),
        anything_but=tuple(_anything_but(operand) for operator, operand in said if operator == "anything-but"),
        present=("exists", True) in said,
        absent=("exists", False) in said,
    )


def _range(said: Sequence[Json]) -> Range:
    low, high, with_low, with_high = -math.inf, math.inf, True, True
    for sign, bound in zip(said[::2], said[1::2], strict=True):
        if sign != "<" and sign != "<=":
            low, with_low = bound, sign != ">"
        if sign != ">" and sign != ">=":
            high, with_high = bound, sign != "<"
    return Range(low, high, with_low, with_high)


def _anything_but(said: Json) -> AnythingBut:
    if isinstance(said, dict):
        ((operator, parts),) = said.items()
        parts = tuple(parts) if isinstance(parts, list) else (parts,)
        return AnythingBut(prefixes=parts) if operator == "prefix" else AnythingBut(suffixes=parts)
    values = said if isinstance(said, list) else [said]
    return AnythingBut(
        values=frozenset(one for one in values if not isinstance(one, bool)),
        booleans=frozenset(one for one in values if isinstance(one, bool)),
    )
