"""Templates: the list, one version in words, who sees them."""

import pytest

from tests.builders import human, retry, service, stage, step, undo, workflow
from workflows.models import WorkflowTemplate
from workflows.runtime import publishing

pytestmark = pytest.mark.both_databases

LOAN = workflow(
    stage(
        "CHECKS",
        service("credit", title="Ask <the bureau>", timeout_seconds=90, **retry(4, 15), **undo("forget_queue")),
        step("score", "credit"),
    ),
    stage(
        "DECISION",
        human(
            "approve", when={">": [{"var": "amount"}, 1000]}, on_failure="rollback", due_in_seconds=3600,
            outcomes=[
                {"name": "yes", "label": "Approve"}, {"name": "no", "label": "Reject", "effect": "fail"},
                {"name": "back", "label": "Ask again", "effect": "return", "return_to": "remark"},
            ],
            form={
                "type": "object",
                "properties": {"limit": {"type": "number", "title": "Limit in euros"}, "why": {"type": "string"}},
                "required": ["limit"],
            },
        ),
        human("remark", to="nobody_at_all"),
    ),
    stage("EMPTY"),
    context_schema={"type": "object", "properties": {"amount": {"type": "number", "title": "Amount"}}},
    timeout_seconds=86_400,
)  # fmt: skip
LOAN["stages"][1]["tasks"][0]["parent_task"] = ["remark"]


def publish(template, by="olivia"):
    return publishing.publish_template(template, by=by).template


def test_everybody_with_a_role_sees_them(browser_of, sound):
    row = publish(LOAN)
    for name in ("olivia", "adam", "service-bot", "admin"):
        html = sound(browser_of(name).get("/templates/"))
        assert "Workflow" in html
        assert (f"/start/{row.pk}/" in html) is (name in ("olivia", "admin"))
        html = sound(browser_of(name).get(f"/templates/{row.pk}/"))
        assert ("New version from this" in html) is (name in ("olivia", "admin"))


def test_assignees_and_strangers_do_not(browser_of, client):
    row = publish(LOAN)
    for address in ("/templates/", f"/templates/{row.pk}/"):
        assert browser_of("fred").get(address).status_code == 404
        assert client.get(address).status_code == 302
    assert browser_of("olivia").post("/templates/").status_code == 405


def test_the_list_shows_the_newest_version_with_its_counts(browser_of, begin, sound):
    begin(workflow(service("pay")), "REF-1")
    begin(workflow(service("pay")), "REF-2")
    publish(workflow(service("pay"), service("ship", "pay")), by="adam")

    html = sound(browser_of("adam").get("/templates/"))

    assert ">v2<" in html
    assert ">v1<" not in html
    assert "by adam" in html
    assert '<td class="num opt">1</td><td class="num opt">2</td>' in html
    assert '>2<span class="sr"> open instances of Workflow</span>' in html.replace("\n", "")


def test_the_list_is_filtered_and_paged(browser_of, sound, monkeypatch):
    monkeypatch.setattr("tasks_ui.templates._SIZE", 2)
    for number in range(5):
        publish(workflow(service("pay"), workflow_name=f"Flow {number}", component_name=f"C{number % 2}"))
    client = browser_of("olivia")

    assert sound(client.get("/templates/?q=flow 3")).count("data-row>") == 1
    assert sound(client.get("/templates/?q=c1")).count("data-row>") == 2
    assert "No workflow is called that" in sound(client.get("/templates/?q=zzz%00"))
    seen, address = [], "/templates/"
    while address:
        answer = client.get(address)
        sound(answer)
        seen += [row.workflow for row in answer.context["rows"]]
        older = answer.context["page"].older
        address = f"/templates/?older={older}" if older else ""
    assert seen == [f"Flow {number}" for number in (4, 3, 2, 1, 0)]


def test_no_query_per_row(browser_of, django_assert_max_num_queries):
    for number in range(12):
        publish(workflow(service("pay"), workflow_name=f"Flow {number}"))
    client = browser_of("adam")
    client.get("/templates/")
    with django_assert_max_num_queries(12):
        client.get("/templates/")


def test_no_templates_yet(browser_of, sound):
    assert "Nothing is published yet" in sound(browser_of("adam").get("/templates/"))


def test_a_version_says_everything_in_words(browser_of, sound):
    row = publish(LOAN)

    html = sound(browser_of("adam").get(f"/templates/{row.pk}/"))

    for words in (
        "Ask &lt;the bureau&gt;", "credit_queue", "4 times, 15 s apart", "1 min 30 s", "forget_queue",
        "amount &gt; 1,000", "Roll the instance back", "Limit in euros (number, required), Why (text)",
        "Approve, Reject (fails), Ask again (back to Remark)", "steps.score", "no tasks: the instance passes through",
        "Amount (number)", "1 d", "&quot;workflow_name&quot;",
    ):  # fmt: skip
        assert words in html, words
    assert 'href="#t-0"' in html
    assert 'id="t-0"' in html
    assert row.warnings
    assert row.warnings[0]["message"].split("'")[0].split("“")[0].split('"')[0] in html


def test_versions_lead_to_each_other(browser_of, begin, sound, monkeypatch):
    monkeypatch.setattr("tasks_ui.templates._VERSIONS", 2)
    begin(workflow(service("pay")), "REF-1")
    for number in range(3):
        publish(workflow(service("pay"), timeout_seconds=number + 1))
    first, *_, newest = WorkflowTemplate.objects.order_by("version")
    client = browser_of("olivia")

    html = sound(client.get(f"/templates/{first.pk}/"))
    assert "Version 4 is the newest" in html
    assert f"/templates/{newest.pk}/" in html
    assert "below=3" in html
    answer = client.get(f"/templates/{first.pk}/?below=3")
    sound(answer)
    assert [(one.version, one.open) for one in answer.context["versions"]] == [(2, 0), (1, 1)]


def test_many_tasks_come_in_pages(browser_of, sound, monkeypatch):
    monkeypatch.setattr("tasks_ui.templates._TASKS", 10)
    row = publish(workflow(stage("A", *(service(f"t_{n}") for n in range(15))), stage("B"), stage("C", service("x"))))
    client = browser_of("adam")

    first, second = client.get(f"/templates/{row.pk}/"), client.get(f"/templates/{row.pk}/?from=10")

    assert sound(first).count('<tr id="t-') == 10
    assert "?from=10#t-12" in first.content.decode()
    assert sound(second).count('<tr id="t-') == 6
    assert sound(client.get(f"/templates/{row.pk}/?from=9999")).count('<tr id="t-') == 6
    assert sound(client.get(f"/templates/{row.pk}/?from=-1&below=x")).count('<tr id="t-') == 10


def test_a_big_stage_is_folded(browser_of, sound):
    row = publish(workflow(*(service(f"part_{n}") for n in range(90))))
    assert "Part × 90" in sound(browser_of("adam").get(f"/templates/{row.pk}/"))
