"""The form of a plugin: what was typed becomes what is registered, and faults find their fields."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tasks_ui.words import PHASE_TITLES, PHASE_WAYS
from workflows.definitions import strict_json
from workflows.definitions.problems import Problem
from workflows.engine.plugins import Phase
from workflows.models import Plugin
from workflows.runtime.activities import DELIVERIES, delivery_of

_FIELDS = (
    "activity", "name", "phase", "way", "target", "before", "after", "filter", "mandatory", "on_failure",
    "max_attempts", "delay_seconds", "timeout_seconds", "system", "regulation", "title", "description", "secret",
    "reason",
)  # fmt: skip
_LONGEST = 20_000
_WAYS = {
    "task_queue": "Queue",
    "url": "Address, which is called",
    "step": "Step of this site",
    "assigned_to": "Person or group",
}
_POLICIES = {"": "Wait for an operator", "rollback": "Roll the instance back", "continue": "Go on"}
_AT: Mapping[str, str] = {"retry": "max_attempts", **dict.fromkeys(DELIVERIES, "target")}


@dataclass(frozen=True, slots=True)
class Filled:
    """What stands in the form, what it means, and what is wrong with it, by field."""

    values: Mapping[str, str]
    said: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def activity(self) -> str:
        """The activity's name."""
        return self.values["activity"]

    @property
    def faulty(self) -> bool:
        """Whether something is wrong."""
        return bool(self.errors)


def choices() -> Mapping[str, Any]:
    """This will give what can be chosen from."""
    return {
        "phases": [(str(phase), f"{PHASE_TITLES[phase]}: {PHASE_WAYS[phase]}") for phase in Phase],
        "ways": list(_WAYS.items()),
        "policies": list(_POLICIES.items()),
    }


def empty(activity: str, phase: str) -> Filled:
    """This will give the form for a new plugin."""
    known = dict.fromkeys(_FIELDS, "")
    return Filled({**known, "activity": activity[:200], "phase": phase[:20], "way": "task_queue", "mandatory": "1"})


def of(row: Plugin) -> Filled:
    """This will give the form filled with a plugin."""
    said = row.said
    way = delivery_of(said)
    values = {
        **dict.fromkeys(_FIELDS, ""),
        **{name: said[name] for name in ("name", "phase", "system", "regulation", "title", "description")},
        "activity": row.activity.name,
        "way": way,
        "target": said[way],
        "before": ", ".join(said["before"]),
        "after": ", ".join(said["after"]),
        "filter": "" if said["filter"] is None else json.dumps(said["filter"], ensure_ascii=False),
        "mandatory": "1" if said["mandatory"] else "",
        "on_failure": "" if said["on_failure"] == "halt" or not said["mandatory"] else said["on_failure"],
        "max_attempts": str(said["retry"].get("max_attempts", 1)),
        "delay_seconds": str(said["retry"].get("delay_seconds", 0)),
        "timeout_seconds": "" if said["timeout_seconds"] is None else f"{said['timeout_seconds']:g}",
    }
    return Filled(values)


def read(posted: Mapping[str, str], *, retry: Mapping[str, Any]) -> Filled:
    """This will read what was typed; `retry` are the keys of the policy that the form does not show."""
    values = {name: posted.get(name, "").strip().replace("\0", "")[:_LONGEST] for name in _FIELDS}
    errors: dict[str, str] = {}
    retry = dict(retry) | {
        name: number
        for name in ("max_attempts", "delay_seconds")
        if (number := _number(values, name, errors)) is not None
    }
    mandatory = bool(values["mandatory"])
    said: dict[str, Any] = {
        "name": values["name"] or None,
        "phase": values["phase"] or None,
        "before": _names(values["before"]),
        "after": _names(values["after"]),
        "filter": _filter(values["filter"], errors),
        "mandatory": mandatory,
        "on_failure": values["on_failure"] or None if mandatory else None,
        "retry": retry or None,
        "timeout_seconds": _number(values, "timeout_seconds", errors),
        **{name: values[name] for name in ("system", "regulation", "title", "description")},
    }
    if values["way"] in _WAYS:
        said[values["way"]] = values["target"]
    if values["secret"] and values["way"] == "url":
        said["secret"] = values["secret"]
    if not values["activity"]:
        errors["activity"] = "Name the activity."
    return Filled(values, said, errors)


def marked(filled: Filled, problems: Iterable[Problem]) -> Filled:
    """This will put faults to their fields."""
    errors: dict[str, str] = dict(filled.errors)
    for problem in problems:
        first = problem.pointer.split("/")[1] if problem.pointer else ""
        name = _AT.get(first, first)
        if problem.pointer == "/retry/delay_seconds":
            name = "delay_seconds"
        if not name and problem.code == "required":
            name = "target"
        errors.setdefault(name if name in _FIELDS else "activity", problem.message)
    return replace(filled, errors=errors)


def faulty(filled: Filled, name: str, message: str) -> Filled:
    """This will mark one field."""
    return replace(filled, errors={**filled.errors, name: message})


def _names(text: str) -> list[str]:
    return [name.strip() for line in text.splitlines() for name in line.split(",") if name.strip()]


def _filter(text: str, errors: dict[str, str]) -> Any:
    if not text:
        return None
    try:
        return strict_json.parse(text.encode(errors="surrogatepass"))
    except strict_json.InvalidJson as error:
        errors["filter"] = f"This is not the JSON we take. {error.message}"
        return None


def _number(values: Mapping[str, str], name: str, errors: dict[str, str]) -> float | int | None:
    text = values[name]
    if not text:
        return None
    try:
        value = strict_json.parse(text.encode(errors="surrogatepass"))
    except strict_json.InvalidJson:
        value = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        errors[name] = "This takes a number."
        return None
    return value
