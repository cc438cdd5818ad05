"""Which of many policies match: found by what is in the attributes, not by asking every policy.

Note [Sets of policies as numbers]
A set of policies is a whole number with a bit for each, so that a thousand are joined or intersected in some tens of
nanoseconds. Each attribute has tables from its values to the set of those whose conditions on it hold. A look joins the
policies that it comes upon, takes away those of which another attribute says no, and asks the few that are left
themselves. So the sets may hold a policy too many, never one too few.

A policy is come upon by one of its attributes only: the one that fewest others ask for. Otherwise a thousand policies
of which each wants an attribute of its own would all be come upon by the one that they have in common.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from workflows.activities.filters import Attribute, Attributes, Policy, Range
from workflows.definitions.search import SearchValue

Name = TypeVar("Name")
Bits = int

MAX_BRANCHES = 32
"""What `$or` may make of one policy; what goes beyond is not looked up, only asked."""
_COMMON = 32


class FilterIndex(Generic[Name]):
    """Named policies, to be asked together; the answer is in the order in which they were given."""

    def __init__(self, policies: Iterable[tuple[Name, Policy]]) -> None:
        self._policies = list(policies)
        self._owners: list[int] = []
        branches: list[Mapping[str, Attribute]] = []
        for number, (_, policy) in enumerate(self._policies):
            for branch in _branches(policy):
                branches.append({one.key: one for one in reversed(branch)})
                self._owners.append(number)
        counts = Counter(key for branch in branches for key in branch)
        self._keys: defaultdict[str, _Key] = defaultdict(_Key)
        self._always: Bits = 0
        for place, wanted in enumerate(branches):
            bit = 1 << place
            for key, attribute in wanted.items():
                self._keys[key].enter(attribute, bit)
            if wanted:
                least = min(wanted.values(), key=lambda one: (one.absent, counts[one.key]))
                self._keys[least.key].come_upon |= bit
            else:
                self._always |= bit
        for one in self._keys.values():
            one.settle(everybody=(1 << len(branches)) - 1)
        self._come_upon_absent = [
            (key, found) for key, one in self._keys.items() if (found := one.come_upon & one.absent)
        ]
        common = [(key, self._keys[key]) for key, _ in counts.most_common(_COMMON)]
        self._without = [(key, one.absent | one.others) for key, one in common]

    def matching(self, attributes: Attributes) -> list[Name]:
        """This will give the names of the policies that match."""
        keys, found = self._keys, self._always
        allowed: list[Bits] = []
        for name, value in attributes.items():
            if name in keys:
                key = keys[name]
                holding = key.holding(value)
                found |= holding & key.come_upon
                allowed.append(holding | key.others)
        for name, come_upon in self._come_upon_absent:
            if name not in attributes:
                found |= come_upon
        for some in allowed:
            found &= some
        for name, some in self._without:
            if name not in attributes:
                found &= some
        return self._asked(found, attributes)

    def _asked(self, found: Bits, attributes: Attributes) -> list[Name]:
        names: list[Name] = []
        last = -1
        while found:
            lowest = found & -found
            found ^= lowest
            number = self._owners[lowest.bit_length() - 1]
            if number != last:
                last = number
                name, policy = self._policies[number]
                if policy.matches(attributes):
                    names.append(name)
        return names


def _branches(policy: Policy) -> list[tuple[Attribute, ...]]:
    """The policy without `$or`: it holds only if all attributes of one of these do."""
    found = [policy.attributes]
    for some in policy.alternatives:
        inner = [branch for one in some for branch in _branches(one)]
        if len(found) * len(inner) <= MAX_BRANCHES:
            found = [one + other for one in found for other in inner]
    return found


class _Key:
    """The conditions on one attribute: which policies hold for a value of it."""

    def __init__(self) -> None:
        self.come_upon: Bits = 0
        self.absent: Bits = 0
        self.others: Bits = 0
        self._all: Bits = 0
        self._present: Bits = 0
        self._values: defaultdict[str | float, Bits] = defaultdict(int)
        self._booleans: defaultdict[bool, Bits] = defaultdict(int)
        self._parts = _Parts()
        self._but: Bits = 0
        self._but_values: defaultdict[str | float, Bits] = defaultdict(int)
        self._but_booleans: defaultdict[bool, Bits] = defaultdict(int)
        self._but_parts = _Parts()
        self._ranges: list[tuple[Sequence[Range], Bits]] = []
        self._segments = _Segments([])

    def enter(self, attribute: Attribute, bit: Bits) -> None:
        """This will enter the conditions of one policy, which bears the bit."""
        self._all |= bit
        if attribute.absent:
            self.absent |= bit
        if attribute.present or len(attribute.anything_but) > 1:
            # What one of several excludes, another may let pass: the policy says it itself.
            self._present |= bit
            return
        for value in attribute.values:
            self._values[value] |= bit
        for truth in attribute.booleans:
            self._booleans[truth] |= bit
        self._parts.enter(attribute.prefixes, attribute.suffixes, bit)
        if attribute.ranges:
            self._ranges.append((attribute.ranges, bit))
        for but in attribute.anything_but:
            self._but |= bit
            for value in but.values:
                self._but_values[value] |= bit
            for truth in but.booleans:
                self._but_booleans[truth] |= bit
            self._but_parts.enter(but.prefixes, but.suffixes, bit)

    def settle(self, *, everybody: Bits) -> None:
        """This will make ready what needs all entries."""
        self.others = everybody & ~self._all
        self._parts.settle()
        self._but_parts.settle()
        self._segments = _Segments(self._ranges)

    def holding(self, value: SearchValue) -> Bits:
        """This will give the policies whose conditions hold for the value."""
        found = self._present
        if value is True or value is False:
            found |= self._booleans.get(value, 0)
            return found | (self._but & ~self._but_booleans.get(value, 0)) if self._but else found
        found |= self._values.get(value, 0)
        but = self._but
        if but:
            but &= ~self._but_values.get(value, 0)
        if isinstance(value, str):
            found |= self._parts.of(value)
            return found | (but & ~self._but_parts.of(value)) if but else found
        return found | but | self._segments.of(value)


class _Parts:
    """How texts begin and end."""

    def __init__(self) -> None:
        self._prefixes: defaultdict[str, Bits] = defaultdict(int)
        self._suffixes: defaultdict[str, Bits] = defaultdict(int)
        self._begins: Sequence[int] = ()
        self._ends: Sequence[int] = ()

    def enter(self, prefixes: Iterable[str], suffixes: Iterable[str], bit: Bits) -> None:
        for part in prefixes:
            self._prefixes[part] |= bit
        for part in suffixes:
            self._suffixes[part] |= bit

    def settle(self) -> None:
        self._begins = sorted(set(map(len, self._prefixes)))
        self._ends = sorted(set(map(len, self._suffixes)))

    def of(self, value: str) -> Bits:
        found = 0
        for length in self._begins[: bisect_right(self._begins, len(value))]:
            found |= self._prefixes.get(value[:length], 0)
        for length in self._ends[: bisect_right(self._ends, len(value))]:
            found |= self._suffixes.get(value[-length:], 0)
        return found


class _Segments:
    """Ranges, cut at all of their bounds: one set for each bound, and one for each gap beside and between them."""

    def __init__(self, ranges: Iterable[tuple[Sequence[Range], Bits]]) -> None:
        ranges = list(ranges)
        infinite = float("inf")
        bounds = {bound for some, _ in ranges for one in some for bound in (one.low, one.high)}
        self._bounds = sorted(bounds - {infinite, -infinite})
        last = 2 * len(self._bounds)
        begin: defaultdict[int, Bits] = defaultdict(int)
        end: defaultdict[int, Bits] = defaultdict(int)
        for some, bit in ranges:
            for first, final in _joined(self._cut(one, last) for one in some):
                begin[first] |= bit
                end[final + 1] |= bit
        self._sets: list[Bits] = []
        now = 0
        for place in range(last + 1):
            now = now & ~end[place] | begin[place]
            self._sets.append(now)

    def of(self, value: float) -> Bits:
        place = bisect_left(self._bounds, value)
        at_bound = place < len(self._bounds) and self._bounds[place] == value
        return self._sets[2 * place + at_bound]

    def _cut(self, one: Range, last: int) -> tuple[int, int]:
        """The first and the last segment: gap 0, bound 1, gap 2, bound 3, …"""
        first, final = 0, last
        if one.low != -float("inf"):
            first = 2 * bisect_left(self._bounds, one.low) + (1 if one.with_low else 2)
        if one.high != float("inf"):
            final = 2 * bisect_left(self._bounds, one.high) + (1 if one.with_high else 0)
        return first, final


def _joined(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pieces that do not touch each other, so that none ends what another begins."""
    found: list[tuple[int, int]] = []
    for first, final in sorted(pieces):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], final)
        else:
            found.append((first, final))
    return found
