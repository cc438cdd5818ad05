"""Due deadlines become commands. The engine's state knows every clock, too: what it finds outdated changes nothing."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from workflows import failpoints
from workflows.conf import settings
from workflows.engine.commands import Command, ElapseInstanceTimeout, ElapseRetry, ElapseTaskTimeout
from workflows.models import Deadline, DeadlineKind
from workflows.models.locking import writing
from workflows.runtime import moments, pausing
from workflows.runtime.asking import Asked
from workflows.runtime.handling import handle
from workflows.runtime.refusals import STATUS

logger = logging.getLogger(__name__)

_AGAIN = dt.timedelta(seconds=30)


# Note [A deadline goes off once]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
# What is due is read without a lock: to hold rows of deadlines and wait for instances, while everybody else holds the
# instance and writes its deadlines, would be a deadlock. The judgement is made under the instance's lock, against the
# snapshot, and the row of a clock that has gone off is removed in the same transaction, like that of any clock that its
# instance wants no more. So two processes, or one that was killed half-way, do it once.
# Rows that are left had no effect: the attempt was over (then nobody will want the row again), or the instance was
# suspended. They are removed afterwards, by primary key: a resume arms all clocks of its instance anew, as new rows, so
# a removal that comes late takes nothing away, nor does it matter by whose clock the suspended one had fallen due.


@dataclass(frozen=True, slots=True)
class Fired:
    """What became of a batch: how many clocks were due, and how many of them others had dealt with meanwhile."""

    due: int = 0
    idle: int = 0


def fire_due(at: dt.datetime | None = None, *, most: int | None = None) -> int:
    """This will carry out what is due, oldest first, one batch; it gives how many clocks went off."""
    return fire(at or moments.now(), most=most or settings.HANDLE_BATCH).due


def fire(at: dt.datetime, *, most: int, skip: int = 0) -> Fired:
    """This will carry out a batch of what is due, oldest first, passing over the first `skip`.

    See Note [A deadline goes off once].
    """
    due = list(Deadline.objects.filter(due_at__lte=at).order_by("due_at", "id")[skip : skip + most])
    if not due:
        return Fired()
    failpoints.hit("clock_claimed")
    failed, idle, paused = _carry_out(due, at=at)
    if paused:
        # They have not gone off: they do when the engine goes on.
        return Fired()
    failpoints.hit("clock_fired")
    left = set(Deadline.objects.filter(pk__in=[clock.pk for clock in due]).values_list("pk", flat=True))
    if left:
        with writing():
            Deadline.objects.filter(pk__in=left - failed).delete()
            # What failed is a bug: kept, and tried later, so that it holds nobody else up.
            Deadline.objects.filter(pk__in=left & failed).update(due_at=at + _AGAIN)
    failpoints.hit("clock_settled")
    return Fired(len(due), idle)


def _carry_out(due: Sequence[Deadline], *, at: dt.datetime) -> tuple[set[int], int, bool]:
    """This will ask for all of them.

    It gives the ids of those that failed, how many had no effect, and whether the engine is paused: then all of them.
    """
    asked = [Asked(command=_command(clock), target=clock.instance_id, actor="clock") for clock in due]
    try:
        answers = handle(*asked, at=at)
    except Exception:
        if len(due) > 1:
            raise
        logger.exception("A clock could not be carried out; it is tried again in %s", _AGAIN)
        return {due[0].pk}, 0, False
    failed = {
        clock.pk
        for clock, answer in zip(due, answers, strict=True)
        if answer.code is not None and answer.code not in STATUS
    }
    paused = any(answer.code == pausing.CODE for answer in answers)
    return failed, sum(not answer.events for answer in answers) - len(failed), paused


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
