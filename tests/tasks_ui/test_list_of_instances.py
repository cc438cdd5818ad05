"""The list of instances: who sees which, filters, pages, what it costs."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.builders import human, service, workflow
from workflows.engine import commands as c

pytestmark = pytest.mark.both_databases

TEMPLATE = workflow(service("pay"), human("check", "pay", to="finance"))


@pytest.fixture
def many(begin, say):
    made = [begin(TEMPLATE, f"REF-{number:03}") for number in range(45)]
    say(made[0], c.CompleteTask("S", "pay"))
    say(made[1], c.FailTask("S", "pay", error={"code": "no_money", "message": "The account is empty"}))
    return made


def test_operators_auditors_and_programs_see_all_assignees_what_is_theirs(browser_of, many, sound):
    for name in ("olivia", "adam", "admin", "service-bot"):
        assert "REF-044" in sound(browser_of(name).get("/instances/"))
    assert "REF-000" in (html := sound(browser_of("fred").get("/instances/")))
    assert "REF-044" not in html
    assert "Nothing to follow yet" in sound(browser_of("mona").get("/instances/"))


def test_it_goes_through_all_pages_and_back(browser_of, many, sound):
    client, seen, address = browser_of("olivia"), [], "/instances/?ordering=business_ref_no"
    pages = []
    while address:
        answer = client.get(address)
        sound(answer)
        pages.append([row.reference for row in answer.context["rows"]])
        seen += pages[-1]
        older = answer.context["page"].older
        newer = answer.context["page"].newer
        address = f"/instances/?ordering=business_ref_no&older={older}" if older else ""
    back = client.get(f"/instances/?ordering=business_ref_no&newer={newer}")

    assert seen == [f"REF-{number:03}" for number in range(45)]
    assert [row.reference for row in back.context["rows"]] == pages[-2]
    assert back.context["page"].newer is None


def test_an_unreadable_cursor_gives_the_first_page(browser_of, many):
    for cursor in ("x", "W10", "WyJ4IiwgInkiXQ", "\0"):
        assert len(browser_of("olivia").get("/instances/", {"older": cursor}).context["rows"]) == 40


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"health": "failed"}, ["REF-001"]),
        ({"state": "FAILED"}, ["REF-001"]),
        ({"has_failed_task": "true"}, ["REF-001"]),
        ({"health": "person"}, ["REF-000"]),
        ({"q": "ref-04", "ordering": "business_ref_no"}, ["REF-040", "REF-041", "REF-042", "REF-043", "REF-044"]),
        (
            {"q": "REF-001", "workflow_name": "Workflow", "component_name": "COMPONENT", "version": "1", "stage": "S"},
            ["REF-001"],
        ),
        ({"business_status": "NONE"}, []),
        ({"created_after": "2099-01-01"}, []),
        ({"q": "REF-002", "created_before": "2099-01-01T00:00:00Z"}, ["REF-002"]),
    ],
)
def test_filters(browser_of, many, sound, query, found):
    answer = browser_of("olivia").get("/instances/", query)

    sound(answer)
    assert [row.reference for row in answer.context["rows"]] == found


def test_a_bad_filter_is_named_and_left_out(browser_of, many, sound):
    answer = browser_of("olivia").get("/instances/?version=x&state=NO&created_after=never&health=no&ordering=no")

    html = sound(answer)
    assert len(answer.context["rows"]) == 40
    assert "“x” is no version number." in html
    assert "There is no state “NO”." in html


def test_what_it_waits_for_stands_in_the_row(browser_of, many, sound):
    html = sound(browser_of("olivia").get("/instances/?ordering=created_at"))

    assert "Pay: The account is empty" in html
    assert "pay_queue" in html
    assert "Finance" in html


def test_the_counts_lead_to_the_rows(browser_of, many):
    strip = browser_of("olivia").get("/instances/").context["strip"]

    assert {part["health"]: part["count"] for part in strip if part["count"]} == {
        "": 45,
        "running": 43,
        "failed": 1,
        "person": 1,
    }


def test_live_rows_are_given_wherever_they_stand_now(browser_of, many, sound):
    old = many[2]
    answer = browser_of("olivia").get(f"/instances/?shown={old.pk},x", headers={"X-Fragment": "live"})

    html = sound(answer)
    assert "<html" not in html
    assert f'id="i-{old.pk}"' in html
    assert len(answer.context["rows"]) == 41


def test_it_asks_few_questions_however_many_rows(browser_of, many):
    client = browser_of("olivia")
    with CaptureQueriesContext(
        connection,
    ) as asked:
        client.get("/instances/")

    assert len(asked) <= 10


def test_what_a_row_says_is_text(browser_of, begin, sound):
    name = "<script>'&\""
    begin({**TEMPLATE, "workflow_name": name, "component_name": name}, name)

    html = sound(browser_of("olivia").get("/instances/"))

    assert "<script>'" not in html
    assert html.count("&lt;script&gt;&#x27;&amp;&quot;") >= 3


def test_the_palette_finds_what_one_may_see(browser_of, many, sound):
    assert "REF-000" in sound(browser_of("fred").get("/search/?q=ref-00"))
    assert "REF-002" not in sound(browser_of("fred").get("/search/?q=ref-00"))
    html = sound(browser_of("olivia").get("/search/?q=REF-00"))
    assert "REF-002" in html
    assert "Nothing is called" in sound(browser_of("olivia").get("/search/?q=<script>"))


def test_text_is_shown_as_text(browser_of, begin, sound):
    begin(TEMPLATE, "<script>alert(1)</script>")

    assert "<script>alert" not in sound(browser_of("olivia").get('/instances/?q=<script>"'))
