"""Retrying all failed instances: asked for once, carried out by the clock in small batches.

Note [Once each]
~~~~~~~~~~~~~~~~
Which instances are meant is fixed when it is asked for. A batch is one call of the door, and the wish moves on
afterwards; a process that dies in between leaves both or the first. Then the batch is asked for again, and each of its
retries bears an id made from the wish, so that it counts once. What fails again is left to the next wish.
"""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError
from django.db.models import F, Q, QuerySet

from workflows import failpoints
from workflows.definitions.schema import FailurePolicy
from workflows.engine.commands import RetryTask
from workflows.engine.lifecycle import TaskState
from workflows.models import BulkRetry, ControlRecord, TaskInstance, WorkflowInstance
from workflows.models.locking import writing
from workflows.runtime import listeners, moments, pausing
from workflows.runtime.asking import Asked
from workflows.runtime.handling import handle
from workflows.runtime.listeners import Committed
from workflows.runtime.pausing import EnginePaused
from workflows.runtime.replay import followed

logger = logging.getLogger(__name__)

MOST = 10_000
"""How many instances one wish may be about."""
BATCH = 20
_TASKS = 200
_HELD = dt.timedelta(seconds=30)


class Busy(Exception):
    """Another wish is still being carried out."""

    def __init__(self, other: BulkRetry | None) -> None:
        count = f"{other.position} of {other.count}" if other else "it"
        super().__init__(f"Failed instances are being retried already ({count}); ask again when that is done.")
        self.other = other


def failed(
    *, component_name: str | None = None, workflow_name: str | None = None, q: str | None = None
) -> QuerySet[WorkflowInstance]:
    """This will give the failed instances that all of this is true of, the oldest first."""
    rows = WorkflowInstance.objects.filter(health="failed")
    for name, value in (("component_name", component_name), ("workflow_name", workflow_name)):
        if value:
            rows = rows.filter(**{name: value})
    if q:
        columns = ("business_ref_no", "workflow_name", "component_name", "business_status")
        found = Q()
        for name in columns:
            found |= Q(**{f"{name}__icontains": q})
        rows = rows.filter(found)
    return rows.order_by("created_at", "id")


def ask(
    *, by: str, reason: str, filters: Mapping[str, Any], limit: int = MOST, at: dt.datetime | None = None
) -> tuple[BulkRetry, bool]:
    """This will begin to retry them; it gives the wish, and whether more match. Raises Busy and EnginePaused."""
    pausing.check()
    moment = at or moments.now()
    if (other := open_one()) is not None:
        raise Busy(other)
    given = {name: value for name, value in filters.items() if value}
    found = [str(key) for key in failed(**given).values_list("pk", flat=True)[: limit + 1]]
    wish = BulkRetry(
        asked_by=by, asked_at=moment, reason=reason, filters=given, ids=found[:limit], count=len(found[:limit])
    )
    if not found:
        wish.finished_at, wish.is_open = moment, None
    try:
        with writing():
            wish.save(force_insert=True)
            ControlRecord.objects.create(
                at=moment, actor=by, action="RETRIED_FAILED", reason=reason,
                data={"id": str(wish.pk), "count": wish.count, "filters": given},
            )  # fmt: skip
    except IntegrityError:
        raise Busy(open_one()) from None
    listeners.tell(Committed(at=moment, changes=(), deadline=moment))
    return wish, len(found) > limit


def open_one() -> BulkRetry | None:
    """This will give the wish that is being carried out."""
    return BulkRetry.objects.filter(is_open=True).defer("ids").first()


def newest() -> BulkRetry | None:
    """This will give the wish that was asked for last."""
    return BulkRetry.objects.order_by("-asked_at").defer("ids").first()


def go_on(at: dt.datetime) -> bool:
    """This will carry out a batch, and tell whether there is more to do at once. See Note [Once each]."""
    free = Q(held_until__isnull=True) | Q(held_until__lte=at)
    if not BulkRetry.objects.filter(free, is_open=True).exists():
        return False
    with writing():
        if not BulkRetry.objects.filter(free, is_open=True).update(held_until=at + _HELD):
            return False
    wish = BulkRetry.objects.get(is_open=True)
    chosen = [uuid.UUID(key) for key in wish.ids[wish.position : wish.position + BATCH]]
    try:
        retried, refused = _retry(wish, chosen, at=at)
    except EnginePaused:
        return False
    failpoints.hit("bulk_retried")
    position = wish.position + len(chosen)
    columns: dict[str, Any] = {
        "position": position,
        "retried": F("retried") + retried,
        "refused": F("refused") + refused,
        "held_until": None,
    }
    if over := position >= wish.count:
        columns |= {"finished_at": at, "is_open": None}
    with writing():
        # Only from where we found it: whoever has held it for too long has been overtaken.
        BulkRetry.objects.filter(pk=wish.pk, position=wish.position, is_open=True).update(**columns)
    return not over


def _retry(wish: BulkRetry, chosen: Sequence[uuid.UUID], *, at: dt.datetime) -> tuple[int, int]:
    """How many instances were sent on, and how many could not be. Raises EnginePaused."""
    asked = [
        Asked(
            command=RetryTask(
                stage_name=task.stage_name,
                task_name=task.task_name,
                compensation=task.state == TaskState.COMPENSATION_FAILED,
                reason=wish.reason,
            ),
            target=task.instance_id,
            actor=wish.asked_by,
            cause=str(wish.pk),
            event_id=f"retry-failed:{wish.pk}:{task.position}",
            said={"action": "retry-failed", "stage_name": task.stage_name, "task_name": task.task_name},
        )
        for task in _failed_tasks(chosen)
    ]
    if not asked:
        return 0, 0
    outcomes: dict[Any, bool] = {}
    for start in range(0, len(asked), _TASKS):
        part = asked[start : start + _TASKS]
        try:
            said = handle(*part, at=at)
            pausing.insist(said)
            answers = [answer.applied for answer in said]
        except EnginePaused:
            raise
        except Exception:
            if len(part) > 1:
                raise
            logger.exception("An instance could not be retried; the others are")
            answers = [False]
        for one, good in zip(part, answers, strict=True):
            outcomes[one.target] = outcomes.get(one.target, False) or good
    return sum(outcomes.values()), len(outcomes) - sum(outcomes.values())


def _failed_tasks(chosen: Sequence[uuid.UUID]) -> list[TaskInstance]:
    rows = TaskInstance.objects.filter(
        instance__in=chosen,
        instance__health="failed",
        state__in=[TaskState.FAILED, TaskState.COMPENSATION_FAILED],
    )
    columns = ("instance__template", "position", "stage_name", "task_name", "state")
    return [
        task
        for task in rows.select_related("instance").only(*columns).order_by("instance", "position")
        if task.state != TaskState.FAILED or _holds_up(task)
    ]


def _holds_up(task: TaskInstance) -> bool:
    # One that has failed under `continue` counts as done; it would be refused a retry.
    return followed(task.instance, task.position).tasks[task.position].on_failure is not FailurePolicy.CONTINUE
