"""Workflows in Python as people and programs meet them: over HTTP, in each other's way, in both directions."""

import datetime as dt
import threading

import pytest
from django.contrib.auth.models import Group
from django.db import connections

from tests.api.conftest import assignee, callers, make_caller, operator, service
from tests.builders import NOON
from tests.journeys import flows
from tests.together import together
from workflows.engine import commands as c
from workflows.models import LoggedEvent, WorkflowInstance
from workflows.runtime import moments
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.deadlines import fire_due
from workflows.runtime.handling import handle
from workflows.runtime.loading import snapshots
from workflows.runtime.publishing import publish_template
from workflows.runtime.replay import check_history
from workflows.steps.runner import StepRunner

__all__ = ["assignee", "callers", "make_caller", "operator", "service"]

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _clean():
    for one in (flows.broken, flows.addresses, flows.ran, flows.begun, flows.may_end):
        one.clear()
    snapshots.forget()
    yield
    flows.may_end.set()


def go(at=None):
    """Run all steps whose turn has come."""
    runner, events = StepRunner(now=lambda: at or moments.now()), -1
    while events != (events := LoggedEvent.objects.count()):
        runner.run_due()


def run(at=None):
    """Run them, and fold every history."""
    go(at)
    snapshots.forget()
    for instance in WorkflowInstance.objects.all():
        assert check_history(instance) == []


def begin(workflow, **context):
    publish_template(dict(workflow.template), by="tests", at=NOON)
    asked = Asked(c.StartWorkflow("R", context=context), Reference("JOURNEYS", "R", workflow.title), actor="tests")
    (answer,) = handle(asked, at=NOON)
    assert answer.created, answer
    return answer.instance.id


class Line:
    """One line to deliver, over HTTP."""

    def __init__(self, service, operator):
        assert operator.post("templates/", dict(flows.deliver.template)).status in (200, 201)
        self.operator = operator
        start = {"component_name": "JOURNEYS", "workflow_name": "Deliver a line", "business_ref_no": "L-1"}
        for context, pointer in (({}, "/context/customer"), ({"customer": 7}, "/context/customer")):
            refused = service.post("instances/", {**start, "context": context})
            assert (refused.status, set(refused.pointers)) == (400, {pointer})
        assert WorkflowInstance.objects.count() == 0
        said = service.post("instances/", {**start, "context": {"customer": "ACME", "line": {"speed": 10}}})
        assert said.status == 201
        self.path = f"instances/{said.json['id']}/"

    def now(self):
        return self.operator.get(self.path).json

    def task(self, name):
        return next(one for one in self.now()["stages"][0]["tasks"] if one["task_name"] == name)

    def act(self, action, task=None, **more):
        where = f"tasks/STEPS/{task}/" if task else ""
        return self.operator.post(f"{self.path}{where}{action}/", {"reason": "why", **more})


def fill_in(assignee, data):
    (task,) = assignee.get("human-tasks/?view=claimable").json["results"]
    return assignee.post(f"human-tasks/{task['id']}/complete/", {"data": data})


def call_back(service, body):
    return service.call("POST", flows.addresses[-1], body, Authorization=None)


def test_a_line_is_delivered_over_http(service, operator, assignee):
    flows.broken.add("line")
    line = Line(service, operator)
    run()
    assert (line.now()["state"], line.task("reserve_a_line")["error"]["code"]) == ("FAILED", "ConnectionError")
    assert not Group.objects.filter(name__startswith="line").exists()

    for _ in range(2):
        assert line.act("retry", "reserve_a_line").status == 200
        run()
        assert line.now()["state"] == "FAILED"
    flows.broken.clear()
    assert line.act("retry", "reserve_a_line").status == 200
    run()
    # Whole values replace each other: what was below the key before is gone.
    assert line.now()["context"] == {"customer": "ACME", "line": {"vlan": 7}}
    assert line.task("reserve_a_line")["attempt"] == 4

    before = line.now()["last_sequence"]
    refused = fill_in(assignee, {"floor": -1})
    assert (refused.status, refused.pointers) == (400, {"/data/floor": "minimum"})
    assert line.now()["last_sequence"] == before
    assert fill_in(assignee, {"floor": 3}).status == 200
    run()

    assert line.task("provision_the_port")["state"] == "WAITING"
    assert call_back(service, {"rc": 7}).status == 200
    run()
    assert line.task("provision_the_port")["error"]["message"] == "rc 7"
    assert line.act("retry", "provision_the_port").status == 200
    run()
    flows.broken.add("tell")
    assert call_back(service, {"rc": 0, "name": "ge-0"}).status == 200
    run()
    assert (line.now()["state"], line.task("tell_the_customer")["state"]) == ("RUNNING", "WAITING")
    flows.broken.clear()
    assert line.act("retry", "tell_the_customer").status == 200
    run()

    assert line.now()["state"] == "COMPLETED"
    assert line.now()["context"]["port_name"] == "ge-0"
    assert call_back(service, {"rc": 0}).code == "attempt_closed"


