"""Due deadlines become commands. The engine's state knows every clock, too: what it finds outdated changes nothing."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence

from django.utils import timezone

from workflows import failpoints
from workflows.conf import settings
from workflows.engine.commands import Command, ElapseInstanceTimeout, ElapseRetry, ElapseTaskTimeout
from workflows.models import Deadline, DeadlineKind
from workflows.models.locking import writing
from workflows.runtime.asking import Asked
from workflows.runtime.handling import handle
from workflows.runtime.refusals import STATUS

logger = logging.getLogger(__name__)

_AGAIN = dt.timedelta(seconds=30)


def fire_due(at: dt.datetime | None = None, *, most: int | None = None) -> int:
    """This will carry out what is due, oldest first, one batch; it gives how many clocks went off."""
    moment = at or timezone.now()
    due = list(Deadline.objects.filter(due_at__lte=moment).order_by("due_at", "id")[: most or settings.HANDLE_BATCH])
    if not due:
        return 0
    failpoints.hit("clock_claimed")
    failed = _carry_out(due, at=moment)
    failpoints.hit("clock_fired")
    with writing():
        # What had no effect (a suspension, an attempt that is over) leaves its row: it has gone off all the same.
        Deadline.objects.filter(pk__in=[clock.pk for clock in due if clock.pk not in failed]).delete()
        # What failed is a bug: kept, and tried later, so that it holds nobody else up.
        Deadline.objects.filter(pk__in=failed).update(due_at=moment + _AGAIN)
    failpoints.hit("clock_settled")
    return len(due)


def _carry_out(due: Sequence[Deadline], *, at: dt.datetime) -> set[int]:
    """This will ask for all of them, and give the ids of those that could not be carried out."""
    asked = [Asked(command=_command(clock), target=clock.instance_id, actor="clock") for clock in due]
    try:
        answers = handle(*asked, at=at)
    except Exception:
        if len(due) > 1:
            raise
        logger.exception("A clock could not be carried out; it is tried again in %s", _AGAIN)
        return {due[0].pk}
    return {
        clock.pk
        for clock, answer in zip(due, answers, strict=True)
        if answer.code is not None and answer.code not in STATUS
    }


def next_due() -> dt.datetime | None:
    """This will give the moment at which the next clock goes off."""
    return Deadline.objects.order_by("due_at", "id").values_list("due_at", flat=True).first()


def _command(clock: Deadline) -> Command:
    match clock.kind:
        case DeadlineKind.TASK_TIMEOUT:
            return ElapseTaskTimeout(clock.position, clock.attempt, clock.compensation)
        case DeadlineKind.RETRY:
            return ElapseRetry(clock.position, clock.attempt, clock.compensation)
        case _:
            return ElapseInstanceTimeout()
