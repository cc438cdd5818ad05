"""The inbox: whose work it is, in which order, and what becomes of it when others take it."""

import datetime as dt

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.builders import human, workflow
from workflows.engine import commands as c
from workflows.models import HumanTask

pytestmark = pytest.mark.both_databases

TEMPLATE = workflow(human("check", to="finance"))
ALONE = workflow(human("sign", to="mona"), name="Alone", component="ALONE")
NOBODY = workflow(human("lost", to="ghost"), name="Nobody", component="NOBODY")


def titles(answer):
    return [item.reference for item in answer.context["items"]]


def claim(instance, by, *, task="check"):
    return c.ClaimTask("S", task, by=by, groups=frozenset({"finance"}))


def test_a_group_sees_what_it_may_claim_and_others_do_not(browser_of, begin, sound):
    begin(TEMPLATE, "REF-1")

    assert "REF-1" in sound(browser_of("fred").get("/inbox/?view=claimable"))
    assert "REF-1" not in sound(browser_of("mona").get("/inbox/?view=claimable"))


def test_it_opens_where_there_is_work(browser_of, begin):
    begin(TEMPLATE, "REF-1")
    begin(ALONE, "REF-2")

    assert browser_of("fred").get("/inbox/").context["view"] == "claimable"
    assert browser_of("mona").get("/inbox/").context["view"] == "mine"


def test_what_somebody_holds_is_theirs_alone(browser_of, begin, say):
    instance = begin(TEMPLATE, "REF-1")
    say(instance, claim(instance, "fred"))

    assert titles(browser_of("fred").get("/inbox/?view=mine")) == ["REF-1"]
    assert titles(browser_of("fiona").get("/inbox/?view=claimable")) == []


def test_a_row_on_the_screen_that_is_taken_stays_with_the_takers_name(browser_of, begin, say):
    instance = begin(TEMPLATE, "REF-1")
    task = HumanTask.objects.get()
    say(instance, claim(instance, "fred"))

    live = browser_of("fiona").get(f"/inbox/?view=claimable&shown={task.pk}", headers={"X-Fragment": "live"})

    html = live.content.decode()
    assert 'class="gone"' in html
    assert "Taken by fred" in html


def test_decided_tasks_are_under_done(browser_of, begin, say):
    instance = begin(TEMPLATE, "REF-1")
    say(instance, c.DecideTask("S", "check", by="fred", groups=frozenset({"finance"})))

    assert titles(browser_of("fred").get("/inbox/?view=done")) == ["REF-1"]
    assert titles(browser_of("fiona").get("/inbox/?view=done")) == []


def test_operators_find_what_nobody_has(browser_of, begin):
    begin(NOBODY, "REF-1")

    assert titles(browser_of("olivia").get("/inbox/?view=nobody")) == ["REF-1"]
    assert titles(browser_of("adam").get("/inbox/?view=nobody")) == ["REF-1"]
    assert "nobody" not in [view.name for view in browser_of("fred").get("/inbox/").context["views"]]


def test_what_is_due_first_stands_first_and_pages_go_through_all(browser_of, begin):
    made = [begin(TEMPLATE, f"REF-{number:02}") for number in range(35)]
    now = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    HumanTask.objects.filter(instance=made[20].pk).update(due_at=now)
    HumanTask.objects.filter(instance=made[30].pk).update(due_at=now + dt.timedelta(hours=1))
    client = browser_of("fred")

    first = client.get("/inbox/?view=claimable")
    second = client.get(f"/inbox/?view=claimable&after={first.context['more']}")

    assert titles(first)[:3] == ["REF-20", "REF-30", "REF-00"]
    assert len(set(titles(first) + titles(second))) == 35
    assert second.context["more"] is None


def test_it_finds_by_reference_and_component(browser_of, begin):
    begin(TEMPLATE, "REF-1")
    begin(TEMPLATE, "OTHER-2")

    assert titles(browser_of("fred").get("/inbox/?view=claimable&q=other")) == ["OTHER-2"]
    assert titles(browser_of("fred").get("/inbox/?view=claimable&q=%25")) == []
    assert titles(browser_of("fred").get("/inbox/?view=claimable&component=NONE")) == []


def test_empty_views_say_why(browser_of, sound):
    for view, text in (
        ("mine", "Nothing waits for you"),
        ("claimable", "Nothing to claim"),
        ("done", "Nothing decided"),
    ):
        assert text in sound(browser_of("fred").get(f"/inbox/?view={view}"))


def test_programs_have_no_inbox(browser_of):
    assert browser_of("service-bot").get("/inbox/").status_code == 403


def test_it_costs_the_same_for_one_task_and_for_thirty(browser_of, begin):
    begin(TEMPLATE, "REF-X")
    client = browser_of("fred")
    client.get("/inbox/?view=claimable")
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get("/inbox/?view=claimable")
    for number in range(29):
        begin(TEMPLATE, f"REF-{number}")
    with CaptureQueriesContext(connection) as many:
        client.get("/inbox/?view=claimable")

    assert len(many) <= len(few) + 1
    assert len(many) <= 24
