"""The Django admin: everything can be looked at; what moves an instance goes through the door, like everywhere else.

django-fsm's own admin mixin is not used: it runs whatever transition is posted, past permissions and past the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponseRedirect
from django.utils import timezone
from django.utils.functional import cached_property

from workflows.definitions import strict_json
from workflows.engine import commands as c
from workflows.engine.commands import Command
from workflows.models import (
    Activity,
    ActivityRecord,
    ApiToken,
    BulkRetry,
    ControlRecord,
    Deadline,
    EnginePause,
    HandledMessage,
    HumanTask,
    IdempotencyRecord,
    Lease,
    LoggedEvent,
    OutboxMessage,
    Plugin,
    PluginRun,
    Product,
    QuarantinedMessage,
    Schedule,
    SearchedValue,
    StageInstance,
    Subscription,
    SubscriptionEvent,
    SubscriptionRelation,
    SubscriptionVersion,
    TaskInstance,
    WorkflowInstance,
    WorkflowTemplate,
    person_of,
)
from workflows.models.fields import JsonText, dump
from workflows.runtime import schedules, tokens
from workflows.runtime.asking import Asked
from workflows.runtime.cron import read_zone
from workflows.runtime.handling import handle
from workflows.runtime.loading import definition_of
from workflows.runtime.masking import MASK, is_masked, mask_row, masked_text

_MANY = 10_000
_INLINE = 200


class _BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than ten thousand rows: counting a log costs more than reading it."""

    @cached_property
    def count(self) -> int:  # type: ignore[override]
        """The number of rows, or ten thousand."""
        return len(self.object_list.values_list("pk")[:_MANY])  # type: ignore[attr-defined]


class _LookOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows rows and changes none of them."""

    paginator = _BoundedPaginator
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        """This will refuse new rows: they come through the door."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """This will refuse to delete."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """This will show rows to whoever may view them, and let nobody write them."""
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """This will give the row as it may be shown: nobody saves it."""
        row = super().get_object(request, object_id, from_field)
        if row is not None and not isinstance(row, WorkflowTemplate):
            mask_row(row, [one.name for one in row._meta.fields if isinstance(one, JsonText)])
        if isinstance(row, QuarantinedMessage):
            row.body = masked_text(row.body)
        return row

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """This will show everything to admins, and to staff with the permission to view."""
        return super().has_view_permission(request, obj)


def _act(label: str, make: Callable[[Any, Any, str], Command]) -> Callable[[admin.ModelAdmin, HttpRequest, Any], None]:  # type: ignore[type-arg]
    """An action of a list: one command for each chosen row, each judged by itself, all told of."""

    @admin.action(description=label)
    def action(model_admin: admin.ModelAdmin, request: HttpRequest, rows: Any) -> None:  # type: ignore[type-arg]
        person = person_of(request.user)
        reason = f"{label}, from the admin"
        done = 0
        for row in rows.select_related()[:_INLINE]:
            allowed = person.is_operator or isinstance(row, HumanTask)
            target = row.pk if isinstance(row, WorkflowInstance) else row.instance_id
            if not allowed:
                messages.error(request, f"{row}: only operators do this.")
                continue
            command = make(row, person, reason)
            said = {"command": type(command).__name__, "page": "admin", "reason": reason}
            answer = handle(Asked(command=command, target=target, actor=person.username, said=said))[0]
            if answer.applied:
                done += 1
            else:
                messages.error(request, f"{row}: {answer.reason} ({answer.code})")
        if done:
            messages.success(request, f"{label}: {done} done.")

    action.__name__ = label.lower().replace(" ", "_")
    return action


def _on_task(kind: Callable[..., Command]) -> Callable[[Any, Any, str], Command]:
    return lambda row, person, reason: kind(stage_name=row.stage_name, task_name=row.task_name, reason=reason)


def _by_person(kind: Callable[..., Command], **more: Any) -> Callable[[Any, Any, str], Command]:
    return lambda row, person, reason: kind(
        stage_name=row.stage_name,
        task_name=row.task_name,
        attempt=row.attempt,
        compensation=row.compensation,
        by=person.username,
        groups=person.groups,
        operator=person.is_operator,
        **more,
    )


class _ActsOnOne(_LookOnly):
    """Offers its list actions as buttons on the page of one row, too."""

    change_form_template = "admin/workflows/act.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """This will show one row; a posted action is carried out through the door."""
        offered = {name: label for _, name, label in self.get_actions(request).values() if name != "delete_selected"}
        if request.method == "POST":
            found = self.get_actions(request).get(request.POST.get("action", ""))
            if found is not None and self.has_view_permission(request):
                found[0](self, request, self.get_queryset(request).filter(pk=object_id))
            return HttpResponseRedirect(request.path)
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "offered": offered})

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """This will offer the actions that go through the door, whoever may change rows."""
        return {name: found for name, found in super().get_actions(request).items() if name != "delete_selected"}


class _Rows(admin.TabularInline):  # type: ignore[type-arg]
    """Some rows below another one, to look at."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """This will refuse new rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """This will refuse changes."""
        return False

    def get_queryset(self, request: HttpRequest) -> Any:
        """This will show the first of them: a stage may have thousands of tasks."""
        rows = super().get_queryset(request)
        instance = (request.resolver_match.kwargs if request.resolver_match else {}).get("object_id")
        if instance is None:
            return rows.none()
        first = rows.filter(instance=instance).order_by("position").values("pk")[:_INLINE]
        return rows.filter(pk__in=list(first.values_list("pk", flat=True)))


