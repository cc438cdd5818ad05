"""The admin shows everything, and moves nothing but through the door."""

from __future__ import annotations

import datetime as dt

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from workflows.models import (
    ApiToken,
    ControlRecord,
    HumanTask,
    LoggedEvent,
    OutboxMessage,
    Schedule,
    TaskInstance,
    WorkflowInstance,
)
from workflows.runtime.handling import handle
from workflows.runtime.inbound import read_event
from workflows.runtime.publishing import publish_template
from workflows.runtime.replay import check_history

pytestmark = pytest.mark.django_db

AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
TEMPLATE = {
    "workflow_name": "W",
    "component_name": "ADMIN",
    "stages": [
        {
            "stage_name": "S",
            "stage_order": 1,
            "tasks": [
                {"task_name": "serve", "task_type": "SERVICE", "task_queue": "q"},
                {"task_name": "approve", "task_type": "HUMAN", "assigned_to": "finance"},
            ],
        }
    ],
}


@pytest.fixture
def instance() -> WorkflowInstance:
    Group.objects.get_or_create(name="finance")
    publish_template(TEMPLATE, by="tests", at=AT)
    start = {"event_name": "StartWorkflow", "component_name": "ADMIN", "business_ref_no": "R-1"}
    answer = handle(read_event(start, actor="tests"), at=AT)[0]
    assert answer.instance is not None
    return WorkflowInstance.objects.get(pk=answer.instance.id)


def signed_in(name: str, *, groups: tuple[str, ...] = (), **more: bool) -> Client:
    user = User.objects.create_user(name, password="x", is_staff=True, **more)
    user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def boss() -> Client:
    return signed_in("boss", is_superuser=True)


def pages() -> list[str]:
    return [
        f"/admin/workflows/{model._meta.model_name}/"
        for model in admin.site._registry
        if model._meta.app_label == "workflows"
    ]


def test_every_list_can_be_seen(boss: Client, instance: WorkflowInstance) -> None:
    assert {page: boss.get(page).status_code for page in pages()} == dict.fromkeys(pages(), 200)


@pytest.mark.parametrize("model", [WorkflowInstance, TaskInstance, HumanTask, LoggedEvent, OutboxMessage])
def test_one_row_can_be_seen_and_not_written(boss: Client, instance: WorkflowInstance, model: type) -> None:
    row = model.objects.first()
    page = f"/admin/workflows/{model._meta.model_name}/{row.pk}/change/"

    shown, written = boss.get(page), boss.post(page, {"state": "COMPLETED", "event": "Forged", "_save": "Save"})

    assert shown.status_code == 200
    assert written.status_code in (302, 403)
    before = {name: value for name, value in row.__dict__.items() if name != "_state"}
    assert {name: value for name, value in model.objects.get(pk=row.pk).__dict__.items() if name != "_state"} == before


@pytest.mark.parametrize("model", [LoggedEvent, OutboxMessage, WorkflowInstance])
def test_nothing_is_added_or_deleted(boss: Client, instance: WorkflowInstance, model: type) -> None:
    row = model.objects.first()
    page = f"/admin/workflows/{model._meta.model_name}/"

    assert boss.get(f"{page}add/").status_code == 403
    assert boss.post(f"{page}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert model.objects.filter(pk=row.pk).exists()


def test_a_task_is_retried_through_the_door(boss: Client, instance: WorkflowInstance) -> None:
    task = TaskInstance.objects.get(task_name="serve")

    boss.post(f"/admin/workflows/taskinstance/{task.pk}/change/", {"action": "retry"})

    task.refresh_from_db()
    instance.refresh_from_db()
    assert (task.state, task.attempt) == ("SCHEDULED", 2)
    assert LoggedEvent.objects.filter(event="TaskScheduled", task_name="serve", attempt=2, actor="boss").exists()
    assert check_history(instance) == []


def test_an_admin_who_is_not_assigned_cannot_approve(boss: Client, instance: WorkflowInstance) -> None:
    task = HumanTask.objects.get()

    answer = boss.post(f"/admin/workflows/humantask/{task.pk}/change/", {"action": "approve"}, follow=True)

    task.refresh_from_db()
    assert task.state == "SCHEDULED"
    assert "permission_denied" in answer.content.decode()


def test_somebody_it_is_assigned_to_approves_in_the_list(instance: WorkflowInstance) -> None:
    fiona = signed_in("fiona", groups=("finance",), is_superuser=True)
    task = HumanTask.objects.get()

    fiona.post("/admin/workflows/humantask/", {"action": "approve", "_selected_action": [str(task.pk)]})

    task.refresh_from_db()
    assert (task.state, task.decided_by) == ("COMPLETED", "fiona")


def test_staff_without_the_role_moves_nothing(instance: WorkflowInstance) -> None:
    from django.contrib.auth.models import Permission

    clerk = signed_in("clerk")
    user = User.objects.get(username="clerk")
    user.user_permissions.set(
        Permission.objects.filter(codename__startswith="view_", content_type__app_label="workflows")
    )
    task = TaskInstance.objects.get(task_name="serve")

    answer = clerk.post(f"/admin/workflows/taskinstance/{task.pk}/change/", {"action": "skip"}, follow=True)

    task.refresh_from_db()
    assert task.state == "SCHEDULED"
    assert "only operators do this" in answer.content.decode()


def test_a_new_token_is_shown_once(boss: Client) -> None:
    user = User.objects.get(username="boss")

    made = boss.post("/admin/workflows/apitoken/add/", {"user": user.pk, "name": "ci"}, follow=True)

    token = ApiToken.objects.get(user=user)
    shown = made.content.decode()
    assert f"shown only now: {token.prefix}" in shown
    assert token.digest not in shown
    text = shown.split("shown only now: ")[1].split("<")[0].strip()
    assert ApiToken.digest_of(text) == token.digest


def test_a_schedule_is_added_changed_and_switched_by_the_rules(client, db):
    admin = User.objects.create_superuser("root", password="x")
    client.force_login(admin)
    form = {
        "name": "nightly", "component_name": "C", "context": '{"a": 1}', "reference": "{name}-{date}",
        "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "misfire": "once", "enabled": "on", "reason": "Audit",
    }  # fmt: skip
    add = reverse("admin:workflows_schedule_add")

    bad = client.post(add, {**form, "cron": "x", "context": "{"})
    worse = client.post(add, {**form, "reference": "same"})
    assert bad.status_code == worse.status_code == 200
    assert "same reference" in worse.content.decode()
    assert client.post(add, form).status_code == 302

    schedule = Schedule.objects.get()
    assert (schedule.context, schedule.changed_by, schedule.next_at is not None) == ({"a": 1}, "root", True)
    change = reverse("admin:workflows_schedule_change", args=[schedule.pk])
    assert "Next runs" in client.get(change).content.decode()
    assert client.post(change, {**form, "cron": "0 3 * * *"}).status_code == 302
    rows = reverse("admin:workflows_schedule_changelist")
    client.post(rows, {"action": "disable", "_selected_action": [schedule.pk]})
    schedule.refresh_from_db()
    assert (schedule.cron, schedule.enabled, schedule.next_at) == ("0 3 * * *", False, None)
    said = ControlRecord.objects.order_by("id").values_list("action", "reason")
    assert list(said) == [
        ("SCHEDULE_ADDED", "Audit"), ("SCHEDULE_CHANGED", "Audit"), ("SCHEDULE_DISABLED", "From the admin"),
    ]  # fmt: skip
