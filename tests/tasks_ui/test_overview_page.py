"""The overview: who gets it, what it counts, what it costs."""

import datetime as dt

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.builders import human, service, workflow
from workflows.engine import commands as c
from workflows.runtime import quarantine

pytestmark = pytest.mark.both_databases

TEMPLATE = workflow(service("pay"), human("check", "pay", to="finance", due_in_seconds=60))


@pytest.fixture
def fleet(begin, say):
    made = [begin(TEMPLATE, f"REF-{number}") for number in range(5)]
    long_ago = timezone.now() - dt.timedelta(hours=2)
    say(made[0], c.CompleteTask("S", "pay"), at=long_ago)
    say(made[1], c.FailTask("S", "pay", error={"code": "no_money", "message": "The account is empty"}))
    say(made[2], c.CompleteTask("S", "pay"), c.CompleteTaskByHand("S", "check", reason="x"))
    quarantine.hold(b"{", source="workflow_manager", message_id="", code="invalid_json", reason="?", at=timezone.now())
    return made


def test_it_says_what_needs_someone(browser_of, fleet, sound):
    answer = browser_of("olivia").get("/")

    html = sound(answer)
    assert {figure.name: figure.count for figure, _ in answer.context["figures"]} == {
        "Failed": 1, "Retrying": 0, "Overdue with people": 1, "Nobody’s tasks": 0, "Quarantined messages": 1,
    }  # fmt: skip
    assert "The account is empty" in html
    assert "pay_queue" in html
    assert "1 overdue" in html
    assert sum(bar.completed for bar in answer.context["chart"].bars) == 1
    assert "WorkflowCompleted" in html


@pytest.mark.parametrize("span", ["hour", "day", "nonsense"])
def test_the_chart_has_a_table(browser_of, fleet, sound, span):
    html = sound(browser_of("adam").get(f"/?span={span}"))

    assert "Show as a table" in html


def test_it_works_before_anything_happened(browser_of, sound):
    assert "Nothing has happened yet." in sound(browser_of("admin").get("/"))


def test_assignees_are_sent_to_their_work(browser_of, fleet):
    assert browser_of("fred").get("/").status_code == 302


def test_programs_see_no_work_of_people(browser_of, fleet):
    answer = browser_of("service-bot").get("/")

    assert answer.context["desks"] == []
    assert "Overdue with people" not in {figure.name for figure, _ in answer.context["figures"]}


def test_it_asks_few_questions(browser_of, fleet):
    client = browser_of("olivia")
    with CaptureQueriesContext(connection) as asked:
        client.get("/")

    assert len(asked) <= 18


def test_a_live_part_is_no_whole_page(browser_of, fleet, sound):
    html = sound(browser_of("olivia").get("/", headers={"X-Fragment": "live"}))

    assert "<html" not in html


def test_errors_look_like_the_rest(browser_of, client, db, sound):
    assert "There is nothing here" in sound(browser_of("olivia").get("/no/such/page/"), 404)
    assert "There is nothing here" in sound(client.get("/no/such/page/"), 404)