class _Stages(_Rows):
    model = StageInstance
    fields = ("position", "stage_name", "state", "activated_at", "finished_at")
    readonly_fields = ("position", "stage_name", "state", "activated_at", "finished_at")


class _Tasks(_Rows):
    model = TaskInstance
    fields = ("stage_name", "task_name", "task_type", "state", "attempt", "assigned_to", "claimed_by")
    readonly_fields = ("stage_name", "task_name", "task_type", "state", "attempt", "assigned_to", "claimed_by")


@admin.register(WorkflowTemplate)
class TemplateAdmin(_LookOnly):
    """Published versions."""

    list_display = ("workflow_name", "component_name", "version", "published_by", "created_at")
    search_fields = ("workflow_name", "component_name")
    ordering = ("-created_at",)


@admin.register(WorkflowInstance)
class InstanceAdmin(_ActsOnOne):
    """Instances with their stages and tasks."""

    list_display = ("business_ref_no", "workflow_name", "version", "state", "business_status", "updated_at")
    list_filter = ("state", "health")
    search_fields = ("business_ref_no",)
    ordering = ("-created_at",)
    inlines = (_Stages, _Tasks)
    actions = (
        _act("Suspend", lambda row, person, reason: c.SuspendWorkflow(reason=reason)),
        _act("Resume", lambda row, person, reason: c.ResumeWorkflow(reason=reason)),
        _act("Roll back", lambda row, person, reason: c.RollBackWorkflow(reason=reason)),
        _act("Cancel", lambda row, person, reason: c.CancelWorkflow(reason=reason)),
    )


@admin.register(SearchedValue)
class SearchAdmin(_LookOnly):
    """What instances are found by."""

    list_display = ("instance", "name", "value")
    fields = list_display
    readonly_fields = list_display
    list_select_related = ("instance",)
    ordering = ("-id",)

    @admin.display(empty_value="")
    def value(self, row: SearchedValue) -> Any:
        """What is found there, unless it is secret."""
        template = row.instance.template_id
        paths = [field.path for field in definition_of(template).search if field.name == row.name]
        found = next((one for one in (row.text, row.number, row.boolean) if one is not None), None)
        hidden = found is not None and any(is_masked(path, template=template) for path in paths)
        return MASK if hidden else found


@admin.register(StageInstance)
class StageAdmin(_LookOnly):
    """Stages of instances."""

    list_display = ("instance", "position", "stage_name", "state")
    list_select_related = ("instance",)
    ordering = ("-id",)


@admin.register(TaskInstance)
class TaskAdmin(_ActsOnOne):
    """Tasks of instances."""

    list_display = ("instance", "stage_name", "task_name", "task_type", "state", "attempt")
    list_filter = ("state", "task_type")
    list_select_related = ("instance",)
    ordering = ("-id",)
    actions = (
        _act("Retry", _on_task(c.RetryTask)),
        _act("Skip", _on_task(c.SkipTask)),
        _act("Complete by hand", _on_task(c.CompleteTaskByHand)),
        _act("Give up", _on_task(c.FailTaskByHand)),
    )


@admin.register(HumanTask)
class HumanTaskAdmin(_ActsOnOne):
    """Human tasks, one row for each attempt."""

    list_display = ("title", "instance", "state", "assigned_to", "claimed_by", "due_at")
    list_filter = ("state", "assigned_kind")
    list_select_related = ("instance",)
    ordering = ("-created_at",)
    actions = (
        _act("Claim", _by_person(c.ClaimTask)),
        _act("Release", _by_person(c.ReleaseTask)),
        _act("Approve", _by_person(c.DecideTask, comment="Approved in the admin")),
    )


@admin.register(LoggedEvent)
class EventAdmin(_LookOnly):
    """The append-only log."""

    list_display = ("instance", "sequence", "event", "stage_name", "task_name", "attempt", "actor", "occurred_at")
    list_select_related = ("instance",)
    ordering = ("-id",)