def test_a_line_is_taken_back_piece_by_piece_by_operators(service, operator, assignee):
    line = Line(service, operator)
    run()
    fill_in(assignee, {"floor": 3})
    run()
    call_back(service, {"rc": 0, "name": "ge-0"})
    flows.broken |= {"tell", "give back", "cancel line"}
    run()

    assert line.act("rollback").status == 200
    run()
    assert (line.now()["state"], line.task("provision_the_port")["state"]) == ("ROLLBACK_FAILED", "COMPENSATION_FAILED")
    assert line.act("retry", "provision_the_port").status == 200
    run()
    assert line.now()["state"] == "ROLLBACK_FAILED"
    assert line.operator.post(f"{line.path}tasks/STEPS/provision_the_port/skip/", {}).pointers == {
        "/reason": "required"
    }
    assert line.act("skip", "provision_the_port").status == 200
    run()
    assert line.task("provision_the_port")["state"] == "COMPLETED"
    assert line.act("complete", "reserve_a_line").status == 200
    run()

    assert line.now()["state"] == "ROLLED_BACK"
    assert line.task("reserve_a_line")["state"] == "COMPENSATED"
    assert flows.ran[-3:] == ["give back", "give back", "cancel line"]
    assert line.act("retry", "reserve_a_line").code == "instance_closed"


def test_no_step_follows_after_a_cancellation_and_the_state_stays():
    key = begin(flows.long_line)
    running = threading.Thread(target=lambda: (go(), connections.close_all()))
    running.start()
    assert flows.begun.wait(30)
    answers = []
    cancelling = threading.Thread(
        target=lambda: (
            answers.extend(handle(Asked(c.CancelWorkflow("enough"), key, actor="olivia"))),
            connections.close_all(),
        )
    )
    cancelling.start()
    flows.may_end.set()
    cancelling.join(30)
    running.join(30)
    run()

    # The one that ran came to its end, or went on with the next before the cancellation had its turn.
    assert WorkflowInstance.objects.get().state == ("CANCELLED" if answers[0].applied else "COMPLETED")
    history = list(LoggedEvent.objects.order_by("sequence").values_list("event", flat=True))
    if answers[0].applied:
        after = history[history.index("WorkflowCancelled") :]
        assert not {"TaskScheduled", "TaskCompleted", "WorkflowCompleted"} & set(after)
    assert len(flows.ran) == history.count("TaskCompleted")


def test_of_six_who_retry_at_once_one_is_heard_and_the_step_runs_once():
    flows.broken.add("slow")
    key = begin(flows.alone)
    run()
    flows.broken.clear()
    flows.ran.clear()
    again = c.RetryTask("STEPS", "slow_alone", attempt=1, reason="again")

    answers = together(*[lambda: handle(Asked(again, key, actor="olivia"))[0]] * 6)
    together(go, go)
    run()

    assert sum(answer.applied for answer in answers) == 1
    assert {answer.code for answer in answers if not answer.applied} == {"stale_attempt"}
    assert flows.ran == ["slow"]
    assert WorkflowInstance.objects.get().state == "COMPLETED"


def test_a_group_that_failed_in_its_middle_is_done_again_from_its_beginning():
    flows.broken.add("check")
    key = begin(flows.grouped)
    run()
    flows.broken.clear()
    assert handle(Asked(c.RetryTask("STEPS", "both", reason="again"), key, actor="olivia"))[0].applied

    run()

    assert flows.ran == ["line", "check", "line", "check"]
    assert WorkflowInstance.objects.get().state == "COMPLETED"
    # What the first try wrote was undone with it.
    assert Group.objects.filter(name__startswith="line").count() == 1


def test_what_waits_to_be_tried_again_goes_on_when_its_time_has_come(service, operator, assignee):
    line = Line(service, operator)
    run()
    fill_in(assignee, {"floor": 0})
    run()
    flows.broken.add("tell")
    call_back(service, {"rc": 0, "name": "ge-0"})
    run()
    flows.broken.clear()
    later = moments.now() + dt.timedelta(seconds=60)

    assert fire_due(later) == 1
    run(later)

    assert line.now()["state"] == "COMPLETED"
