"""Activities on the pages of an instance and of a template: phases, who takes part, how far they are."""

import pytest

from tests.builders import activity, excluded, expected_of, human, plugin, service, stage, workflow
from workflows.engine import commands as c
from workflows.models import LoggedEvent
from workflows.runtime import plugins

PLUGINS = {
    "pre": [plugin(service("read_text", title="Read the <text>"), system="OCR & Co", regulation="R-30")],
    "parallel": [
        plugin(service("fraud")), plugin(service("newsletter"), optional=True), plugin(human("look", to="finance")),
        excluded("auto_rating"),
    ],
}  # fmt: skip
CLAIM = workflow(
    stage("FIRST", service("in")), activity(activity="document-processing"), stage("LAST", service("out")),
    workflow_name="Claim",
)  # fmt: skip


@pytest.fixture
def claim(begin, say):
    undo = plugins.ask_with(lambda activity, phase, attributes: expected_of(PLUGINS, phase))
    yield say(begin(CLAIM, "C-1"), c.CompleteTask("FIRST", "in"))
    undo()


def done(name):
    return c.CompleteTask("PROCESS", name)


def page(client, instance, **query):
    return client.get(f"/instances/{instance.pk}/", query)


def test_the_picture_has_the_phases_and_what_has_not_begun(browser_of, sound, claim):
    html = sound(page(browser_of("olivia"), claim))

    assert [html.count(f">{name}</text>") for name in ("Pre", "Parallel", "Post")] == [1, 1, 1]
    assert "Read the &lt;text&gt;" in html
    assert html.count("Who takes part is asked when it begins.") == 2
    assert "OCR &amp; Co" in html
    assert "R-30" in html


def test_who_was_kept_out_who_failed_and_how_far_the_others_are(browser_of, sound, claim, say):
    error = {"code": "unreachable", "message": "The mail server does not answer."}
    progress = {"percent": 40, "message": "page <4>"}
    say(
        claim, done("read_text"), c.BeginTask("PROCESS", "fraud", progress=progress),
        c.FailTask("PROCESS", "newsletter", error=error),
    )  # fmt: skip

    html = sound(page(browser_of("olivia"), claim))

    assert "Auto rating" in html
    assert "Not applicable" in html
    assert "1 optional error" in html
    assert "In progress, with a warning" in html
    assert "The mail server does not answer." in html
    assert '<progress max="100" value="40"' in html
    assert "page &lt;4&gt;" in html


def test_who_has_answered_all_but_optionally_is_told(browser_of, sound, claim, say):
    say(claim, done("read_text"), done("fraud"), done("look"))

    assert "Mandatory completed" in sound(page(browser_of("olivia"), claim))


@pytest.mark.parametrize("tab", ["graph", "timeline", "history", "data", "tasks", "messages", "rollback"])
def test_every_view_of_it(browser_of, sound, claim, say, tab):
    say(claim, done("read_text"))

    html = sound(page(browser_of("adam"), claim, tab=tab))

    assert "Claim" in html


def test_as_it_was_it_had_the_plugins_of_then(browser_of, sound, claim, say):
    before = LoggedEvent.objects.filter(instance=claim).count()
    say(claim, done("read_text"))

    html = sound(page(browser_of("olivia"), claim, at=before))

    assert "Fraud" not in html
    assert "Fraud" in sound(page(browser_of("olivia"), claim))


def test_a_phase_with_nobody_says_so(browser_of, sound, claim, say):
    say(claim, done("read_text"), done("fraud"), done("look"), done("newsletter"))

    assert "Nobody took part." in sound(page(browser_of("olivia"), claim))


def test_the_page_of_a_version_draws_the_three_phases(browser_of, sound, claim):
    html = sound(browser_of("olivia").get(f"/templates/{claim.template_id}/"))

    assert [html.count(f">{name}</text>") for name in ("Pre", "Parallel", "Post")] == [1, 1, 1]
    assert "activity document-processing" in html


def test_a_person_has_the_work_of_a_plugin_in_their_inbox(browser_of, sound, claim, say):
    say(claim, done("read_text"))
    (task,) = claim.human_tasks.filter(task_name="look")

    html = sound(browser_of("fred").get(f"/tasks/{task.pk}/"))

    assert "It is assigned to the group finance" in html


def test_the_list_does_not_say_that_it_waits_for_what_it_goes_on_without(browser_of, sound, claim, say):
    error = {"code": "unreachable", "message": "The mail server does not answer."}
    say(claim, done("read_text"), c.FailTask("PROCESS", "newsletter", error=error), done("look"))

    html = sound(browser_of("olivia").get("/instances/"))

    assert "mail server" not in html
    assert "fraud_queue" in html