@admin.register(OutboxMessage)
class OutboxAdmin(_LookOnly):
    """Outbound messages."""

    list_display = ("event_name", "queue", "stage_name", "task_name", "attempt", "state", "created_at", "sent_at")
    list_filter = ("state", "event_name")
    ordering = ("-id",)


@admin.register(QuarantinedMessage)
class QuarantineAdmin(_LookOnly):
    """Messages that could not be read or matched; operators act on them on their own page."""

    list_display = ("code", "source", "state", "received_at", "resolved_by")
    list_filter = ("state", "code")
    ordering = ("-received_at",)


@admin.register(Deadline)
class DeadlineAdmin(_LookOnly):
    """Armed clocks."""

    list_display = ("kind", "instance", "position", "attempt", "due_at")
    list_select_related = ("instance",)
    ordering = ("due_at",)


@admin.register(Lease)
class LeaseAdmin(_LookOnly):
    """Work handed out over HTTP."""

    list_display = ("queue", "worker_id", "instance", "position", "attempt", "lease_until")
    list_select_related = ("instance",)
    ordering = ("-lease_until",)


@admin.register(HandledMessage)
class HandledMessageAdmin(_LookOnly):
    """Message ids that do not count twice."""

    list_display = ("event_id", "instance", "handled_at")
    list_select_related = ("instance",)
    ordering = ("-id",)


@admin.register(IdempotencyRecord)
class IdempotencyAdmin(_LookOnly):
    """Answers that callers had."""

    list_display = ("caller", "key", "status", "created_at")
    ordering = ("-created_at",)


@admin.register(EnginePause)
class PauseAdmin(_LookOnly):
    """The pause; the engine's own page pauses and resumes."""

    list_display = ("paused_at", "paused_by", "reason")


@admin.register(BulkRetry)
class BulkRetryAdmin(_LookOnly):
    """Wishes to retry all failed instances."""

    list_display = ("asked_at", "asked_by", "count", "position", "retried", "refused", "finished_at")
    exclude = ("ids",)
    ordering = ("-asked_at",)


@admin.register(ControlRecord)
class ControlRecordAdmin(_LookOnly):
    """Who has paused, resumed, retried in bulk, or changed a schedule."""

    list_display = ("at", "actor", "action", "subject", "reason")
    list_filter = ("action",)
    ordering = ("-at", "-id")


