"""Adding a schedule: what is started, when, and a look at its next starts before it is kept."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from tasks_ui.visitors import operators_only
from workflows.definitions import strict_json
from workflows.definitions.form_schema import validate
from workflows.models import Misfire, Schedule, WorkflowTemplate
from workflows.runtime import moments, schedules
from workflows.runtime.loading import definition_of

_MOST = 500
_UNITS = (("60", "minutes"), ("3600", "hours"), ("86400", "days"))
_MISFIRES = ((str(Misfire.SKIP), "Leave it out"), (str(Misfire.ONCE), "Make up for it once, later"))
_TRIGGERS = (("cron", "At the moments of a cron expression"), ("interval", "Every so often"))


class ScheduleForm(forms.Form):
    """What is typed; the schedule itself is judged by `runtime.schedules`."""

    name = forms.CharField(max_length=100)
    template = forms.ChoiceField()
    context = forms.CharField(required=False, initial="{}")
    reference = forms.CharField(max_length=200, initial="{name}-{moment}")
    trigger = forms.ChoiceField(choices=_TRIGGERS, initial="cron")
    cron = forms.CharField(max_length=200, required=False, initial="30 2 * * *")
    every = forms.IntegerField(min_value=1, max_value=1_000_000, required=False)
    unit = forms.ChoiceField(choices=_UNITS, required=False, initial="3600")
    time_zone = forms.CharField(max_length=60, initial="UTC")
    misfire = forms.ChoiceField(choices=_MISFIRES, initial=str(Misfire.SKIP))
    reason = forms.CharField(max_length=2000, required=False)

    def __init__(self, *values: Any, **more: Any) -> None:
        super().__init__(*values, **more)
        rows = WorkflowTemplate.objects.latest().order_by("workflow_name", "component_name")
        columns = rows.values_list("pk", "workflow_name", "component_name")[:_MOST]
        choice: Any = self.fields["template"]
        choice.choices = [(str(pk), f"{workflow} · {component}") for pk, workflow, component in columns]

    def clean_context(self) -> dict[str, Any]:
        """This will read the context, an object."""
        text = self.cleaned_data["context"].strip() or "{}"
        try:
            value = strict_json.parse(text.encode(errors="replace"))
        except strict_json.InvalidJson as error:
            raise forms.ValidationError(error.message) from None
        if not isinstance(value, dict):
            raise forms.ValidationError('The context is an object, such as {"amount": 120}.')
        return value

    def clean(self) -> dict[str, Any]:
        """This will ask what the template and the schedule say to it; each fault stands at its field."""
        said = super().clean() or {}
        if said.get("trigger") == "interval" and not said.get("every") and "every" not in self.errors:
            self.add_error("every", "Say how often.")
        if self.errors:
            return said
        schema, context = definition_of(said["template"]).context_schema, said["context"]
        try:
            schedules.check(self.schedule(), at=moments.now())
        except schedules.BadSchedule as bad:
            self.blame(bad)
        for problem in validate(schema, context) if schema else ():
            self.add_error("context", f"{problem.pointer or '/'}: {problem.message}")
        return said

    def blame(self, bad: schedules.BadSchedule) -> None:
        """This will put each fault at its field."""
        for fault in bad.faults:
            name = "every" if fault.field == "interval_seconds" else fault.field
            self.add_error(name if name in self.fields else None, fault.message)

    def schedule(self) -> Schedule:
        """This will give the schedule as it would be kept."""
        said = self.cleaned_data
        template = WorkflowTemplate.objects.only("workflow_name", "component_name").get(pk=said["template"])
        by_cron = said["trigger"] == "cron"
        return Schedule(
            name=said["name"],
            workflow_name=template.workflow_name,
            component_name=template.component_name,
            context=said["context"],
            reference=said["reference"],
            cron=said["cron"] if by_cron else "",
            interval_seconds=None if by_cron else said["every"] * int(said["unit"] or 60),
            time_zone=said["time_zone"],
            misfire=said["misfire"],
            begins_at=moments.now().replace(microsecond=0),
        )


@operators_only
@require_http_methods(["GET", "HEAD", "POST"])
def add_schedule(request: Any) -> HttpResponse:
    """Show the form; with `do=preview` also the next starts; else keep the schedule."""
    if request.method != "POST":
        wished = {name: request.GET[name][:200] for name in ("name", "template") if request.GET.get(name)}
        return _show(request, ScheduleForm(initial=wished))
    form = ScheduleForm(request.POST)
    if not form.is_valid():
        return _show(request, form, status=400)
    schedule = form.schedule()
    if request.POST.get("do") == "preview":
        return _show(request, form, runs=_next_runs(schedule))
    try:
        schedules.keep(schedule, by=request.person.username, reason=form.cleaned_data["reason"])
    except schedules.BadSchedule as bad:
        form.blame(bad)
        return _show(request, form, status=400)
    messages.success(request, f"The schedule {schedule.name} is kept. Its next start is shown below.")
    return redirect("engine")


def _next_runs(schedule: Schedule) -> list[tuple[dt.datetime, str]]:
    coming, zone = schedules.runs(schedule, moments.now()), zoneinfo.ZoneInfo(schedule.time_zone)
    moments_of = [next(coming) for _ in range(schedules.SHOWN)]
    return [
        (one, f"{one.astimezone(zone):%a %d %b %Y, %H:%M} ({schedules.reference_of(schedule, one)})")
        for one in moments_of
    ]


def _show(request: Any, form: ScheduleForm, *, runs: Any = None, status: int = 200) -> HttpResponse:
    values = {"form": form, "runs": runs, "zones": sorted(zoneinfo.available_timezones())}
    return render(request, "tasks_ui/add_schedule.html", values, status=status)
