"""The one door for tests: publishes, asks, lets time pass, and checks every history when the test is over."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import connection
from django.db.models import F, Q

from tests.builders import NOON
from workflows.engine import commands as c
from workflows.models import (
    Deadline,
    HandledMessage,
    HumanTask,
    Lease,
    LoggedEvent,
    OutboxMessage,
    PluginRun,
    StageInstance,
    TaskInstance,
    TaskProgress,
    WorkflowInstance,
    WorkflowTemplate,
    triggers,
)  # fmt: skip
from workflows.runtime import deadlines, leasing
from workflows.runtime.asking import Answer, Asked, Reference
from workflows.runtime.handling import handle
from workflows.runtime.inbound import read_event
from workflows.runtime.loading import snapshots
from workflows.runtime.publishing import publish_template
from workflows.runtime.reading import instance_json
from workflows.runtime.replay import check_history


def settle_people() -> None:
    """Make the people of `tests.builders.People`."""
    groups = {name: Group.objects.get_or_create(name=name)[0] for name in ("finance", "managers")}
    for name, group in (("fred", "finance"), ("fiona", "finance"), ("mona", "managers"), ("olivia", None)):
        user, _ = User.objects.get_or_create(username=name)
        if group:
            user.groups.add(groups[group])


class Door:
    """One component's instances, asked through the runtime."""

    def __init__(self, template: Mapping[str, Any] | None = None, *, component: str = "COMPONENT") -> None:
        self.at = NOON
        self.component = component
        self._events = itertools.count()
        if template is not None:
            self.publish(template)

    # --- asking ---

    def publish(self, template: Mapping[str, Any]) -> None:
        """Publish a template under this door's component."""
        publish_template({**template, "component_name": self.component}, by="olivia", at=self.at)

    def start(
        self, ref: str = "REF", *, by: str = "ada", context: Mapping[str, Any] | None = None, **more: Any
    ) -> Answer:
        """Start an instance."""
        return self.ask(c.StartWorkflow(ref, context or {}), ref=ref, actor=by, **more)

    def asked(
        self,
        command: Any,
        *,
        ref: str | uuid.UUID = "REF",
        workflow: str | None = None,
        actor: str = "bot",
        **more: Any,
    ) -> Asked:
        """Make a question of a command."""
        target = ref if isinstance(ref, uuid.UUID) else Reference(self.component, ref, workflow)
        return Asked(command=command, target=target, actor=actor, **{"said": {"command": repr(command)}, **more})

    def ask(self, command: Any, **how: Any) -> Answer:
        """Ask one thing."""
        return handle(self.asked(command, **how), at=self.at)[0]

    def batch(self, *commands: Any) -> list[Answer]:
        """Ask several things at once: commands about the instance, or questions."""
        return handle(*(one if isinstance(one, Asked) else self.asked(one) for one in commands), at=self.at)

    def say(self, message: Mapping[str, Any]) -> Answer:
        """Send a message of the contract."""
        whole = {"business_ref_no": "REF", "component_name": self.component, **message}
        return handle(read_event(whole, actor="bot"), at=self.at)[0]

    def later(self, seconds: float) -> int:
        """Let time pass, and every clock go off that is due."""
        self.at += dt.timedelta(seconds=seconds)
        fired = 0
        while one := deadlines.fire_due(self.at):
            fired += one
            assert fired < 10_000, "the clocks never come to rest"
        return fired

    def lease(self, queue: str, *, most: int = 1, seconds: float = 60, worker: str = "w1") -> list[dict[str, Any]]:
        """Lease work."""
        return leasing.lease(queue, worker_id=worker, max_tasks=most, lease_seconds=seconds, actor="bot", at=self.at)

    # --- looking ---

    def instance(self, ref: str = "REF") -> WorkflowInstance:
        """Give the row of an instance."""
        return WorkflowInstance.objects.get(component_name=self.component, business_ref_no=ref)

    def state(self, ref: str = "REF") -> str:
        """Give the state of an instance."""
        return str(self.instance(ref).state)

    def states(self, ref: str = "REF") -> dict[str, str]:
        """Give the states of its tasks."""
        rows = TaskInstance.objects.filter(instance=self.instance(ref)).order_by("position")
        return {row.task_name: str(row.state) for row in rows}

    def history(self, ref: str = "REF") -> list[str]:
        """Give the names of its history."""
        rows = LoggedEvent.objects.filter(instance=self.instance(ref)).order_by("sequence")
        return list(rows.values_list("event", flat=True))

    def messages(self, ref: str = "REF") -> list[str]:
        """Give what it sent, as `StartTask a#1`."""
        rows = OutboxMessage.objects.filter(instance=self.instance(ref)).order_by("id")
        return [f"{row.event_name} {row.task_name}#{row.attempt}" for row in rows]

    def human(self, task: str, ref: str = "REF") -> HumanTask:
        """Give the newest human task of that name."""
        rows = HumanTask.objects.filter(instance=self.instance(ref), task_name=task)
        return rows.latest("compensation", "attempt")

    def json(self, ref: str = "REF", *, at: int | None = None) -> dict[str, Any]:
        """Give the instance as the contract shows it."""
        return instance_json(self.instance(ref), at=at)