class _ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    """A schedule as it is typed in, judged by the rules that the API has."""

    context = forms.CharField(widget=forms.Textarea, initial="{}", help_text="A JSON object.")
    reason = forms.CharField(required=False, help_text="Why; it is kept.")

    class Meta:
        model = Schedule
        fields = (
            "name", "component_name", "workflow_name", "version", "context", "reference", "cron", "interval_seconds",
            "time_zone", "misfire", "enabled",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            self.initial["context"] = dump(self.instance.context)

    def clean_context(self) -> Any:
        """This will read the JSON strictly."""
        try:
            return strict_json.parse(self.cleaned_data["context"].encode(errors="surrogatepass"))
        except strict_json.InvalidJson as error:
            raise ValidationError(error.message) from None

    def clean(self) -> dict[str, Any]:
        """This will ask the rules, once every field can be read."""
        said = super().clean() or self.cleaned_data
        if self.errors:
            return said
        begins = self.instance.begins_at or timezone.now()
        values = {name: value for name, value in said.items() if name != "reason"}
        name = values.pop("name", self.instance.name)
        try:
            schedules.check(Schedule(name=name, begins_at=begins, **values), at=timezone.now())
        except schedules.BadSchedule as bad:
            for fault in bad.faults:
                self.add_error(fault.field, fault.message)
        return said


@admin.register(Schedule)
class ScheduleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Schedules: added, changed and switched here by operators; what they start goes through the door."""

    form = _ScheduleForm
    paginator = _BoundedPaginator
    show_full_result_count = False
    list_display = (
        "name", "component_name", "workflow_name", "cron", "interval_seconds", "time_zone", "enabled", "next_at",
        "last_at", "last_outcome",
    )  # fmt: skip
    list_filter = ("enabled", "misfire")
    search_fields = ("name", "component_name")
    ordering = ("name",)
    actions = ("enable", "disable")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """This will let operators add schedules."""
        return person_of(request.user).is_operator

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """This will let operators change schedules."""
        return person_of(request.user).is_operator

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """This will refuse to delete: what is not needed is disabled, and who had it when stays known."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """This will keep the name of a schedule, and tell of its next runs."""
        return ("name", "next_runs") if obj is not None else ()

    @admin.display(description="Next runs")
    def next_runs(self, obj: Schedule) -> str:
        """This will name the next moments."""
        zone = read_zone(obj.time_zone)
        runs = schedules.next_runs(obj)
        return ", ".join(f"{one.astimezone(zone):%a %Y-%m-%d %H:%M:%S %Z}" for one in runs) or "none: it is disabled"

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """This will keep it by the rules, and who did it."""
        try:
            schedules.keep(obj, by=person_of(request.user).username, reason=form.cleaned_data.get("reason", ""))
        except schedules.Changed:
            messages.error(request, "Somebody else has just changed it: nothing was saved. Look at it again.")

    @admin.action(description="Enable")
    def enable(self, request: HttpRequest, rows: Any) -> None:
        """This will switch them on."""
        self._switch(request, rows, on=True)

    @admin.action(description="Disable")
    def disable(self, request: HttpRequest, rows: Any) -> None:
        """This will switch them off."""
        self._switch(request, rows, on=False)

    def _switch(self, request: HttpRequest, rows: Any, *, on: bool) -> None:
        person = person_of(request.user)
        if not person.is_operator:
            messages.error(request, "Only operators do this.")
            return
        for row in rows[:_INLINE]:
            schedules.switch(row.pk, on=on, by=person.username, reason="From the admin")
        messages.success(request, "Enabled." if on else "Disabled.")


@admin.register(Product)
class ProductAdmin(_LookOnly):
    """Products."""

    list_display = ("name", "tag", "updated_at")
    search_fields = ("name",)
    ordering = ("name",)


@admin.register(Subscription)
class SubscriptionAdmin(_LookOnly):
    """Subscriptions; operators unlock them on their own page."""

    list_display = ("id", "product", "customer", "status", "holder", "version", "updated_at")
    list_filter = ("status",)
    list_select_related = ("product", "holder")
    search_fields = ("customer",)
    ordering = ("-created_at",)


@admin.register(SubscriptionVersion)
class SubscriptionVersionAdmin(_LookOnly):
    """Every version of their values."""

    list_display = ("subscription", "version", "status", "instance", "task_name", "created_at")
    list_select_related = ("subscription", "instance")
    ordering = ("-id",)


@admin.register(SubscriptionRelation)
class SubscriptionRelationAdmin(_LookOnly):
    """Which of them depends on which."""

    list_display = ("parent", "child")
    list_select_related = ("parent", "child")
    ordering = ("-id",)


@admin.register(SubscriptionEvent)
class SubscriptionEventAdmin(_LookOnly):
    """Who held them, unlocked them, said something about them."""

    list_display = ("subscription", "kind", "actor", "instance", "reason", "occurred_at")
    list_filter = ("kind",)
    list_select_related = ("subscription", "instance")
    ordering = ("-id",)


@admin.register(Activity)
class ActivityAdmin(_LookOnly):
    """Activities that somebody has registered for."""

    list_display = ("name", "revision")
    search_fields = ("name",)
    ordering = ("name",)


@admin.register(Plugin)
class PluginAdmin(_LookOnly):
    """Plugins; operators change them on the page of their activity. Secrets are shown nowhere."""

    list_display = ("activity", "name", "registered_by", "registered_at", "changed_by", "changed_at", "deregistered_at")
    list_select_related = ("activity",)
    search_fields = ("name",)
    ordering = ("activity__name", "registered_at", "id")
    exclude = ("secret",)


@admin.register(ActivityRecord)
class ActivityRecordAdmin(_LookOnly):
    """Who registered, changed and deregistered what."""

    list_display = ("activity", "revision", "kind", "plugin", "actor", "reason", "at")
    list_filter = ("kind",)
    list_select_related = ("activity",)
    ordering = ("-id",)


@admin.register(PluginRun)
class PluginRunAdmin(_LookOnly):
    """Who took part in which instance."""

    list_display = ("activity", "name", "phase", "instance", "mandatory", "system", "regulation", "frozen_at")
    list_select_related = ("instance",)
    search_fields = ("activity", "name")
    ordering = ("-id",)


@admin.register(ApiToken)
class TokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """API tokens: made here (the value is shown once), named, ended."""

    list_display = ("prefix", "user", "name", "created_at", "expires_at", "last_used_at")
    list_select_related = ("user",)
    fields = ("user", "name", "expires_at")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """This will keep a token with its user."""
        return ("user",) if obj is not None else ()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """This will let a token live for ever where no end is given."""
        form = super().get_form(request, obj, change=change, **kwargs)
        form.base_fields["expires_at"].required = False
        return form

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """This will make a new token and show its value this once, or rename an old one."""
        if change:
            super().save_model(request, obj, form, change)
            return
        text = tokens.issue(obj.user, at=timezone.now(), name=obj.name, expires_at=obj.expires_at)
        obj.pk = ApiToken.objects.values_list("pk", flat=True).get(digest=ApiToken.digest_of(text))
        messages.success(request, f"The token is shown only now: {text}")
