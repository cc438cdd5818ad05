"""What differs between two JSON values, as pages print it."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from workflows.runtime.masking import masked_at
from workflows.subscriptions import Difference
from workflows.subscriptions.differences import differences

_IN_A_LINE = 200


@dataclass(frozen=True, slots=True)
class Change:
    """What differs in one place; an empty text: it is not there."""

    pointer: str
    kind: str
    before: str
    after: str


def changes_between(before: Any, after: Any, *, template: uuid.UUID) -> list[Change]:
    """This will give what differs in the data of an instance of that template, place by place."""
    return [told(one, template=template) for one in differences(before, after)]


def told(one: Difference, *, template: uuid.UUID | None = None) -> Change:
    """This will print one difference; of what is secret only that there is one."""
    before = "" if one.kind == "added" else text_of(masked_at(one.pointer, one.before, template=template))
    after = "" if one.kind == "removed" else text_of(masked_at(one.pointer, one.after, template=template))
    return Change(one.pointer, one.kind, before, after)


def text_of(value: Any) -> str:
    """This will print a value in one line: a text as it is, anything else as JSON."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _IN_A_LINE else f"{text[:_IN_A_LINE]} …"
