"""The sign of each state: what people read, with its icon and its colour."""

from __future__ import annotations

from typing import NamedTuple


class Sign(NamedTuple):
    """A state as it is shown: `state` is the value of `data-state` and picks the colour, `icon` names a symbol."""

    state: str
    icon: str
    word: str


_INSTANCE = {
    "running": Sign("running", "running", "Running"),
    "person": Sign("person", "person", "Waiting for a person"),
    "retrying": Sign("retrying", "retrying", "Retrying"),
    "failed": Sign("failed", "failed", "Failed"),
    "suspended": Sign("suspended", "suspended", "Suspended"),
    "rolling_back": Sign("rolling_back", "rolling", "Rolling back"),
    "rolled_back": Sign("rolled_back", "rolled", "Rolled back"),
    "rollback_failed": Sign("rollback_failed", "failed", "Rollback failed"),
    "completed": Sign("completed", "completed", "Completed"),
    "cancelled": Sign("cancelled", "cancelled", "Cancelled"),
}

_STAGE = {
    "PENDING": Sign("pending", "pending", "Not yet"),
    "ACTIVE": Sign("active", "running", "Active"),
    "COMPLETED": Sign("completed", "completed", "Completed"),
    "SKIPPED": Sign("skipped", "skipped", "Skipped"),
    "CANCELLED": Sign("cancelled", "cancelled", "Cancelled"),
}

_TASK = {
    "PENDING": Sign("pending", "pending", "Not yet"),
    "SCHEDULED": Sign("scheduled", "sent", "Sent"),
    "STARTED": Sign("started", "running", "In progress"),
    "WAITING": Sign("waiting", "retrying", "Between attempts"),
    "COMPLETED": Sign("completed", "completed", "Completed"),
    "FAILED": Sign("failed", "failed", "Failed"),
    "SKIPPED": Sign("skipped", "skipped", "Skipped"),
    "CANCELLED": Sign("cancelled", "cancelled", "Cancelled"),
    "COMPENSATING": Sign("compensating", "rolling", "Undoing"),
    "COMPENSATED": Sign("compensated", "rolled", "Undone"),
    "COMPENSATION_FAILED": Sign("compensation_failed", "failed", "Undo failed"),
}

_PLUGIN = {
    "NOT_STARTED": Sign("pending", "pending", "Not started"),
    "IN_PROGRESS": Sign("running", "running", "In progress"),
    "COMPLETE": Sign("completed", "completed", "Complete"),
    "ERROR": Sign("failed", "failed", "Error"),
    "NOT_APPLICABLE": Sign("skipped", "skipped", "Not applicable"),
}
_PHASE = {
    "NOT_STARTED": Sign("pending", "pending", "Not started"),
    "IN_PROGRESS": Sign("running", "running", "In progress"),
    "MANDATORY_COMPLETED": Sign("running", "running", "Mandatory completed"),
    "COMPLETE": Sign("completed", "completed", "Complete"),
    "ERROR": Sign("failed", "failed", "Error"),
}
PHASE_TITLES = {"pre": "Pre", "parallel": "Parallel", "post": "Post"}
PHASE_WAYS = {"pre": "one after another", "parallel": "all together", "post": "one after another"}

_MESSAGE = {
    "PENDING": Sign("pending", "pending", "To be sent"),
    "SENT": Sign("completed", "sent", "Sent"),
    "FAILED": Sign("failed", "failed", "Not sent, tried again"),
    "HELD": Sign("waiting", "pending", "In its queue's line"),
    "WITHDRAWN": Sign("cancelled", "cancelled", "Never sent: it was over before its turn"),
}

_SUBSCRIPTION = {
    "initial": Sign("pending", "pending", "Initial"),
    "provisioning": Sign("running", "running", "Provisioning"),
    "active": Sign("completed", "completed", "Active"),
    "migrating": Sign("retrying", "running", "Migrating"),
    "disabled": Sign("suspended", "suspended", "Disabled"),
    "terminated": Sign("cancelled", "cancelled", "Terminated"),
}


def subscription_sign(status: str) -> Sign:
    """This will give the sign of a subscription."""
    return _SUBSCRIPTION.get(status) or Sign("pending", "info", status.capitalize())


def instance_sign(state: str, health: str = "") -> Sign:
    """This will give the sign of an instance, finer than its state where `health` knows more."""
    if state == "ROLLBACK_FAILED":
        return _INSTANCE["rollback_failed"]
    word = health if state == "RUNNING" and health else state.lower()
    return _INSTANCE.get(word) or Sign("pending", "info", word.replace("_", " ").capitalize())


def health_sign(health: str) -> Sign:
    """This will give the sign of a word that lists filter by."""
    return _INSTANCE.get(health) or Sign("pending", "info", health.replace("_", " ").capitalize())


def stage_sign(state: str) -> Sign:
    """This will give the sign of a stage."""
    return _STAGE.get(state) or Sign("pending", "info", state.capitalize())


def task_sign(state: str, kind: str = "SERVICE", holder: str | None = None) -> Sign:
    """This will give the sign of a task; a person's task says who has it."""
    if kind == "HUMAN" and state in ("SCHEDULED", "STARTED"):
        return Sign("person", "person", f"Claimed by {holder}" if holder else "In an inbox")
    if kind == "STEP" and state == "WAITING":
        return Sign("waiting", "clock", "Waits for a signal")
    return _TASK.get(state) or Sign("pending", "info", state.capitalize())


def plugin_sign(state: str, *, optional: bool = False) -> Sign:
    """This will give the sign of a plugin; the error of an optional one is a warning."""
    if optional and state == "ERROR":
        return Sign("retrying", "failed", "Error, optional")
    return _PLUGIN[state]


def phase_sign(state: str, *, warning: bool = False) -> Sign:
    """This will give the sign of a phase; a warning stands beside its state."""
    sign = _PHASE[state]
    return Sign(sign.state, sign.icon, f"{sign.word}, with a warning") if warning else sign


def message_sign(state: str) -> Sign:
    """This will give the sign of an outbound message."""
    return _MESSAGE.get(state) or Sign("pending", "info", state.capitalize())


KIND_ICONS = {"SERVICE": "service", "HUMAN": "person", "STEP": "step"}
"""The icon that says who does a task."""

KIND_WORDS = {"SERVICE": "Service", "HUMAN": "Person", "STEP": "Step"}
"""The word that says who does a task."""


def readable(name: str) -> str:
    """This will write a technical name the way people do: `reserve_stock` is "Reserve stock"."""
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:] if text.islower() or "_" in name else name
