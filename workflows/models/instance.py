"""A workflow instance with its stages and tasks: columns, moves, reads. No policy."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models import Exists, OuterRef, Q

from workflows.engine import lifecycle
from workflows.engine.lifecycle import InstanceState, StageState, TaskState
from workflows.models.fields import JsonText, StateField, StateModel, is_one_of, moves, states_check
from workflows.models.human_task import HumanTask

if TYPE_CHECKING:
    from workflows.models.people import Person


class InstanceQuerySet(models.QuerySet["WorkflowInstance"]):
    """Reads of instances."""

    def visible_to(self, person: Person) -> Self:
        """This will keep what the person may see: all of it, or the instances whose human tasks are theirs."""
        if person.reads_everything:
            return self
        return self.filter(Exists(HumanTask.objects.belonging_to(person).filter(instance=OuterRef("pk"))))


# Note [Rows that hold on to an instance]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
# What is written with each event (the log, messages, clocks, ids of messages) refers to its instance, which whoever
# writes has locked or made in the same transaction, and which nothing deletes. PostgreSQL would look that up for each
# of these rows once more, which took the one writing statement some 0.15 ms. So there they have no foreign key in the
# database (`db_constraint=False`); what is written once for an instance has one. SQLite looks it up at next to no cost.


class WorkflowInstance(StateModel):
    """One run of a template version.

    `last_sequence` is the number of its newest event; `health` is the derived word that lists show and filter by
    (failed, suspended, rolling_back, retrying, person, running, or how it ended).
    """

    id = models.UUIDField(primary_key=True, editable=False)
    template = models.ForeignKey("workflows.WorkflowTemplate", on_delete=models.PROTECT, related_name="instances")
    workflow_name = models.CharField(max_length=200)
    component_name = models.CharField(max_length=200)
    version = models.PositiveIntegerField()
    business_ref_no = models.CharField(max_length=200)
    state = StateField(states=InstanceState, default=InstanceState.RUNNING)
    business_status = models.CharField(max_length=200, null=True)  # noqa: DJ001 (null until a task sets it: contract 3.1)
    health = models.CharField(max_length=16, default="running")
    active_stage = models.CharField(max_length=200, blank=True, default="")
    failed_tasks = models.PositiveIntegerField(default=0)
    context = JsonText()
    last_sequence = models.PositiveIntegerField(default=0)
    started_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    objects = models.Manager.from_queryset(InstanceQuerySet)()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["component_name", "business_ref_no", "workflow_name"], name="one_instance_per_reference"
            ),
            states_check(name="instance_state_is_known", states=InstanceState),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="instance_newest"),
            models.Index(fields=["-updated_at", "-id"], name="instance_touched"),
            models.Index(fields=["state", "-created_at"], name="instance_by_state"),
            models.Index(fields=["health", "-created_at"], name="instance_by_health"),
            models.Index(fields=["business_ref_no", "id"], name="instance_by_reference"),
            # What was completed or failed when. Partial: the events on the way there do not have to keep it.
            models.Index(
                fields=["health", "updated_at"],
                name="instance_completed_or_failed",
                condition=Q(health__in=["completed", "failed"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.component_name}/{self.business_ref_no} ({self.workflow_name})"

    @moves(lifecycle.FAIL_INSTANCE)
    def mark_failed(self) -> None:
        """This will say that it needs someone."""

    @moves(lifecycle.TIME_OUT_INSTANCE)
    def mark_timed_out(self) -> None:
        """This will say that it took longer than its template allows."""

    @moves(lifecycle.RECOVER_INSTANCE)
    def mark_recovered(self) -> None:
        """This will say that it needs nobody any more."""

    @moves(lifecycle.SUSPEND_INSTANCE)
    def mark_suspended(self) -> None:
        """This will stop it from scheduling anything."""

    @moves(lifecycle.RESUME_INSTANCE)
    def mark_resumed(self) -> None:
        """This will let it go on."""

    @moves(lifecycle.COMPLETE_INSTANCE)
    def mark_completed(self, *, at: dt.datetime) -> None:
        """This will end it well."""
        self.finished_at = at

    @moves(lifecycle.CANCEL_INSTANCE)
    def mark_cancelled(self, *, at: dt.datetime) -> None:
        """This will end it, effects standing."""
        self.finished_at = at

    @moves(lifecycle.ROLL_BACK_INSTANCE)
    def mark_rolling_back(self) -> None:
        """This will begin to undo it."""

    @moves(lifecycle.STOP_ROLLBACK)
    def mark_rollback_failed(self) -> None:
        """This will say that undoing it needs someone."""

    @moves(lifecycle.RESUME_ROLLBACK)
    def mark_rollback_resumed(self) -> None:
        """This will go on with undoing it."""

    @moves(lifecycle.COMPLETE_ROLLBACK)
    def mark_rolled_back(self, *, at: dt.datetime) -> None:
        """This will end it, undone."""
        self.finished_at = at

    @moves(lifecycle.REOPEN_INSTANCE)
    def mark_reopened(self) -> None:
        """This will open a completed one again, for a replay."""
        self.finished_at = None


class StageInstance(StateModel):
    """One stage of an instance; `position` is its place in the order of the stages."""

    instance = models.ForeignKey(WorkflowInstance, on_delete=models.PROTECT, db_index=False, related_name="stages")
    position = models.PositiveSmallIntegerField()
    stage_name = models.CharField(max_length=200)
    stage_order = models.FloatField()
    state = StateField(states=StageState, default=StageState.PENDING)
    activated_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["instance", "position"], name="one_row_per_stage"),
            states_check(name="stage_state_is_known", states=StageState),
        ]

    def __str__(self) -> str:
        return f"{self.instance_id}/{self.stage_name}"

    @moves(lifecycle.ACTIVATE_STAGE)
    def mark_active(self, *, at: dt.datetime) -> None:
        """This will give it its turn."""
        self.activated_at, self.finished_at = at, None

    @moves(lifecycle.COMPLETE_STAGE)
    def mark_completed(self, *, at: dt.datetime) -> None:
        """This will say that all of its tasks are done."""
        self.finished_at = at

    @moves(lifecycle.SKIP_STAGE)
    def mark_skipped(self, *, at: dt.datetime) -> None:
        """This will say that all of its tasks were skipped."""
        self.finished_at = at

    @moves(lifecycle.CANCEL_STAGE)
    def mark_cancelled(self, *, at: dt.datetime) -> None:
        """This will close it with its instance."""
        self.finished_at = at

    @moves(lifecycle.RESET_STAGE)
    def mark_reset(self) -> None:
        """This will take its turn back, for a replay."""
        self.activated_at = self.finished_at = None


_ON_OFFER = is_one_of(["SCHEDULED", "STARTED", "COMPENSATING"])


class TaskQuerySet(models.QuerySet["TaskInstance"]):
    """Reads of tasks."""

    def on_offer(self, queue: str) -> Self:
        """This will keep what a queue's workers may take, in the words of the index that knows it."""
        return self.filter(_ON_OFFER, queue=queue)


