"""Schedules start instances at their moments: checked when they are written down, fired by the clock.

Note [One start for a moment]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
The business reference of a start is made from the moment for which it was planned, and a reference starts one instance.
So it does not matter how many clocks find the same moment due, or that one dies between the start and writing it down:
the second start is a duplicate. The row moves on to the next moment afterwards, and only from the moment that was
found: whoever comes second changes nothing, and neither does somebody whose schedule was changed meanwhile.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError
from django.db.models import F

from workflows import failpoints
from workflows.engine.commands import StartWorkflow
from workflows.models import ControlRecord, Misfire, Schedule
from workflows.models.locking import is_away, writing
from workflows.runtime import listeners, moments, pausing
from workflows.runtime.asking import Answer, Asked, Outcome, Reference
from workflows.runtime.cron import BadCron, Cron, read_cron, read_zone
from workflows.runtime.handling import handle
from workflows.runtime.listeners import Committed

logger = logging.getLogger(__name__)

LATE = dt.timedelta(seconds=60)
"""A start that comes later than this has missed its moment: its schedule's misfire rule says what becomes of it."""
BATCH = 20
SHOWN = 5
"""How many of the next runs are shown."""
LEAST_INTERVAL = 10
MOST_INTERVAL = 366 * 86_400
_COMPARED = 25
_LOOK_BACK = tuple(dt.timedelta(minutes=one) for one in (2, 120, 2 * 1440, 62 * 1440))


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field of a schedule."""

    field: str
    code: str
    message: str


class BadSchedule(Exception):
    """The schedule cannot be kept; `faults` say all that is wrong with it."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(" ".join(fault.message for fault in faults))
        self.faults = faults


class Changed(Exception):
    """Somebody else has changed the schedule since it was read."""


