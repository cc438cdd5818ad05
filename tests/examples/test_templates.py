"""The example templates are as good as anybody's should be."""

import datetime as dt
import random

import pytest

from workflows.activities.plugin import problems_of
from workflows.definitions.form_schema import validate
from workflows.definitions.parsing import parse_template
from workflows.definitions.schema import TaskKind
from workflows.examples import flows as flows
from workflows.examples import installing, people, plugins, traffic
from workflows.examples.services import SERVICES
from workflows.examples.templates import NAMES, template
from workflows.steps.step import find

GROUPS = {str(group) for user in installing.USERS for group in user.groups}
TODAY = dt.date(2026, 11, 20)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_gives_no_warning(name):
    parsed = parse_template(template(name), known_assignee=GROUPS.__contains__)

    assert list(parsed.warnings) == []


@pytest.mark.parametrize("name", NAMES)
def test_an_example_can_be_started_from_a_form(name):
    assert parse_template(template(name)).definition.context_schema["properties"]


@pytest.mark.parametrize("name", NAMES)
def test_every_queue_of_an_example_has_a_service(name):
    tasks = parse_template(template(name)).definition.tasks
    queues = {task.task_queue for task in tasks} | {task.compensate.task_queue for task in tasks if task.compensate}

    assert queues - {None} <= SERVICES.keys()


def test_every_plugin_of_the_example_activity_can_be_registered_and_has_a_service():
    for said in (*plugins.FIRST, *(said for _, _, said in plugins.LATE)):
        assert problems_of(dict(said), activity=plugins.ACTIVITY) == ()
        assert said.get("task_queue") in {None, *SERVICES}
        assert said["title"]
        assert said["system"]
        if "step" in said:
            assert find(said["step"])
    assert len(plugins.FIRST) + len(plugins.LATE) == 5


@pytest.mark.parametrize("name", NAMES)
def test_people_find_out_what_to_do(name):
    for task in parse_template(template(name)).definition.tasks:
        assert task.title
        assert task.kind is not TaskKind.HUMAN or task.due_in_seconds


@pytest.mark.parametrize("name", NAMES)
def test_starts_fit_the_example(name):
    schema = parse_template(template(name)).definition.context_schema

    for number in range(200):
        asked = traffic.start(name, number=number, today=TODAY)
        assert validate(schema, asked.command.context) == ()


@pytest.mark.parametrize("name", NAMES)
def test_simulated_people_fill_in_the_forms_as_they_should(name):
    for task in parse_template(template(name)).definition.tasks:
        for number in range(100):
            rng = random.Random(number)
            context = traffic.start(name, number=number, today=TODAY).command.context
            data = people.filled_in(task.form or {}, context=context, rng=rng, today=TODAY)
            assert validate(task.form or {}, data) == ()
