"""The examples that are written in Python are as good as the others, and come to their ends."""

import datetime as dt
import random

import pytest

from tests.examples.test_templates import GROUPS, TODAY
from workflows.definitions.form_schema import validate
from workflows.definitions.parsing import parse_template
from workflows.engine.lifecycle import ENDED
from workflows.examples import installing, people, traffic
from workflows.examples.people import COLLEAGUES
from workflows.examples.templates import FLOWS, template
from workflows.models import HumanTask, TaskInstance, WorkflowInstance
from workflows.runtime import deadlines
from workflows.runtime.handling import handle
from workflows.runtime.replay import check_history
from workflows.steps.runner import StepRunner

BEGIN = dt.datetime(2026, 11, 20, 8, tzinfo=dt.UTC)


@pytest.mark.parametrize("name", FLOWS)
def test_an_example_is_a_good_template(name):
    parsed = parse_template(template(name), known_assignee=GROUPS.__contains__)
    assert list(parsed.warnings) == []
    assert all(task.title for task in parsed.definition.tasks)
    for number in range(200):
        asked = traffic.start(name, number=number, today=TODAY)
        assert validate(parsed.definition.context_schema, asked.command.context) == ()


@pytest.mark.django_db(transaction=True)
def test_they_come_to_their_ends_in_both_directions():
    installing.install_people(at=BEGIN)
    versions = installing.install_templates(at=BEGIN)
    for name in FLOWS:
        handle(*(traffic.start(name, number=n, today=TODAY, version=versions[name]) for n in range(25)), at=BEGIN)
    at, rng = BEGIN, random.Random(3)
    while WorkflowInstance.objects.exclude(state__in=ENDED).exists():
        at += dt.timedelta(seconds=15)
        assert at < BEGIN + dt.timedelta(hours=2)
        deadlines.fire_due(at)
        runner = StepRunner(now=lambda at=at: at)
        while runner.run_due() == 0:
            pass
        answers = traffic.hotels_answers(at=at, rng=rng)
        decisions = [
            people.decide(task, COLLEAGUES[task.assigned_to], today=at.date())
            for task in HumanTask.objects.open().select_related("instance")
        ]
        assert all(answer.applied for answer in handle(*answers, *decisions, at=at))

    for name, told in FLOWS.items():
        instances = WorkflowInstance.objects.filter(component_name=told.template["component_name"])
        assert {str(one.state) for one in instances} == {"COMPLETED", "ROLLED_BACK"}, name
    assert all(check_history(one) == [] for one in WorkflowInstance.objects.all())
    # A hotel that had no room was asked to cancel all the same: it may have kept one.
    full = TaskInstance.objects.filter(task_name="book_the_hotel", error__contains="hotel_full")
    assert full.exists()
    assert {str(task.state) for task in full} == {"COMPENSATED"}
