"""Adding a schedule on its page: the next starts are shown first, faults stand at their fields."""

import pytest

from tests.builders import service, workflow
from workflows.models import ControlRecord, Schedule

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

TEMPLATE = workflow(
    service("pay"),
    context_schema={"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]},
)


@pytest.fixture
def typed(begin):
    template = begin(TEMPLATE, amount=1).template_id
    return {
        "name": "nightly", "template": str(template), "context": '{"amount": 7}', "reference": "{name}-{date}",
        "trigger": "cron", "cron": "30 2 * * *", "every": "", "unit": "3600", "time_zone": "Europe/Berlin",
        "misfire": "once", "reason": "<new>",
    }  # fmt: skip


@pytest.fixture
def olivia(browser_of):
    return browser_of("olivia")


def test_the_form_offers_the_workflows(olivia, typed, sound):
    html = sound(olivia.get("/engine/schedules/add/", {"template": typed["template"]}))

    assert f'value="{typed["template"]}" selected' in html
    assert "Europe/Berlin" in html
    assert "/engine/schedules/add/" in sound(olivia.get("/engine/"))


def test_a_preview_keeps_nothing(olivia, typed, sound):
    html = sound(olivia.post("/engine/schedules/add/", {**typed, "do": "preview"}))

    assert html.count("02:30 (nightly-") == 5
    assert not Schedule.objects.exists()
    assert 'value="30 2 * * *"' in html


def test_it_is_kept_and_told(olivia, typed, sound):
    answer = olivia.post("/engine/schedules/add/", {**typed, "do": "keep"})

    assert (answer.status_code, answer.url) == (302, "/engine/")
    kept = Schedule.objects.get()
    assert (kept.cron, kept.interval_seconds, kept.time_zone, kept.misfire) == (
        "30 2 * * *",
        None,
        "Europe/Berlin",
        "once",
    )
    assert (kept.context, kept.changed_by, kept.enabled) == ({"amount": 7}, "olivia", True)
    record = ControlRecord.objects.get(action="SCHEDULE_ADDED")
    assert (record.subject, record.reason) == ("nightly", "<new>")
    assert "nightly" in sound(olivia.get("/engine/"))
    again = olivia.post("/engine/schedules/add/", typed)
    assert (again.status_code, "There is a schedule of that name" in again.content.decode()) == (400, True)


def test_an_interval(olivia, typed):
    olivia.post("/engine/schedules/add/", {**typed, "trigger": "interval", "every": "6", "reference": "{moment}"})

    kept = Schedule.objects.get()
    assert (kept.cron, kept.interval_seconds) == ("", 6 * 3600)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": " "}, "This field is required"),
        ({"template": ""}, "This field is required"),
        ({"template": "nonsense"}, "Select a valid choice"),
        ({"cron": "61 2 * * *"}, "61"),
        ({"cron": ""}, "Say either"),
        ({"time_zone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"reference": "always"}, "same reference"),
        ({"reference": "{nothing}-{moment}"}, "It knows {moment}"),
        ({"trigger": "interval"}, "Say how often"),
        ({"trigger": "interval", "every": "many"}, "whole number"),
        ({"trigger": "interval", "every": "1000000", "unit": "86400"}, "This takes 10 to"),
        ({"misfire": "twice"}, "Select a valid choice"),
        ({"context": "{"}, "context"),
        ({"context": "[]"}, "The context is an object"),
        ({"context": "{}"}, "/amount"),
    ],
)
def test_what_is_wrong_is_told_at_its_field_and_nothing_is_kept(olivia, typed, sound, wrong, says):
    html = sound(olivia.post("/engine/schedules/add/", {**typed, **wrong}), 400)

    assert says in html
    assert "It is not kept" in html
    assert not Schedule.objects.exists()


def test_operators_only(browser_of, typed):
    for name in ("adam", "fred", "service-bot"):
        assert browser_of(name).get("/engine/schedules/add/").status_code in (403, 404)
        assert browser_of(name).post("/engine/schedules/add/", typed).status_code in (403, 404)
    assert not Schedule.objects.exists()
