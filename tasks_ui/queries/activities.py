"""What the pages of activities print, as plain values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks_ui.words import PHASE_TITLES, PHASE_WAYS, Sign, plugin_sign
from workflows.definitions import strict_json
from workflows.definitions.search import SearchValue, kind_of
from workflows.engine.plugins import Phase
from workflows.models import Activity, ActivityRecord, Plugin
from workflows.runtime import activities
from workflows.runtime.activities import Runs, Standing, Use, Work
from workflows.runtime.phases import PLUGIN_STATES

_SHOWN = 200
_RECORDS = 50
_WORK = 25
_NOBODY = Standing(0, 0, 0)
_WAYS = {"task_queue": "Queue", "url": "Calls", "step": "Step", "assigned_to": "Person"}
_SIGNS = {"=": "=", ">": ">", ">=": "≥", "<": "<", "<=": "≤"}


@dataclass(frozen=True, slots=True)
class Line:
    """An activity in the list."""

    name: str
    plugins: Mapping[str, int]
    uses: Sequence[Use]
    runs: Runs

    @property
    def workflows(self) -> str:
        """The names of the workflows that run it."""
        return ", ".join(dict.fromkeys(use.workflow_name for use in self.uses))


@dataclass(frozen=True, slots=True)
class Member:
    """A plugin in its lane."""

    row: Plugin
    said: Mapping[str, Any]
    way: str
    target: str
    filter: Sequence[str]
    standing: Standing


@dataclass(frozen=True, slots=True)
class Lane:
    """A phase with its plugins, in the order in which they run."""

    phase: str
    title: str
    way: str
    members: Sequence[Member]


@dataclass(frozen=True, slots=True)
class OneActivity:
    """One activity with all that is shown of it."""

    name: str
    revision: int
    uses: Sequence[Use]
    runs: Runs
    lanes: Sequence[Lane]
    work: Sequence[tuple[Work, Sign]]


def listed() -> list[Line]:
    """This will list activities by name."""
    uses = activities.uses()
    names = activities.names()[:_SHOWN]
    plugins, runs = activities.count_plugins(names), activities.count_runs(names)
    return [Line(name, plugins[name], uses.get(name, ()), runs[name]) for name in names]


def one(name: str) -> OneActivity | None:
    """This will give one activity; None where nobody has heard of it."""
    row = Activity.objects.filter(name=name).first()
    uses = activities.uses().get(name, ())
    if row is None and not uses:
        return None
    plugins, standing = activities.plugins_of(name), activities.standing(name)
    members = [_member(plugin, standing.get(plugin.name, _NOBODY)) for plugin in plugins]
    lanes = [
        Lane(str(phase), PHASE_TITLES[phase], PHASE_WAYS[phase], [one for one in members if one.said["phase"] == phase])
        for phase in Phase
    ]
    work = [
        (one, plugin_sign(PLUGIN_STATES[one.state], optional=not one.mandatory))  # type: ignore[index]
        for one in activities.open_work(name, most=_WORK)
    ]
    return OneActivity(name, row.revision if row else 0, uses, activities.count_runs([name])[name], lanes, work)


def _member(row: Plugin, standing: Standing) -> Member:
    way = activities.delivery_of(row.said)
    return Member(row, row.said, _WAYS[way], str(row.said[way]), list(readable_filter(row.said["filter"])), standing)


def history(name: str) -> list[tuple[ActivityRecord, str]]:
    """This will give what was registered and deregistered, newest first, with what differs."""
    rows = ActivityRecord.objects.filter(activity__name=name).order_by("-revision")[:_RECORDS]
    return [(row, _differences(row)) for row in rows]


def _differences(row: ActivityRecord) -> str:
    if row.before is None or row.after is None:
        return ""
    keys = [key for key in {**row.before, **row.after} if row.before.get(key) != row.after.get(key)]
    if not keys:
        return "its secret"
    return "; ".join(f"{key}: {_text(row.before.get(key))} → {_text(row.after.get(key))}" for key in keys)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:120]} …"


# --- Filters as people read them ----------------------------------------------------------------------------------


def readable_filter(policy: Mapping[str, Any] | None) -> Iterator[str]:
    """This will say a filter policy in words, a line for each attribute."""
    for key, conditions in (policy or {}).items():
        if key == "$or":
            yield f"either {', or '.join(' and '.join(readable_filter(one)) for one in conditions)}"
        else:
            yield f"{key} {' or '.join(map(_condition, conditions))}"


def _condition(said: Any) -> str:
    if not isinstance(said, dict):
        return f"is {_value(said)}"
    ((operator, operand),) = said.items()
    match operator:
        case "prefix":
            return f"begins with {_value(operand)}"
        case "suffix":
            return f"ends with {_value(operand)}"
        case "exists":
            return "is there" if operand else "is not there"
        case "numeric":
            pairs = zip(operand[::2], operand[1::2], strict=True)
            return " and ".join(f"{_SIGNS[sign]} {_value(bound)}" for sign, bound in pairs)
    if isinstance(operand, dict):
        ((inner, parts),) = operand.items()
        word = "does not begin with" if inner == "prefix" else "does not end with"
        return f"{word} {_values(parts)}"
    return f"is anything but {_values(operand)}"


def _values(said: Any) -> str:
    return " or ".join(map(_value, said if isinstance(said, list) else [said]))


def _value(said: Any) -> str:
    return f"“{said}”" if isinstance(said, str) else json.dumps(said)


# --- Who would take part ------------------------------------------------------------------------------------------


def judged(name: str, text: str) -> list[tuple[Plugin, str]]:
    """This will say of each plugin whether it would take part, for attributes written as `name=value` lines."""
    return [(row, reason) for row, reason in activities.would_take_part(name, attributes_of(text))]


def attributes_of(text: str) -> dict[str, SearchValue]:
    """This will read attributes, one in a line: numbers, true and false are meant as such."""
    found: dict[str, SearchValue] = {}
    for line in text.splitlines():
        name, sign, said = line.partition("=")
        if sign and name.strip():
            try:
                value = strict_json.parse(said.strip().encode(errors="surrogatepass"))
            except strict_json.InvalidJson:
                value = said.strip()
            found[name.strip()] = value if kind_of(value) is not None else said.strip()
    return found