# --- Moments ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Interval:
    begins: dt.datetime
    every: dt.timedelta

    def after(self, moment: dt.datetime) -> dt.datetime:
        if moment < self.begins:
            return self.begins
        return self.begins + ((moment - self.begins) // self.every + 1) * self.every


def _trigger(schedule: Schedule) -> Cron | _Interval:
    if schedule.interval_seconds:
        return _Interval(schedule.begins_at, dt.timedelta(seconds=schedule.interval_seconds))
    return read_cron(schedule.cron, read_zone(schedule.time_zone))


def runs(schedule: Schedule, after: dt.datetime) -> Iterator[dt.datetime]:
    """This will give the moments of the schedule that come later, one after the other, without end."""
    trigger = _trigger(schedule)
    while True:
        after = trigger.after(after)
        yield after


def next_runs(schedule: Schedule, *, most: int = SHOWN) -> list[dt.datetime]:
    """This will give the moments of the next starts; none while it is disabled."""
    if schedule.next_at is None:
        return []
    coming = runs(schedule, schedule.next_at)
    return [schedule.next_at, *(next(coming) for _ in range(most - 1))]


def _latest(schedule: Schedule, due: dt.datetime, at: dt.datetime) -> dt.datetime:
    """The last moment that is not after `at`, where `due` is one."""
    trigger = _trigger(schedule)
    if isinstance(trigger, _Interval):
        return trigger.after(at - trigger.every) if at - trigger.every >= due else due
    for back in _LOOK_BACK:
        if at - back > due and (found := trigger.after(at - back)) <= at:
            break
    else:
        found = due
    while (following := trigger.after(found)) <= at:
        found = following
    return found


def reference_of(schedule: Schedule, moment: dt.datetime) -> str:
    """This will make the business reference of the start at that moment."""
    local = moment.astimezone(read_zone(schedule.time_zone))
    words = {
        "name": schedule.name,
        "moment": moment.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%SZ"),
        "date": local.strftime("%Y-%m-%d"),
        "time": local.strftime("%H%M"),
    }
    made = schedule.reference
    for word, value in words.items():
        made = made.replace("{" + word + "}", value)
    return made


# --- Writing them down --------------------------------------------------------------------------------------------


def check(schedule: Schedule, *, at: dt.datetime) -> None:
    """This will raise BadSchedule with all that is wrong with it."""
    faults = []
    try:
        read_zone(schedule.time_zone)
    except BadCron as error:
        raise BadSchedule(Fault("time_zone", "bad_value", str(error))) from None
    if bool(schedule.cron) == bool(schedule.interval_seconds):
        raise BadSchedule(Fault("cron", "required", "Say either `cron` or `interval_seconds`."))
    seconds = schedule.interval_seconds
    if seconds and not LEAST_INTERVAL <= seconds <= MOST_INTERVAL:
        faults.append(
            Fault("interval_seconds", "bad_value", f"This takes {LEAST_INTERVAL:,} to {MOST_INTERVAL:,} seconds.")
        )
    elif schedule.cron:
        try:
            _trigger(schedule)
        except BadCron as error:
            faults.append(Fault("cron", "bad_value", str(error)))
    if not faults:
        coming = runs(schedule, at)
        made = [reference_of(schedule, next(coming)) for _ in range(_COMPARED)]
        if len(set(made)) < len(made):
            text = "Two of its starts would have the same reference, and so start one instance; add {moment}."
            faults.append(Fault("reference", "bad_value", text))
        elif "{" in made[0] or "}" in made[0]:
            faults.append(Fault("reference", "bad_value", "It knows {moment}, {date}, {time} and {name}."))
        elif max(map(len, made)) > 200 or made[0] != made[0].strip():
            faults.append(Fault("reference", "bad_value", "A reference has at most 200 characters and is not padded."))
    if not isinstance(schedule.context, dict):
        faults.append(Fault("context", "wrong_type", "This takes an object."))
    if schedule.misfire not in set(Misfire):
        faults.append(Fault("misfire", "bad_value", "This takes skip or once."))
    if faults:
        raise BadSchedule(*faults)


def keep(schedule: Schedule, *, by: str, reason: str = "", at: dt.datetime | None = None) -> Schedule:
    """This will write a new or changed schedule down, and who did it. Raises BadSchedule, and Changed where somebody
    else was faster.

    What was read with the schedule is its `revision`: it may not have moved meanwhile.
    """
    moment = at or moments.now()
    if schedule.begins_at is None:
        schedule.begins_at = moment.replace(microsecond=0)
    check(schedule, at=moment)
    new = schedule.pk is None
    seen = schedule.revision
    schedule.next_at = next(runs(schedule, moment)) if schedule.enabled else None
    schedule.changed_by, schedule.changed_at = by, moment
    with writing():
        if new:
            if Schedule.objects.filter(name=schedule.name).exists():
                raise BadSchedule(_taken())
            try:
                schedule.save(force_insert=True)
            except IntegrityError:
                raise BadSchedule(_taken()) from None
        else:
            columns = {name: getattr(schedule, name) for name in _COLUMNS}
            rows = Schedule.objects.filter(pk=schedule.pk, revision=seen)
            if not rows.update(**columns, revision=F("revision") + 1):
                raise Changed
            schedule.revision = seen + 1
        _record(schedule, "SCHEDULE_ADDED" if new else "SCHEDULE_CHANGED", by, reason, moment)
    _wake(schedule, moment)
    return schedule


_COLUMNS = (
    "component_name", "workflow_name", "version", "context", "reference", "cron", "interval_seconds", "time_zone",
    "misfire", "enabled", "begins_at", "next_at", "changed_by", "changed_at",
)  # fmt: skip


def _taken() -> Fault:
    return Fault("name", "bad_value", "There is a schedule of that name.")


def switch(key: int, *, on: bool, by: str, reason: str = "", at: dt.datetime | None = None) -> Schedule:
    """This will enable or disable a schedule; where it is so already nothing happens."""
    moment = at or moments.now()
    with writing():
        schedule = Schedule.objects.select_for_update().get(pk=key)
        if schedule.enabled != on:
            schedule.enabled = on
            # What was missed while it was disabled is not made up for.
            schedule.next_at = next(runs(schedule, moment)) if on else None
            schedule.revision += 1
            schedule.changed_by, schedule.changed_at = by, moment
            schedule.save(update_fields=["enabled", "next_at", "revision", "changed_by", "changed_at"])
            _record(schedule, "SCHEDULE_ENABLED" if on else "SCHEDULE_DISABLED", by, reason, moment)
    _wake(schedule, moment)
    return schedule


def _record(schedule: Schedule, action: str, by: str, reason: str, at: dt.datetime) -> None:
    said: Mapping[str, Any] = {
        name: getattr(schedule, name)
        for name in ("component_name", "workflow_name", "version", "reference", "cron", "interval_seconds",
                     "time_zone", "misfire", "enabled", "context")
    }  # fmt: skip
    ControlRecord.objects.create(
        at=at, actor=by, action=action, subject=schedule.name, reason=reason, data={"schedule": schedule.pk, **said}
    )


def _wake(schedule: Schedule, at: dt.datetime) -> None:
    if schedule.next_at is not None:
        listeners.tell(Committed(at=at, changes=(), deadline=schedule.next_at))


# --- Firing them --------------------------------------------------------------------------------------------------


def next_due() -> dt.datetime | None:
    """This will give the moment of the next start."""
    rows = Schedule.objects.filter(next_at__isnull=False).order_by("next_at")
    return rows.values_list("next_at", flat=True).first()


def fire(at: dt.datetime) -> int:
    """This will begin what is due, some at most, and give how many schedules were seen to.

    See Note [One start for a moment].
    """
    due = list(Schedule.objects.filter(next_at__lte=at).order_by("next_at", "pk")[:BATCH])
    fired = 0
    for schedule in due:
        try:
            fired += _fire(schedule, at)
        except Exception as error:
            if is_away(error):
                raise
            # A bug, or a broken row: it keeps nobody else from being started.
            logger.exception("The schedule %s could not be carried out", schedule.name)
            _give_up(schedule, at, why=f"It could not be carried out: {type(error).__name__}.")
    return fired


def _fire(schedule: Schedule, at: dt.datetime) -> int:
    due = schedule.next_at
    assert due is not None
    moment = _latest(schedule, due, at)
    following = next(runs(schedule, at))
    if schedule.misfire == Misfire.SKIP and at - moment > LATE:
        text = "Its moment had passed, and it makes up for nothing."
        _move_on(schedule, next_at=following, last_at=moment, last_outcome="missed", last_said=text, last_instance=None)
        return 1
    answer = _start(schedule, moment, at)
    failpoints.hit("schedule_started")
    if answer.code == pausing.CODE:
        return 0
    _move_on(
        schedule,
        next_at=following,
        last_at=moment,
        last_outcome="started" if answer.created else str(answer.outcome),
        last_said=answer.reason or "",
        last_instance=answer.instance.id if answer.instance else None,
    )
    if answer.outcome is Outcome.REFUSED:
        logger.warning("the schedule %s could not start anything: %s", schedule.name, answer.reason)
    return 1


def _give_up(schedule: Schedule, at: dt.datetime, *, why: str) -> None:
    try:
        following = next(runs(schedule, at))
    except BadCron:  # a row that somebody wrote by hand
        following = None
    _move_on(schedule, next_at=following, last_at=schedule.next_at, last_outcome="failed", last_said=why)


def _start(schedule: Schedule, moment: dt.datetime, at: dt.datetime) -> Answer:
    reference = reference_of(schedule, moment)
    target = Reference(schedule.component_name, reference, schedule.workflow_name or None)
    return handle(
        Asked(
            command=StartWorkflow(business_ref_no=reference, context=schedule.context),
            target=target,
            actor=f"schedule:{schedule.name}",
            cause=f"schedule:{schedule.pk}:{moment.isoformat()}",
            version=schedule.version,
        ),
        at=at,
    )[0]


def _move_on(schedule: Schedule, **columns: Any) -> None:
    with writing():
        Schedule.objects.filter(pk=schedule.pk, next_at=schedule.next_at, revision=schedule.revision).update(**columns)
