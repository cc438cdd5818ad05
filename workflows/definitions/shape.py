"""What each key of a template may hold, as tables. How the parts fit together is told in soundness.py.

Keys that only concern people (`assigned_to`, `form`, `outcomes`, …) are allowed on every kind of task, checked alike,
and mean something for HUMAN tasks only. `step` is a key of STEP tasks; of any other task it is an extra field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from workflows.definitions import form_schema
from workflows.definitions.checks import (
    Check,
    bad_value,
    boolean,
    choice,
    integer,
    list_of,
    missing,
    name,
    number,
    object_of,
    text,
    wrong_type,
)
from workflows.definitions.conditions import check_condition
from workflows.definitions.problems import Problem, below
from workflows.definitions.schema import ACTIVITY_KIND, Effect, FailurePolicy, Json, Target, TaskKind
from workflows.definitions.search import check_search

MAX_STAGES = 1_000
MAX_TASKS = 50_000
"""Of the whole template, and so of one stage."""
MAX_PARENTS = 50_000
MAX_OUTCOMES = 100
MAX_SECONDS = 366 * 24 * 3600
"""366 days: nothing waits longer by policy."""
MAX_ATTEMPTS = 1_000_000
MAX_OBSERVERS = 20
MAX_BACKOFF = 1_000
MAX_QUORUM = 1_000
MAX_PRODUCTS = 1_000
MAX_QUEUE_LENGTH = 255
"""What AMQP allows for the name of a queue, in bytes."""
MAX_LINE_LENGTH = 200
MAX_TITLE_LENGTH = 1_000
MAX_DESCRIPTION_LENGTH = 20_000

ENVELOPE_KEYS = frozenset(
    [
        "business_ref_no",
        "component_name",
        "event_name",
        "stage_name",
        "task_name",
        "task_type",
        "workflow_name",
        "attempt",
        "message_id",
        "instance_id",
        "context",
        "event_id",
        "compensation",
        "output",
        "error",
        "undoes_attempt",
        "lease_id",
        "lease_until",
    ]
)
"""Keys that a message has by itself; an extra field never takes their place."""


def _queue(value: Json, pointer: str) -> Iterator[Problem]:
    yield from (problems := tuple(text(at_least=1, at_most=MAX_QUEUE_LENGTH, plain=True)(value, pointer)))
    if not problems and len(value.encode()) > MAX_QUEUE_LENGTH:
        yield bad_value(pointer, f"The name of a queue has at most {MAX_QUEUE_LENGTH} bytes.")
    if not problems and value.startswith("amq."):
        yield bad_value(pointer, "Names that begin with “amq.” belong to the broker.")


def _step(value: Json, pointer: str) -> Iterator[Problem]:
    yield from (problems := tuple(text(at_least=1, at_most=MAX_LINE_LENGTH)(value, pointer)))
    if not problems and not all(part.isidentifier() for part in value.split(".")):
        yield bad_value(pointer, "A step is named by a dotted name such as orders.steps.reserve.")


def _condition(value: Json, pointer: str) -> Iterator[Problem]:
    return check_condition(value, pointer=pointer)


def _form(value: Json, pointer: str) -> Iterator[Problem]:
    return form_schema.check_schema(value, pointer=pointer)


def _context_schema(value: Json, pointer: str) -> Iterator[Problem]:
    return form_schema.check_schema(value, pointer=pointer, nested=True)


def _quorum(value: Json, pointer: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield from integer(at_least=1, at_most=MAX_QUORUM)(value, pointer)


_line = text(at_least=1, at_most=MAX_LINE_LENGTH, plain=True)
_seconds = number(at_least=0, at_most=MAX_SECONDS)
_timeout = number(above=0, at_most=MAX_SECONDS)
_policy = choice(*FailurePolicy)

RETRY_KEYS: Mapping[str, Check] = {
    "max_attempts": integer(at_least=1, at_most=MAX_ATTEMPTS),
    "delay_seconds": _seconds,
    "backoff": number(at_least=1, at_most=MAX_BACKOFF),
    "max_delay_seconds": _seconds,
    "jitter": boolean,
}
_retry = object_of(keys=RETRY_KEYS)

OUTCOME_KEYS: Mapping[str, Check] = {
    "name": name(slash=True),
    "label": text(at_least=1, at_most=MAX_LINE_LENGTH),
    "effect": choice(*Effect),
    "return_to": text(at_least=1, at_most=2 * MAX_LINE_LENGTH + 1),
}
_outcome_keys = object_of(keys=OUTCOME_KEYS, required=["name"])


def _outcome(value: Json, pointer: str) -> Iterator[Problem]:
    yield from _outcome_keys(value, pointer)
    if isinstance(value, dict):
        returns = value.get("effect") == Effect.RETURN
        if returns and "return_to" not in value:
            yield missing("return_to", pointer)
        if not returns and "return_to" in value:
            yield bad_value(below(pointer, "return_to"), "Only an outcome with the effect “return” returns to a task.")


COMPENSATE_KEYS: Mapping[str, Check] = {
    "task_queue": _queue,
    "step": _step,
    "assigned_to": _line,
    "retry": _retry,
    "timeout_seconds": _timeout,
    "after_failure": boolean,
}
_compensate_keys = object_of(keys=COMPENSATE_KEYS)
COMPENSATION_WAYS = ("task_queue", "step", "assigned_to")


def _compensate(value: Json, pointer: str) -> Iterator[Problem]:
    yield from _compensate_keys(value, pointer)
    if isinstance(value, dict):
        ways = [way for way in COMPENSATION_WAYS if way in value]
        if not ways:
            yield Problem(pointer, "required", f"One of {', '.join(COMPENSATION_WAYS)} is required.")
        elif len(ways) > 1:
            yield bad_value(pointer, f"There is one way to undo a task, not {' and '.join(ways)} at once.")
        yield from _reserved_keys(value, pointer, known=COMPENSATE_KEYS)


TASK_KEYS: Mapping[str, Check] = {
    "task_name": name(slash=False),
    "task_type": choice(*TaskKind, code="unknown_task_type"),
    "parent_task": list_of(text(at_most=10 * MAX_LINE_LENGTH), at_most=MAX_PARENTS, of="names of parents"),
    "task_queue": _queue,
    "assigned_to": _line,
    "business_status": _line,
    "title": text(at_most=MAX_TITLE_LENGTH),
    "description": text(at_most=MAX_DESCRIPTION_LENGTH),
    "form": _form,
    "outcomes": list_of(_outcome, at_most=MAX_OUTCOMES, of="outcomes"),
    "due_in_seconds": _seconds,
    "escalate_to": _line,
    "four_eyes": boolean,
    "quorum": _quorum,
    "retry": _retry,
    "timeout_seconds": _timeout,
    "on_failure": _policy,
    "compensate": _compensate,
    "when": _condition,
}
_STEP_TASK_KEYS: Mapping[str, Check] = {**TASK_KEYS, "step": _step}
_task_keys = object_of(keys=TASK_KEYS, required=["task_name", "task_type"], kind="a task (an object)")
_step_task_keys = object_of(keys=_STEP_TASK_KEYS, required=["task_name", "task_type"])
_NEEDED_BY_KIND: Mapping[Json, str] = {TaskKind.SERVICE: "task_queue", TaskKind.STEP: "step"}


def keys_of_task(task: Mapping[str, Json]) -> Mapping[str, Check]:
    """This will give the keys that mean something for a task of this kind; all others are extra fields."""
    return _STEP_TASK_KEYS if task.get("task_type") == TaskKind.STEP else TASK_KEYS


def _task(value: Json, pointer: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield wrong_type(value, pointer, "a task (an object)")
        return
    kind = value.get("task_type")
    yield from (_step_task_keys if kind == TaskKind.STEP else _task_keys)(value, pointer)
    needed = _NEEDED_BY_KIND.get(kind) if isinstance(kind, str) else None
    if needed and needed not in value:
        yield Problem(below(pointer, needed), "required", f"{needed} is required for a {kind} task.")
    yield from _reserved_keys(value, pointer, known=TASK_KEYS)


def _reserved_keys(value: Mapping[str, Json], pointer: str, known: Mapping[str, Check]) -> Iterator[Problem]:
    for key in value:
        if key in ENVELOPE_KEYS and key not in known:
            yield Problem(below(pointer, key), "reserved_key", f"Messages have a {key} of their own; use another name.")


STAGE_KEYS: Mapping[str, Check] = {
    "stage_name": name(slash=False),
    "stage_order": number(),
    "tasks": list_of(_task, at_most=MAX_TASKS, of="tasks"),
    "kind": choice(ACTIVITY_KIND),
    "activity": name(slash=False),
}
_stage_keys = object_of(keys=STAGE_KEYS, required=["stage_name", "stage_order"], kind="a stage (an object)")


def _stage(value: Json, pointer: str) -> Iterator[Problem]:
    yield from _stage_keys(value, pointer)
    if isinstance(value, dict):
        is_activity = value.get("kind") == ACTIVITY_KIND
        if is_activity and value.get("tasks"):
            message = "The stage of an activity has no tasks of its own: its work is done by plugins, which register."
            yield bad_value(below(pointer, "tasks"), message)
        if not is_activity and "activity" in value:
            yield bad_value(below(pointer, "activity"), "Only a stage of the kind “activity” has an activity.")


TEMPLATE_KEYS: Mapping[str, Check] = {
    "workflow_name": name(slash=True),
    "component_name": name(slash=True),
    "stages": list_of(_stage, at_least=1, at_most=MAX_STAGES, of="stages"),
    "context_schema": _context_schema,
    "on_failure": _policy,
    "timeout_seconds": _timeout,
    "observers": list_of(_line, at_most=MAX_OBSERVERS, of="observers"),
    "search": check_search,
    "target": choice(*Target),
    "runs_out_of_sync": boolean,
    "products": list_of(_line, at_most=MAX_PRODUCTS, of="names of products"),
}
_template = object_of(
    keys=TEMPLATE_KEYS, required=["workflow_name", "component_name", "stages"], kind="a template (an object)"
)


def check_shape(template: Json) -> Iterator[Problem]:
    """This will yield every key that is missing, of the wrong type, or holds what it may not hold."""
    return _template(template, "")
