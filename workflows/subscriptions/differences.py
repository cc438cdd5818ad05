"""What two versions of a subscription's values differ in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workflows.definitions.problems import below
from workflows.definitions.schema import Json
from workflows.models import SubscriptionVersion


@dataclass(frozen=True, slots=True)
class Difference:
    """One place that differs: `kind` is added, removed or changed; what is not there is None."""

    pointer: str
    kind: str
    before: Any = None
    after: Any = None


def versions_apart(before: SubscriptionVersion, after: SubscriptionVersion) -> list[Difference]:
    """This will give what differs between two versions of the values, by JSON pointers into them."""
    return list(differences(before.values, after.values))


def differences(before: Json, after: Json, pointer: str = "") -> Iterator[Difference]:
    """This will yield what differs between two JSON values, objects by key and lists by place."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _at(below(pointer, key), before, after, key in before, key in after, key)
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            yield from _at(below(pointer, index), before, after, index < len(before), index < len(after), index)
    elif type(before) is not type(after) or before != after:
        yield Difference(pointer, "changed", before, after)


def _at(pointer: str, before: Any, after: Any, was: bool, is_: bool, key: Any) -> Iterator[Difference]:
    if not is_:
        yield Difference(pointer, "removed", before=before[key])
    elif not was:
        yield Difference(pointer, "added", after=after[key])
    else:
        yield from differences(before[key], after[key], pointer)
