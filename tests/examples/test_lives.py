"""Every example runs to its end through the door, with simulated services and people."""

import datetime as dt

import pytest
from django.utils import timezone

from workflows.engine.lifecycle import ENDED
from workflows.examples import installing, people, traffic
from workflows.examples.past import INSTANCES, Past, leave_marks
from workflows.examples.people import COLLEAGUES
from workflows.examples.services import SERVICES, Service, reply_to, send
from workflows.examples.templates import NAMES, template
from workflows.models import HumanTask, LoggedEvent, TaskInstance, WorkflowInstance
from workflows.runtime import deadlines, leasing
from workflows.runtime.asking import Outcome
from workflows.runtime.handling import handle
from workflows.runtime.replay import check_history

pytestmark = [pytest.mark.django_db(transaction=True)]
BEGIN = dt.datetime(2026, 11, 20, 8, tzinfo=dt.UTC)


@pytest.fixture
def versions():
    installing.install_people(at=BEGIN)
    installing.install_plugins(at=BEGIN)
    return installing.install_templates(at=BEGIN)


def run(instance, *, at, hours=2000):
    """Let services and people work, from deadline to deadline, until the instance has ended."""
    end = at + dt.timedelta(hours=hours)
    while at < end:
        at += dt.timedelta(minutes=1)
        deadlines.fire_due(at)
        moved = False
        for queue in set(TaskInstance.objects.filter(instance=instance).values_list("queue", flat=True)) - {""}:
            tasks = leasing.lease(queue, worker_id="w", max_tasks=10, lease_seconds=60, actor="service-bot", at=at)
            send([reply_to(payload, unbroken(SERVICES[queue])).message for payload in tasks], at=at)
            moved |= bool(tasks)
        for task in HumanTask.objects.open().select_related("instance"):
            (answer,) = handle(people.decide(task, COLLEAGUES[task.assigned_to], today=at.date()), at=at)
            assert answer.applied, answer
            moved = True
        instance.refresh_from_db()
        if instance.state in ENDED:
            return
        due = deadlines.next_due()
        if not moved:
            # What is left would wait for an operator.
            assert due is not None, f"{instance} waits for nothing"
            at = max(at, due)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_an_example_comes_to_its_end(versions, name, number):
    (answer,) = handle(traffic.start(name, number=number, today=BEGIN.date(), version=versions[name]), at=BEGIN)
    instance = WorkflowInstance.objects.get(pk=answer.instance.id)

    run(instance, at=BEGIN)

    assert instance.state in ("COMPLETED", "ROLLED_BACK")
    assert check_history(instance) == []


def unbroken(service):
    # Nothing that only an operator could mend.
    return Service(service.delay, service.output, service.fails / 4, 0, service.error)


def test_a_reply_to_the_same_attempt_is_the_same_and_counts_once(versions):
    handle(traffic.start("pizza", number=1, today=BEGIN.date()), at=BEGIN)
    (payload,) = leasing.lease(
        "confirm_order_queue", worker_id="w", max_tasks=5, lease_seconds=60, actor="service-bot", at=BEGIN
    )
    service = SERVICES["confirm_order_queue"]

    send([reply_to(payload, service).message], at=BEGIN)
    events = LoggedEvent.objects.count()
    send([reply_to(payload, service).message], at=BEGIN)

    assert reply_to(payload, service) == reply_to(payload, service)
    assert LoggedEvent.objects.count() == events


def test_installing_twice_changes_nothing(versions):
    tokens = installing.install_people(at=BEGIN)

    assert installing.install_people(at=timezone.now()) == tokens
    assert installing.install_templates(at=timezone.now()) == versions


def test_a_newer_version_of_an_example_stays_the_newest(versions):
    from workflows.runtime.publishing import publish_template

    published = publish_template({**template("pizza"), "timeout_seconds": 60}, by="admin")

    assert installing.install_templates(at=timezone.now())["pizza"] == versions["pizza"]
    assert publish_template({**template("pizza"), "timeout_seconds": 60}, by="admin").template == published.template


@pytest.mark.timeout(240)
def test_the_past_is_believable(versions):
    now = timezone.now()

    Past(now=now, versions=versions, stopping=lambda: False).live_through()
    leave_marks(now=now)

    instances = list(WorkflowInstance.objects.all())
    assert len(instances) == INSTANCES + 3  # the pizzas that wait at the door
    assert all(instance.created_at <= instance.updated_at <= now for instance in instances)
    states = {instance.state for instance in instances}
    assert {"COMPLETED", "RUNNING", "ROLLED_BACK", "FAILED", "SUSPENDED", "CANCELLED"} <= states
    assert HumanTask.objects.open().count() >= 5
    assert [line for instance in instances for line in check_history(instance)] == []
    times = list(LoggedEvent.objects.order_by("instance", "sequence").values_list("instance", "occurred_at"))
    assert times == sorted(times)


def test_a_start_that_is_there_already_is_nobodys_harm(versions):
    asked = traffic.start("pizza", number=1, today=BEGIN.date())

    first, second = handle(asked, at=BEGIN)[0], handle(asked, at=BEGIN)[0]

    assert first.created
    assert second.outcome is Outcome.DUPLICATE
