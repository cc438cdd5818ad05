"""A human task in somebody's inbox: one row per attempt, with the querysets of the inbox."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q

from workflows.engine import lifecycle
from workflows.engine.lifecycle import InstanceState, TaskState
from workflows.models.fields import JsonText, StateField, StateModel, moves, states_check

if TYPE_CHECKING:
    from workflows.models.people import Person


class HumanTaskQuerySet(models.QuerySet["HumanTask"]):
    """Reads of human tasks; they chain."""

    def open(self) -> Self:
        """This will keep those that somebody may still decide."""
        return self.filter(state__in=lifecycle.OPEN_HUMAN_TASK).exclude(
            instance__state__in=[InstanceState.CANCELLED, InstanceState.ROLLED_BACK]
        )

    def assigned_to(self, person: Person) -> Self:
        """This will keep those that are assigned to the person or to one of their groups."""
        return self.filter(
            Q(assigned_kind="user", assigned_to=person.username)
            | Q(assigned_kind="group", assigned_to__in=person.groups)
        )

    def belonging_to(self, person: Person) -> Self:
        """This will keep those that are, or were, the person's: assigned, held or decided."""
        return self.filter(
            Q(assigned_kind="user", assigned_to=person.username)
            | Q(assigned_kind="group", assigned_to__in=person.groups)
            | Q(claimed_by=person.username)
            | Q(decided_by=person.username)
        )

    def visible_to(self, person: Person) -> Self:
        """This will keep what the person may see. API clients see none: people's work is not theirs."""
        if person.is_operator or person.is_auditor:
            return self
        if person.is_api_client:
            return self.none()
        return self.belonging_to(person)

    def mine(self, person: Person) -> Self:
        """This will keep open ones that the person holds or that are theirs alone."""
        return self.open().filter(
            Q(claimed_by=person.username) | Q(claimed_by=None, assigned_kind="user", assigned_to=person.username)
        )

    def claimable(self, person: Person) -> Self:
        """This will keep open ones that nobody holds and the person may take (four eyes: unless they took part)."""
        took_part = HumanTask.objects.filter(decided_by=person.username, instance=OuterRef("instance")).exclude(
            position=OuterRef("position")
        )
        return (
            self.open()
            .filter(claimed_by=None)
            .assigned_to(person)
            .exclude(Q(four_eyes=True) & (Q(instance__started_by=person.username) | Exists(took_part)))
        )

    def done(self, person: Person) -> Self:
        """This will keep those that the person decided."""
        return self.filter(decided_by=person.username)

    def overdue(self, at: dt.datetime) -> Self:
        """This will keep open ones whose due moment has passed."""
        return self.open().filter(due_at__lt=at)


class HumanTask(StateModel):
    """One attempt of a HUMAN task (or of a compensation by a person).

    Its id is derived from instance, task and attempt.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    instance = models.ForeignKey(
        "workflows.WorkflowInstance", on_delete=models.PROTECT, db_index=False, related_name="human_tasks"
    )
    position = models.PositiveIntegerField()
    stage_name = models.CharField(max_length=200)
    task_name = models.CharField(max_length=200)
    title = models.TextField(blank=True)
    attempt = models.PositiveIntegerField()
    compensation = models.BooleanField(default=False)
    four_eyes = models.BooleanField(default=False)
    state = StateField(states=TaskState, default=TaskState.SCHEDULED)
    assigned_to = models.CharField(max_length=200, null=True)  # noqa: DJ001 (null = nobody: contract 2)
    assigned_kind = models.CharField(max_length=8, blank=True, default="")
    claimed_by = models.CharField(max_length=150, null=True)  # noqa: DJ001
    decided_by = models.CharField(max_length=150, null=True)  # noqa: DJ001
    outcome = models.CharField(max_length=200, null=True)  # noqa: DJ001
    data = JsonText(null=True)
    comment = models.TextField(blank=True, default="")
    created_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    objects = models.Manager.from_queryset(HumanTaskQuerySet)()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["instance", "position", "compensation", "attempt"], name="one_human_task_per_attempt"
            ),
            states_check(name="human_task_state_is_known", states=TaskState),
        ]
        indexes = [
            models.Index(
                fields=["assigned_to", "due_at"],
                name="human_task_inbox",
                condition=Q(state__in=["SCHEDULED", "STARTED"]),
            ),
            models.Index(
                fields=["claimed_by", "state"], name="human_task_by_holder", condition=Q(claimed_by__isnull=False)
            ),
            models.Index(
                fields=["decided_by", "-closed_at"],
                name="human_task_by_decider",
                condition=Q(decided_by__isnull=False),
            ),
            # Which instances somebody may see, also those whose tasks are done: few of many are found, not looked for.
            models.Index(fields=["assigned_to", "instance"], name="human_task_assigned"),
            models.Index(fields=["created_at", "id"], name="human_task_oldest"),
        ]

    def __str__(self) -> str:
        return f"{self.instance_id}/{self.stage_name}/{self.task_name}#{self.attempt}"

    @moves(lifecycle.CLAIM_HUMAN_TASK)
    def mark_claimed(self, *, by: str) -> None:
        """This will say who holds it."""
        self.claimed_by = by

    @moves(lifecycle.CLAIM_HUMAN_TASK)
    def mark_started(self) -> None:
        """This will say that a program has taken it in hand; nobody holds it yet."""

    @moves(lifecycle.RELEASE_HUMAN_TASK)
    def mark_released(self, *, assigned_to: str | None, assigned_kind: str) -> None:
        """This will give it back to those whom it is assigned to."""
        self.assigned_to, self.assigned_kind, self.claimed_by = assigned_to, assigned_kind, None

    @moves(lifecycle.COMPLETE_HUMAN_TASK)
    def mark_completed(
        self, *, at: dt.datetime, by: str | None, outcome: str | None, data: Mapping[str, Any] | None, comment: str
    ) -> None:
        """This will say how it was decided."""
        self.closed_at, self.outcome, self.data, self.comment = at, outcome, data, comment
        self.decided_by, self.claimed_by = by, by or self.claimed_by

    @moves(lifecycle.FAIL_HUMAN_TASK)
    def mark_failed(
        self, *, at: dt.datetime, by: str | None, outcome: str | None, data: Mapping[str, Any] | None, comment: str
    ) -> None:
        """This will say that it was refused, or took too long."""
        self.closed_at, self.outcome, self.data, self.comment = at, outcome, data, comment
        self.decided_by, self.claimed_by = by, by or self.claimed_by

    @moves(lifecycle.SKIP_HUMAN_TASK)
    def mark_skipped(self, *, at: dt.datetime) -> None:
        """This will say that an operator found it not needed."""
        self.closed_at = at

    @moves(lifecycle.WITHDRAW_HUMAN_TASK)
    def mark_withdrawn(
        self,
        *,
        at: dt.datetime,
        by: str | None = None,
        outcome: str | None = None,
        data: Mapping[str, Any] | None = None,
        comment: str = "",
    ) -> None:
        """This will take it out of the inbox; a decision that sends the work back is kept with it."""
        self.closed_at, self.outcome, self.data, self.comment = at, outcome, data, comment
        self.decided_by = by


class HumanTaskDraft(models.Model):
    """What somebody has filled in and not sent yet; survives reloads and lost connections."""

    human_task = models.ForeignKey(HumanTask, on_delete=models.CASCADE, related_name="drafts")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    data = JsonText()
    saved_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["human_task", "user"], name="one_draft_per_person")]

    def __str__(self) -> str:
        return f"{self.human_task_id} by {self.user_id}"