class TaskInstance(StateModel):
    """One task of an instance; `position` counts over the whole workflow.

    `attempt`, `output`, `outcome`, `claimed_by` are those of the newest attempt, `error` the newest failure until one
    succeeds; `queue` is where its live attempt or compensation is offered since `offered_at` (empty: nowhere).
    """

    instance = models.ForeignKey(WorkflowInstance, on_delete=models.PROTECT, db_index=False, related_name="tasks")
    position = models.PositiveIntegerField()
    stage_position = models.PositiveSmallIntegerField()
    stage_name = models.CharField(max_length=200)
    task_name = models.CharField(max_length=200)
    task_type = models.CharField(max_length=16)
    state = StateField(states=TaskState, default=TaskState.PENDING)
    attempt = models.PositiveIntegerField(default=0)
    queue = models.CharField(max_length=200, blank=True, default="")
    offered_at = models.DateTimeField(null=True)
    assigned_to = models.CharField(max_length=200, null=True)  # noqa: DJ001 (null = nobody: contract 2)
    claimed_by = models.CharField(max_length=150, null=True)  # noqa: DJ001
    outcome = models.CharField(max_length=200, null=True)  # noqa: DJ001
    output = JsonText(null=True)
    error = JsonText(null=True)
    due_at = models.DateTimeField(null=True)
    scheduled_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = models.Manager.from_queryset(TaskQuerySet)()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["instance", "position"], name="one_row_per_task"),
            states_check(name="task_state_is_known", states=TaskState),
        ]
        indexes = [
            # What a worker may take, oldest first: live attempts and compensations only, so that it stays small.
            models.Index(
                fields=["queue", "offered_at"],
                name="task_on_offer",
                condition=_ON_OFFER,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.instance_id}/{self.stage_name}/{self.task_name}"

    @moves(lifecycle.SCHEDULE_TASK)
    def mark_scheduled(
        self, *, at: dt.datetime, attempt: int, queue: str, assigned_to: str | None, due_at: dt.datetime | None
    ) -> None:
        """This will begin a new attempt."""
        self.attempt, self.queue, self.assigned_to, self.due_at = attempt, queue, assigned_to, due_at
        self.claimed_by = self.outcome = self.output = None
        self.scheduled_at = self.offered_at = at
        self.started_at = self.finished_at = None

    @moves(lifecycle.START_TASK)
    def mark_started(self, *, at: dt.datetime, claimed_by: str | None = None) -> None:
        """This will say that a worker or a person has taken it."""
        self.started_at, self.claimed_by = at, claimed_by

    @moves(lifecycle.RELEASE_TASK)
    def mark_released(self, *, assigned_to: str | None) -> None:
        """This will give it back to those whom it is assigned to."""
        self.assigned_to, self.claimed_by, self.started_at = assigned_to, None, None

    @moves(lifecycle.AWAIT_SIGNAL)
    def mark_awaiting_signal(self, *, at: dt.datetime) -> None:
        """This will let a step wait for a signal."""
        self.queue = ""
        self.started_at = self.started_at or at

    @moves(lifecycle.WAKE_TASK)
    def mark_woken(self, *, queue: str) -> None:
        """This will let a waiting step go on."""
        self.queue = queue

    @moves(lifecycle.COMPLETE_TASK)
    def mark_completed(
        self, *, at: dt.datetime, output: Mapping[str, Any] | None, outcome: str | None, claimed_by: str | None
    ) -> None:
        """This will say that its newest attempt succeeded."""
        self.queue = ""
        self.keep_result(at=at, output=output, outcome=outcome, claimed_by=claimed_by)

    def keep_result(
        self, *, at: dt.datetime, output: Mapping[str, Any] | None, outcome: str | None, claimed_by: str | None
    ) -> None:
        """This will keep what its newest attempt put out, also while an older one is being undone."""
        self.finished_at, self.output, self.outcome, self.error = at, output, outcome, None
        self.claimed_by = claimed_by

    @moves(lifecycle.FAIL_TASK)
    def mark_failed(
        self, *, at: dt.datetime, error: Mapping[str, Any], outcome: str | None, claimed_by: str | None
    ) -> None:
        """This will say that its newest attempt failed."""
        self.queue = ""
        self.finished_at, self.error, self.outcome = at, error, outcome
        self.claimed_by = claimed_by

    @moves(lifecycle.RETRY_TASK_LATER)
    def mark_waiting(self) -> None:
        """This will let it wait for its next attempt."""
        self.queue = ""

    @moves(lifecycle.SKIP_TASK)
    def mark_skipped(self, *, at: dt.datetime) -> None:
        """This will say that it was not needed."""
        self.queue = ""
        self.finished_at = at

    @moves(lifecycle.CANCEL_TASK)
    def mark_cancelled(self, *, at: dt.datetime) -> None:
        """This will withdraw it."""
        self.queue = ""
        self.finished_at = at

    @moves(lifecycle.RESET_TASK)
    def mark_reset(self) -> None:
        """This will take it back to before its turn, for a replay."""
        self.queue = ""
        self.finished_at = self.claimed_by = None

    @moves(lifecycle.COMPENSATE_TASK)
    def mark_compensating(self, *, at: dt.datetime, queue: str) -> None:
        """This will begin an attempt to undo it."""
        self.queue, self.offered_at = queue, at

    @moves(lifecycle.COMPLETE_COMPENSATION)
    def mark_compensated(self) -> None:
        """This will say that it is undone."""
        self.queue = ""

    @moves(lifecycle.FAIL_COMPENSATION)
    def mark_compensation_failed(self) -> None:
        """This will say that undoing it needs someone."""
        self.queue = ""

    @moves(lifecycle.SKIP_COMPENSATION)
    def mark_compensation_skipped(self) -> None:
        """This will let its effect stand."""
        self.queue = ""
