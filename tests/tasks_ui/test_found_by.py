"""Search fields on the pages: filters of the list, and what an instance is found by."""

import pytest

from tests.builders import service, workflow
from workflows.engine import commands as c

pytestmark = pytest.mark.both_databases

SCHEMA = {"properties": {"amount": {"type": "number"}, "express": {"type": "boolean"}, "customer": {"type": "string"}}}
TEMPLATE = workflow(
    service("pay"),
    search={"customer": "/customer", "amount": "/amount", "express": "/express", "note": "/note"},
    context_schema=SCHEMA,
)


@pytest.fixture
def orders(begin):
    begin(workflow(service("a"), workflow_name="Other"), "OTHER-1", customer="ACME")
    return [
        begin(TEMPLATE, f"REF-{number}", customer=f"ACME {number % 2}", amount=number * 100, express=number == 3)
        for number in range(4)
    ]


def references(answer):
    return sorted(row.reference for row in answer.context["rows"])


@pytest.mark.parametrize(
    ("query", "found", "chip"),
    [
        ({"search.customer": "ACME 1"}, ["REF-1", "REF-3"], ("search.customer", "customer", "ACME 1")),
        ({"search.customer__prefix": "ACME"}, [f"REF-{n}" for n in range(4)], None),
        ({"search.amount__gte": "200"}, ["REF-2", "REF-3"], ("search.amount__gte", "amount at least", "200")),
        ({"search.express": "true"}, ["REF-3"], ("search.express", "express", "true")),
        ({"search.note__exists": "false", "q": "ref-1"}, ["REF-1"], None),
        ({"search.customer": "ACME 1", "search.amount__lte": "100", "search.note": ""}, ["REF-1"], None),
    ],
)
def test_the_list_is_filtered_by_fields(browser_of, orders, sound, query, found, chip):
    answer = browser_of("olivia").get("/instances/", query)
    sound(answer)

    assert references(answer) == found
    if chip:
        assert answer.context["filters"].chips == [chip]


def test_a_filter_that_makes_no_sense_is_told_and_left_out(browser_of, orders, sound):
    answer = browser_of("olivia").get("/instances/", {"search.amount__between": "1", "search.customer": "ACME 0"})

    assert "search.amount__between has no operator “between”" in sound(answer)
    assert references(answer) == ["REF-0", "REF-2"]


def test_fields_are_offered_once_a_workflow_is_chosen(browser_of, orders, sound):
    client = browser_of("olivia")

    nothing = sound(client.get("/instances/"))
    other = sound(client.get("/instances/", {"workflow_name": "Other"}))
    chosen = client.get(
        "/instances/", {"workflow_name": "Workflow", "search.amount__gte": "5", "search.note__exists": "false"}
    )
    html = sound(chosen)

    assert "Choose a workflow to filter by the search fields" in nothing
    assert 'name="search.' not in nothing + other
    for parameter in (
        "search.customer", "search.customer__prefix", "search.amount__gte", "search.amount__lte", "search.express",
        "search.note", "search.note__prefix",
    ):  # fmt: skip
        assert html.count(f'name="{parameter}"') == 1, parameter
    assert '<input type="hidden" name="search.note__exists" value="false">' in html
    assert 'name="search.amount__gte" maxlength="200" value="5"' in html


def test_the_chip_of_one_filter_takes_away_only_that(browser_of, orders, sound):
    html = sound(browser_of("olivia").get("/instances/", {"workflow_name": "Workflow", "search.customer": "A & B"}))

    assert (
        'href="?workflow_name=Workflow&amp;ordering=-created_at" aria-label="Remove filter: customer A &amp; B"' in html
    )
    assert 'href="?search.customer=A%20%26%20B&amp;ordering=-created_at"' in html


def test_the_page_of_an_instance_shows_what_finds_it(browser_of, orders, say, sound):
    client = browser_of("olivia")
    html = sound(client.get(f"/instances/{orders[3].pk}/?tab=data"))
    assert "Search fields" in html
    assert 'href="/instances/?search.customer=ACME+1"' in html
    assert 'href="/instances/?search.express=true"' in html
    assert "not there" in html

    say(orders[3], c.CompleteTask("S", "pay", output={"note": "later"}))

    assert 'href="/instances/?search.note=later"' in sound(client.get(f"/instances/{orders[3].pk}/?tab=data"))
    assert "search.note=later" not in sound(client.get(f"/instances/{orders[3].pk}/?tab=data&at=1"))


def test_an_instance_without_fields_shows_none(browser_of, begin, sound):
    one = begin(workflow(service("pay")), "REF-1", customer="ACME")

    assert "Search fields" not in sound(browser_of("olivia").get(f"/instances/{one.pk}/?tab=data"))
