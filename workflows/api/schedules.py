"""Schedules: what is started when, by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request

from workflows.api import bodies, paging, parameters, problems
from workflows.api.base import ApiView, answer, moment
from workflows.api.calls import Call
from workflows.models import Misfire, Schedule
from workflows.runtime import schedules
from workflows.runtime.masking import masked

_FIELDS = (
    bodies.identifier("component_name", required=True, about="Picks the template."),
    bodies.identifier("workflow_name", about="Needed where several workflows share the component."),
    bodies.integer("version", least=1, most=2**31 - 1, about="A version; the newest at each start if left out."),
    bodies.mapping("context", default={}, about="What each instance knows at its start."),
    bodies.text(
        "reference",
        required=True,
        most=200,
        about="The business reference of each start: `{moment}` (UTC), `{date}` and `{time}` (in its time zone) and "
        "`{name}` are filled in. Two starts must not have the same.",
    ),
    bodies.text(
        "cron",
        most=200,
        about="Five fields: minute, hour, day of the month, month, day of the week. Either this or an interval.",
    ),
    bodies.integer(
        "interval_seconds",
        least=schedules.LEAST_INTERVAL,
        most=schedules.MOST_INTERVAL,
        about="So often, counted from the moment at which the schedule was made.",
    ),
    bodies.text("time_zone", most=60, default="UTC", about="In which `cron` is meant, such as Europe/Berlin."),
    bodies.choice(
        "misfire",
        [str(one) for one in Misfire],
        default=str(Misfire.SKIP),
        about="A start that could not be begun within a minute of its moment (nobody was there, or the engine was "
        "paused): `skip` leaves it out, `once` makes up for the last of those that were missed.",
    ),
)
_WHY = bodies.text("reason", about="Why; it is kept.")
_EXAMPLE = {
    "name": "nightly",
    "component_name": "ITALIAN",
    "reference": "{name}-{date}",
    "cron": "30 2 * * *",
    "time_zone": "Europe/Berlin",
}


class Schedules(ApiView):
    """All schedules."""

    calls = {
        "GET": Call(
            "List schedules",
            {200: "SchedulePage"},
            query=(
                parameters.boolean("enabled", "Only those that are enabled, or those that are not."),
                parameters.text("component_name", "Only schedules of this component."),
                *parameters.PAGING,
            ),
        ),
        "POST": Call(
            "Add a schedule",
            {201: "Schedule"},
            about="It is enabled at once.",
            body=(bodies.identifier("name", required=True, about="Its name, there once; at most 100 characters."),
                  *_FIELDS, _WHY),
            example=_EXAMPLE,
        ),
    }  # fmt: skip

    def get(self, request: Request) -> HttpResponse:
        """This will list schedules by name."""
        rows = Schedule.objects.all()
        for name in ("enabled", "component_name"):
            if self.query[name] is not None:
                rows = rows.filter(**{name: self.query[name]})
        keys = (paging.Key("name"),)
        return answer(paging.page(request._request, rows, keys=keys, query=self.query, render=_json))

    def post(self, request: Request) -> HttpResponse:
        """This will add a schedule."""
        if len(self.body["name"]) > 100:
            fault = problems.fault("/name", "bad_value", "A schedule's name has at most 100 characters.")
            raise bodies.invalid_body([fault])
        schedule = _keep(_filled(Schedule(name=self.body["name"]), self.body), self)
        return _show(schedule, status=201, location=reverse("api:schedule", args=[schedule.pk]))


class ScheduleView(ApiView):
    """A route below one schedule."""

    schedule: Schedule

    def look_up(self) -> None:
        """This will find the schedule."""
        found = Schedule.objects.filter(pk=self.kwargs["schedule_id"]).first()
        if found is None:
            raise problems.not_found()
        self.schedule = found

    def tag(self) -> str:
        """This will give the schedule's tag."""
        return _tag(self.schedule)


class OneSchedule(ScheduleView):
    """One schedule."""

    calls = {
        "GET": Call("Read one schedule", {200: "Schedule"}, refusals=(404,), versioned=True),
        "POST": Call(
            "Change a schedule",
            {200: "Schedule"},
            about="What is left out gets its default. Its next start is counted from now.",
            body=(*_FIELDS, _WHY),
            refusals=(404, 409),
            versioned=True,
            example={name: value for name, value in _EXAMPLE.items() if name != "name"},
        ),
    }

    def get(self, request: Request) -> HttpResponse:
        """This will give the schedule."""
        return _show(self.schedule)

    def post(self, request: Request) -> HttpResponse:
        """This will change the schedule."""
        return _show(_keep(_filled(self.schedule, self.body), self))


class SwitchSchedule(ScheduleView):
    """Switching on or off."""

    on: ClassVar[bool]

    def post(self, request: Request) -> HttpResponse:
        """This will switch the schedule."""
        why = self.body["reason"] or ""
        return _show(schedules.switch(self.schedule.pk, on=self.on, by=self.person.username, reason=why))


class EnableSchedule(SwitchSchedule):
    """Switching on."""

    on = True
    calls = {
        "POST": Call(
            "Enable a schedule",
            {200: "Schedule"},
            about="What it has missed meanwhile is not made up for.",
            body=(_WHY,),
            refusals=(404,),
            example={"reason": "The move is over"},
        )
    }


class DisableSchedule(SwitchSchedule):
    """Switching off."""

    on = False
    calls = {
        "POST": Call(
            "Disable a schedule",
            {200: "Schedule"},
            body=(_WHY,),
            refusals=(404,),
            example={"reason": "The warehouse moves"},
        )
    }


def _filled(schedule: Schedule, body: Mapping[str, Any]) -> Schedule:
    for field in _FIELDS:
        value = body[field.name]
        setattr(schedule, field.name, "" if value is None and field.name in ("workflow_name", "cron") else value)
    return schedule


def _keep(schedule: Schedule, view: ApiView) -> Schedule:
    try:
        return schedules.keep(schedule, by=view.person.username, reason=view.body["reason"] or "")
    except schedules.BadSchedule as bad:
        faults = [problems.fault(f"/{one.field}", one.code, one.message) for one in bad.faults]
        raise bodies.invalid_body(faults) from None
    except schedules.Changed:
        raise problems.Problem("wrong_state", "Somebody else has just changed it. Read it again.") from None


def _tag(schedule: Schedule) -> str:
    return f'"schedule-{schedule.revision}"'


def _show(schedule: Schedule, *, status: int = 200, location: str | None = None) -> HttpResponse:
    return answer(_json(schedule), status=status, tag=_tag(schedule), location=location)


def _json(schedule: Schedule) -> dict[str, Any]:
    return {
        "id": schedule.pk,
        "name": schedule.name,
        "enabled": schedule.enabled,
        "component_name": schedule.component_name,
        "workflow_name": schedule.workflow_name or None,
        "version": schedule.version,
        "context": masked(schedule.context),
        "reference": schedule.reference,
        "cron": schedule.cron or None,
        "interval_seconds": schedule.interval_seconds,
        "time_zone": schedule.time_zone,
        "misfire": schedule.misfire,
        "next_runs": [moment(one) for one in schedules.next_runs(schedule)],
        "last_run": _last(schedule),
        "changed_by": schedule.changed_by,
        "changed_at": moment(schedule.changed_at),
    }


def _last(schedule: Schedule) -> dict[str, Any] | None:
    if schedule.last_at is None:
        return None
    return {
        "at": moment(schedule.last_at),
        "outcome": schedule.last_outcome,
        "reason": schedule.last_said or None,
        "instance_id": str(schedule.last_instance) if schedule.last_instance else None,
    }
