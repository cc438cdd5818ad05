"""Simulated people: colleagues who take work from the inboxes of the examples and fill in its forms."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workflows.definitions.schema import Effect, Outcome, TaskDefinition
from workflows.engine.commands import ClaimTask, DecideTask
from workflows.models import HumanTask
from workflows.runtime.asking import Asked
from workflows.runtime.reading import task_definition


@dataclass(frozen=True, slots=True)
class Colleague:
    """Somebody of a group who is always at work. Visitors sign in as others, so that nobody works under their name."""

    username: str
    group: str


COLLEAGUES: Mapping[str, Colleague] = {
    colleague.group: colleague
    for colleague in (
        Colleague("dario", "delivery_executive"),
        Colleague("felix", "finance"),
        Colleague("maya", "managers"),
        Colleague("henk", "people_team"),
        Colleague("ines", "it_support"),
    )
}

_RETURNS = 0.12
_REJECTS = 0.18

_REASONS = (
    "The turnover does not support this amount.",
    "A receipt is missing.",
    "The goods have not arrived.",
    "The figures do not match the documents.",
)
_DOORS = ("the customer", "a neighbour", "the reception", "a flatmate")
_MENTORS = ("Noor", "Paulo", "Rosa", "Sven", "Tilda")


def claim(task: HumanTask, colleague: Colleague) -> Asked:
    """This will ask that the colleague takes the task."""
    return _asked(task, colleague, ClaimTask(**_of(task, colleague)))


def decide(task: HumanTask, colleague: Colleague, *, today: dt.date) -> Asked:
    """This will ask what the colleague decides; the same for the same task, always."""
    what = f"{task.instance.business_ref_no}/{task.stage_name}/{task.task_name}/{task.attempt}"
    rng = random.Random(what)  # noqa: S311 (dice for a demo)
    definition = task_definition(task)
    if task.compensation:
        return _asked(task, colleague, DecideTask(**_of(task, colleague)))
    outcome = _outcome(definition, task, rng)
    completes = outcome.effect == Effect.COMPLETE
    command = DecideTask(
        **_of(task, colleague),
        outcome=outcome.name if definition.outcomes else None,
        data=filled_in(definition.form or {}, context=task.instance.context, rng=rng, today=today) if completes else {},
        comment="" if completes else rng.choice(_REASONS),
    )
    return _asked(task, colleague, command)


def _outcome(definition: TaskDefinition, task: HumanTask, rng: random.Random) -> Outcome:
    roll = rng.random()
    for outcome in definition.offered_outcomes:
        # Whoever has sent it back once does not do so for ever.
        if outcome.effect == Effect.RETURN and roll < _RETURNS and task.attempt == 1:
            return outcome
        if outcome.effect == Effect.FAIL and roll > 1 - _REJECTS:
            return outcome
    return next(outcome for outcome in definition.offered_outcomes if outcome.effect == Effect.COMPLETE)


def _of(task: HumanTask, colleague: Colleague) -> dict[str, Any]:
    return {
        "stage_name": task.stage_name,
        "task_name": task.task_name,
        "attempt": task.attempt,
        "compensation": task.compensation,
        "by": colleague.username,
        "groups": frozenset({colleague.group}),
    }


def _asked(task: HumanTask, colleague: Colleague, command: ClaimTask | DecideTask) -> Asked:
    return Asked(command=command, target=task.instance_id, actor=colleague.username)


def filled_in(
    form: Mapping[str, Any], *, context: Mapping[str, Any], rng: random.Random, today: dt.date
) -> dict[str, Any]:
    """This will fill in a form as somebody might who knows the instance."""
    required = form.get("required", ())
    return {
        name: _field(name, field, context, rng, today)
        for name, field in form.get("properties", {}).items()
        if name in required or rng.random() < 0.6
    }


def _field(name: str, field: Mapping[str, Any], context: Mapping[str, Any], rng: random.Random, today: dt.date) -> Any:
    if "enum" in field:
        return rng.choice(field["enum"])
    match field.get("type"):
        case "boolean":
            return name != "disk_encrypted" or rng.random() < 0.95
        case "integer" | "number":
            return _amount(name, field, context, rng)
        case "array":
            choices = field["items"].get("enum") or [f"R-{number}" for number in rng.sample(range(100, 999), 3)]
            return rng.sample(choices, k=rng.randint(1, min(3, len(choices))))
    match field.get("format"):
        case "date":
            return (today - dt.timedelta(days=rng.randrange(0, 3))).isoformat()
        case "email":
            return f"{str(context.get('name', 'new colleague')).lower().replace(' ', '.')}@example.com"
    return _text(name, context, rng)


def _amount(name: str, field: Mapping[str, Any], context: Mapping[str, Any], rng: random.Random) -> Any:
    known = {
        "approved_amount": context.get("amount", context.get("estimate")),
        "amount": round(float(context.get("estimate") or 100) * rng.uniform(0.8, 1.2), 2),
        "interest_rate": context.get("suggested_rate", 7.5),
        "tip": rng.choice([0, 1, 2, 2.5, 5]),
    }.get(name)
    value = rng.randrange(1, 10) if known is None else known
    return max(field.get("minimum", value), min(field.get("maximum", value), value))


def _text(name: str, context: Mapping[str, Any], rng: random.Random) -> str:
    return {
        "handed_to": rng.choice([str(context.get("customer", "the customer")), *_DOORS]),
        "spoke_to": rng.choice(["Ms Keller", "Mr Okafor", "Ms Lindgren", "Mr Duarte"]),
        "asset_tag": f"IT-{rng.randrange(1000, 9999)}",
        "mentor": rng.choice(_MENTORS),
        "goals": "Meet the team, ship something small, ask many questions.",
    }.get(name, "Nothing out of the ordinary.")


def of_group(tasks: Sequence[HumanTask], group: str) -> list[HumanTask]:
    """This will keep those that are the group's, the oldest first."""
    found = [task for task in tasks if task.assigned_kind == "group" and task.assigned_to == group]
    return sorted(found, key=lambda task: task.created_at)
