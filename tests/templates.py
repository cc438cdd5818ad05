"""Random templates that are right: a Hypothesis strategy for the parser, the engine and the runtime alike."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Template = dict[str, Any]

PATHS = ("amount", "order.country", "order.lines.0", "paid")
"""What conditions ask for; a test that wants them met can put these into its context."""
CHOICES = ("IT", "FR")

_numbers = st.integers(-5, 5) | st.sampled_from([0.5, 1.0, 2.5])
_scalars = st.none() | st.booleans() | _numbers | st.sampled_from([*CHOICES, ""])
json_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner), max_leaves=6
)

_variables = st.sampled_from(PATHS).map(lambda path: {"var": path}) | st.tuples(st.sampled_from(PATHS), _scalars).map(
    lambda pair: {"var": list(pair)}
)
_operands = _variables | _scalars
_comparisons = st.tuples(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), _operands, _operands).map(
    lambda parts: {parts[0]: [parts[1], parts[2]]}
)
_leaves = (
    _comparisons
    | st.lists(st.sampled_from(PATHS), min_size=1, max_size=2).map(lambda paths: {"missing": paths})
    | st.tuples(_operands, st.lists(_scalars, max_size=3) | _variables).map(lambda pair: {"in": list(pair)})
)
conditions = st.recursive(
    _leaves,
    lambda inner: (
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)).map(lambda p: {p[0]: p[1]})
        | inner.map(lambda one: {"not": one})
        | inner.map(lambda one: {"not": [one]})
    ),
    max_leaves=5,
)
"""Conditions as they may be published."""

contexts = st.fixed_dictionaries(
    {},
    optional={
        "amount": _scalars,
        "paid": _scalars,
        "order": json_values | st.fixed_dictionaries({"country": _scalars, "lines": st.lists(_scalars, max_size=2)}),
    },
)
"""Contexts in which the paths of those conditions are sometimes there."""

FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "note": {"type": "string", "title": "Note", "maxLength": 200},
        "amount": {"type": "number", "minimum": 0},
        "day": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"type": "string", "enum": ["hot", "thin"]}},
    },
    "required": ["note"],
}


@st.composite
def templates(
    draw: st.DrawFn,
    *,
    max_stages: int = 4,
    max_tasks: int = 6,
    kinds: tuple[str, ...] = ("SERVICE", "HUMAN", "STEP"),
    with_conditions: bool = True,
    with_compensation: bool = True,
    with_retry: bool = True,
    with_policies: bool = True,
    with_returns: bool = True,
    component_name: str = "COMPONENT",
) -> Template:
    """This will draw a template: up to `max_stages` stages of up to `max_tasks` tasks each, parents without circles.

    Stages and tasks stand in the document in any order. Queues, steps and people have few names, so that a test can
    play them all: `queue-…`, `steps.…`, `finance`, `managers`.
    """
    template: Template = {
        "workflow_name": draw(st.sampled_from(["Workflow", "Deliver Pizza", "Ünïcode 漢字"])),
        "component_name": component_name,
    }
    if with_policies:
        _maybe(draw, template, "on_failure", st.sampled_from(["halt", "rollback", "continue"]))
        _maybe(draw, template, "timeout_seconds", st.sampled_from([0.5, 60, 86400]))
    orders = draw(
        st.lists(st.integers(-5, 5) | st.sampled_from([0.5, 1.5]), min_size=1, max_size=max_stages, unique=True)
    )
    stages: list[dict[str, Any]] = []
    people: list[tuple[str, str]] = []
    for position, order in enumerate(sorted(orders)):
        stage: dict[str, Any] = {"stage_name": f"STAGE {position}", "stage_order": order}
        if max_tasks and draw(st.integers(0, 5)):
            stage["tasks"] = []
            ancestors: list[set[int]] = []
            for index in range(draw(st.integers(1, max_tasks))):
                parents = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
                ancestors.append(parents.union(*(ancestors[parent] for parent in parents)))
                here = [f"task_{one}" for one in ancestors[index] if stage["tasks"][one]["task_type"] == "HUMAN"]
                targets = [f"{stage_name}/{name}" for stage_name, name in people]
                targets += [*here, *(f"{stage['stage_name']}/{name}" for name in here)]
                task = {"task_name": f"task_{index}", "task_type": draw(st.sampled_from(kinds))}
                if parents or draw(st.booleans()):
                    task["parent_task"] = [f"task_{parent}" for parent in sorted(parents)]
                _fill(draw, task, targets if with_returns else [])
                if with_conditions and draw(st.integers(0, 3)) == 0:
                    task["when"] = draw(conditions)
                if with_retry and draw(st.integers(0, 3)) == 0:
                    task["retry"] = draw(_retries)
                if with_policies:
                    _maybe(draw, task, "on_failure", st.sampled_from(["halt", "rollback", "continue"]))
                    _maybe(draw, task, "timeout_seconds", st.sampled_from([1, 0.5, 3600]))
                if with_compensation and draw(st.booleans()):
                    task["compensate"] = draw(_compensations)
                stage["tasks"].append(task)
            people += [(stage["stage_name"], it["task_name"]) for it in stage["tasks"] if it["task_type"] == "HUMAN"]
            stage["tasks"] = draw(st.permutations(stage["tasks"]))
        elif draw(st.booleans()):
            stage["tasks"] = []
        stages.append(stage)
    template["stages"] = draw(st.permutations(stages))
    return template


_retries = st.fixed_dictionaries(
    {},
    optional={
        "max_attempts": st.integers(1, 4),
        "delay_seconds": st.sampled_from([0, 0.5, 30]),
        "backoff": st.sampled_from([1, 2.0, 3]),
        "max_delay_seconds": st.sampled_from([60, 3600]),
        "jitter": st.booleans(),
    },
)
_compensations = st.builds(
    lambda way, rest: {**way, **rest},
    st.sampled_from([{"task_queue": "queue-undo"}, {"step": "steps.undo"}, {"assigned_to": "finance"}]),
    st.fixed_dictionaries({}, optional={"retry": _retries, "timeout_seconds": st.just(60), "reason_code": _numbers}),
)


def _fill(draw: st.DrawFn, task: dict[str, Any], targets: list[str]) -> None:
    match task["task_type"]:
        case "SERVICE":
            task["task_queue"] = draw(st.sampled_from(["queue-1", "queue-2"]))
        case "STEP":
            task["step"] = draw(st.sampled_from(["steps.one", "steps.two"]))
        case "HUMAN":
            _maybe(draw, task, "task_queue", st.just("queue-notify"))
            _maybe(draw, task, "assigned_to", st.sampled_from(["finance", "managers"]))
            _maybe(draw, task, "form", st.just(FORM))
            _maybe(draw, task, "four_eyes", st.booleans())
            _maybe(draw, task, "due_in_seconds", st.sampled_from([0, 60, 3600.5]))
            outcomes = [{"name": "approve", "label": "Approve"}, {"name": "reject", "effect": "fail"}]
            if targets and draw(st.booleans()):
                outcomes.append({"name": "back", "effect": "return", "return_to": draw(st.sampled_from(targets))})
            _maybe(draw, task, "outcomes", st.just(outcomes))
    _maybe(draw, task, "business_status", st.sampled_from(["ORDERED", "DELIVERED"]))
    _maybe(draw, task, "title", st.just("Do it — now"))
    _maybe(draw, task, "oven_temperature", json_values)


def _maybe(draw: st.DrawFn, where: dict[str, Any], key: str, values: st.SearchStrategy[Any]) -> None:
    if draw(st.booleans()):
        where[key] = draw(values)