_TABLES = (
    WorkflowInstance, StageInstance, TaskInstance, HumanTask, LoggedEvent, OutboxMessage, Deadline, HandledMessage,
    Lease, PluginRun, TaskProgress,
)  # fmt: skip


def everything() -> dict[str, list[Any]]:
    """Give all that is stored about instances, to see that nothing changed."""
    return {table.__name__: list(table.objects.order_by("pk").values()) for table in _TABLES}


def empty() -> None:
    """Forget all templates and instances, past the guard of the log: for examples of one test."""
    triggers.remove(connection)
    with connection.cursor() as cursor:
        for table in (*reversed(_TABLES), WorkflowTemplate):
            cursor.execute(f"DELETE FROM {table._meta.db_table}")
    triggers.install(connection)
    snapshots.forget()


def check_everything() -> None:
    """Fold every log and compare it with the rows; once more with nothing in the cache."""
    for instance in WorkflowInstance.objects.order_by("created_at"):
        assert check_history(instance) == []
        check_clocks(instance)
    snapshots.forget()


def check_clocks(instance: WorkflowInstance) -> None:
    """Check that every clock that a snapshot wants is armed, unless it went off while the instance was suspended."""
    from workflows.runtime.replay import state_at

    _, now = state_at(instance)
    wanted = set()
    if now.timeout_at is not None:
        wanted.add(("INSTANCE_TIMEOUT", -1, False, 0, now.timeout_at))
    for position, task in enumerate(now.tasks):
        for one, undo in ((task, False), (task.compensation, True)):
            if one is not None and one.timeout_at is not None:
                wanted.add(("TASK_TIMEOUT", position, undo, one.attempt, one.timeout_at))
            if one is not None and one.retry_at is not None:
                wanted.add(("RETRY", position, undo, one.attempt, one.retry_at))
    armed = set(
        Deadline.objects.filter(instance=instance).values_list("kind", "position", "compensation", "attempt", "due_at")
    )
    armed = {_begun_late(instance, clock, wanted) for clock in armed}
    assert armed <= wanted, f"clocks are armed for nothing: {armed - wanted}"
    if instance.state != "SUSPENDED":
        assert wanted <= armed, f"clocks are not armed: {wanted - armed}"


def _begun_late(instance: WorkflowInstance, clock: tuple[Any, ...], wanted: set[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Give the clock as wanted where it stood still, or began to run, in the line of a queue with limits."""
    kind, position, _, attempt, due_at = clock
    rows = OutboxMessage.objects.filter(instance=instance, position=position, attempt=attempt)
    if kind != "TASK_TIMEOUT" or not rows.filter(Q(state="HELD") | Q(next_try_at__gt=F("created_at"))).exists():
        return clock
    return next((one for one in wanted if one[:4] == clock[:4] and one[4] <= due_at), clock)
