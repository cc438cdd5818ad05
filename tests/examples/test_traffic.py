"""Example traffic keeps its bounds, and leaves work for visitors."""

import datetime as dt
import threading

import pytest
from django.utils import timezone

from workflows.engine.lifecycle import ENDED
from workflows.examples import installing, people, plugins, traffic
from workflows.examples.people import COLLEAGUES
from workflows.examples.services import SERVICES, Service, Services
from workflows.examples.traffic import LEFT_FAILED, LEFT_FOR_VISITORS, MOST_OPEN, Traffic
from workflows.models import HumanTask, LoggedEvent, Plugin, TaskInstance, WorkflowInstance
from workflows.runtime import activities, leasing, listeners
from workflows.runtime.handling import handle
from workflows.runtime.registering import deregister
from workflows.runtime.replay import check_history
from workflows.steps.runner import StepRunner

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture
def versions():
    installing.install_people(at=timezone.now())
    return installing.install_templates(at=timezone.now())


@pytest.fixture
def services():
    """Simulated services that think for no time and never fail, running in their thread."""
    calm = {queue: Service((0, 0), service.output, 0) for queue, service in SERVICES.items()}
    simulated = Services(now=timezone.now, pace=0, services=calm)
    unsubscribe = listeners.subscribe(simulated.heard)
    yield simulated
    unsubscribe()
    simulated.worker.stop()
    assert simulated.worker.join(10)


class Reached:
    """Waits until something is true after a commit."""

    def __init__(self):
        self.committed = threading.Condition()
        self.unsubscribe = listeners.subscribe(self)

    def __call__(self, committed):
        with self.committed:
            self.committed.notify_all()

    def until(self, true, seconds=10):
        with self.committed:
            assert self.committed.wait_for(true, timeout=seconds)
        self.unsubscribe()


def start(name, *numbers, versions, at=None):
    moment = at or timezone.now()
    asked = [traffic.start(name, number=n, today=moment.date(), version=versions[name]) for n in numbers]
    handle(*asked, at=moment)


def test_services_work_until_a_person_is_needed(versions, services):
    reached = Reached()
    services.worker.start()

    start("pizza", *range(10), versions=versions)

    reached.until(lambda: HumanTask.objects.open().count() == 10)
    assert LoggedEvent.objects.filter(event="TaskStarted").count() == 40


def test_services_find_what_waited_while_they_were_away(versions, services):
    start("pizza", *range(30), versions=versions)
    reached = Reached()

    services.worker.start()

    reached.until(lambda: HumanTask.objects.open().count() == 30)


def test_services_take_over_what_somebody_left_lying(versions, services):
    start("pizza", 1, versions=versions)
    past = timezone.now() - dt.timedelta(minutes=1)
    assert leasing.lease(
        "confirm_order_queue", worker_id="gone", max_tasks=1, lease_seconds=10, actor="service-bot", at=past
    )
    reached = Reached()

    services.worker.start()

    reached.until(lambda: HumanTask.objects.open().count() == 1)
    assert TaskInstance.objects.get(task_name="confirm_order").attempt == 1


def test_no_more_instances_are_open_than_there_may_be(versions):
    living = Traffic(now=timezone.now, versions=versions)

    for _ in range(MOST_OPEN + 20):
        living._start_one()

    assert WorkflowInstance.objects.exclude(state__in=ENDED).count() == MOST_OPEN


def test_a_reference_that_a_visitor_has_used_is_passed_over(versions):
    for name in traffic.STARTS:
        start(name, 1_001, 1_002, versions=versions)
    before = WorkflowInstance.objects.count()
    living = Traffic(now=timezone.now, versions=versions)
    living._numbers = dict.fromkeys(traffic.STARTS, 1_000)

    living._start_one()

    assert WorkflowInstance.objects.count() == before + 1


def test_simulated_people_leave_the_first_tasks_to_visitors(versions, services):
    hour_ago = timezone.now() - dt.timedelta(minutes=5)
    start("expense_approval", *range(LEFT_FOR_VISITORS + 4), versions=versions, at=hour_ago)
    living = Traffic(now=timezone.now, versions=versions)

    for _ in range(200):
        living._let_people_work()
        living._busy_until = dict.fromkeys(living._busy_until, 0.0)

    group = HumanTask.objects.filter(task_name="file_claim", attempt=1)
    assert group.filter(state="SCHEDULED").count() == LEFT_FOR_VISITORS
    assert group.filter(decided_by=COLLEAGUES["people_team"].username).count() == 4


def test_nobody_decides_what_a_visitor_has_claimed(versions):
    long_ago = timezone.now() - dt.timedelta(hours=2)
    start("expense_approval", 1, versions=versions, at=long_ago)
    task = HumanTask.objects.select_related("instance").get()
    (answer,) = handle(people.claim(task, people.Colleague("hana", "people_team")), at=long_ago)
    assert answer.applied
    living = Traffic(now=timezone.now, versions=versions)

    for _ in range(50):
        living._let_people_work()

    task.refresh_from_db()
    assert (task.state, task.claimed_by) == ("STARTED", "hana")


def test_what_has_failed_is_cleared_up_except_for_the_newest(versions):
    from workflows.engine.commands import FailTaskByHand
    from workflows.runtime.asking import Asked

    start("pizza", *range(LEFT_FAILED + 3), versions=versions)
    for instance in WorkflowInstance.objects.all():
        handle(Asked(FailTaskByHand("ORDER", "confirm_order", reason="test"), instance.pk, actor="oscar"))
    assert WorkflowInstance.objects.filter(state="FAILED").count() == LEFT_FAILED + 3

    Traffic(now=timezone.now, versions=versions)._clear_up()

    assert WorkflowInstance.objects.filter(state="FAILED").count() == LEFT_FAILED


def test_systems_register_while_the_demo_runs(versions):
    installing.install_plugins(at=timezone.now())
    start("claim_intake", 1, versions=versions)
    systems = plugins.Systems(now=timezone.now, pace=0)

    assert systems._work() is None

    names = ["read-text", "classify", "fraud-check", "translate", "archive"]
    assert [row.name for row in activities.plugins_of(plugins.ACTIVITY)] == names
    deregister(plugins.ACTIVITY, "translate", by="olivia")
    plugins.Systems(now=timezone.now, pace=0)._work()
    installing.install_plugins(at=timezone.now())
    assert len(activities.plugins_of(plugins.ACTIVITY)) == 4
    assert Plugin.objects.get(name="archive").registered_by == "archive"


def test_a_claim_goes_through_the_example_activity(versions, services):
    installing.install_plugins(at=timezone.now())
    plugins.Systems(now=timezone.now, pace=0)._work()
    reached = Reached()
    services.worker.start()

    start("claim_intake", *range(6), versions=versions)

    def done():
        while StepRunner(now=timezone.now).run_due() == 0:
            pass
        return HumanTask.objects.open().filter(task_name="decide_claim").count() == 6

    reached.until(done, seconds=30)
    assert LoggedEvent.objects.filter(event="PhaseStarted").count() == 18
    for instance in WorkflowInstance.objects.all():
        assert check_history(instance) == []
