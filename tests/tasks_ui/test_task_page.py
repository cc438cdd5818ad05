"""One human task on its page: filled in, refused in place, kept as a draft, lost to somebody quicker."""

import pytest

from tests.builders import human, service, workflow
from workflows.engine import commands as c
from workflows.models import HumanTask, HumanTaskDraft, LoggedEvent, WorkflowInstance

FORM = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer", "minimum": 1}}}
OUTCOMES = [
    {"name": "ok", "label": "Approve"},
    {"name": "no", "label": "Reject", "effect": "fail"},
]
TEMPLATE = workflow(
    service("pay", compensate={"task_queue": "refund"}),
    human(
        "check", "pay", to="finance", form=FORM, outcomes=OUTCOMES, on_failure="rollback", description="Look closely."
    ),
    service("ship", "check"),
)


@pytest.fixture
def task(begin, say):
    instance = begin(TEMPLATE, "REF-1", customer="Ada <b>")
    say(instance, c.CompleteTask("S", "pay"))
    return HumanTask.objects.get()


def page(task, verb=""):
    return f"/tasks/{task.pk}/{verb + '/' if verb else ''}"


def test_it_shows_what_is_asked_why_it_is_mine_and_what_each_answer_causes(browser_of, task, sound):
    html = sound(browser_of("fred").get(page(task)))

    for text in (
        "Look closely.",
        "you are a member",
        "Ada &lt;b&gt;",
        "“Ship” starts",
        "It rolls back and undoes Pay.",
    ):
        assert text in html


@pytest.mark.parametrize(("name", "status"), [("mona", 404), ("service-bot", 403), ("adam", 200), ("olivia", 200)])
def test_who_sees_it(browser_of, task, name, status):
    assert browser_of(name).get(page(task)).status_code == status


def test_strangers_sign_in_first(client, task):
    assert client.get(page(task)).status_code == 302


def test_a_look_changes_nothing(browser_of, task):
    before = LoggedEvent.objects.count()
    for verb in ("claim", "release", "complete", "draft"):
        assert browser_of("fred").get(page(task, verb)).status_code == 405
    browser_of("fred").get(page(task))

    assert LoggedEvent.objects.count() == before
    assert not HumanTaskDraft.objects.exists()


def test_it_is_claimed_and_released(browser_of, task):
    fred = browser_of("fred")

    assert fred.post(page(task, "claim")).status_code == 302
    assert HumanTask.objects.get().claimed_by == "fred"
    assert fred.post(page(task, "release")).status_code == 302
    assert HumanTask.objects.get().claimed_by is None


def test_the_second_to_claim_hears_who_was_first_and_keeps_what_was_typed(browser_of, task, sound):
    browser_of("fred").post(page(task, "claim"))

    answer = browser_of("fiona").post(page(task, "complete"), {"outcome": "ok", "data-amount": "7", "comment": "mine"})

    html = sound(answer, 409)
    assert "Somebody was quicker" in html
    assert "fred" in html
    assert "<dd>7</dd>" in html
    assert "<dd>mine</dd>" in html


def test_a_decision_completes_it_and_goes_back_to_the_list(browser_of, task):
    answer = browser_of("fred").post(
        page(task, "complete"), {"outcome": "ok", "data-amount": "7", "following": "inbox:claimable"}
    )

    assert (answer.status_code, answer["Location"]) == (302, "/inbox/?view=claimable")
    done = HumanTask.objects.get()
    assert (done.state, done.outcome, done.data, done.decided_by) == ("COMPLETED", "ok", {"amount": 7}, "fred")
    assert WorkflowInstance.objects.get().context == {"customer": "Ada <b>", "amount": 7}


def test_what_does_not_fit_the_form_is_said_in_place_and_changes_nothing(browser_of, task, sound):
    before = LoggedEvent.objects.count()

    answer = browser_of("fred").post(page(task, "complete"), {"outcome": "ok", "data-amount": "0", "comment": "hm"})

    html = sound(answer, 400)
    assert 'aria-invalid="true"' in html
    assert "at least 1" in html
    assert ">hm</textarea>" in html
    assert LoggedEvent.objects.count() == before


def test_a_refusal_needs_a_comment_but_no_form(browser_of, task, sound):
    fred = browser_of("fred")

    silent = fred.post(page(task, "complete"), {"outcome": "no"})
    said = fred.post(page(task, "complete"), {"outcome": "no", "comment": "Too much."})

    assert "comment-e" in sound(silent, 400)
    assert said.status_code == 302
    assert WorkflowInstance.objects.get().state == "ROLLING_BACK"


def test_an_unknown_outcome_changes_nothing(browser_of, task):
    answer = browser_of("fred").post(page(task, "complete"), {"outcome": "maybe", "data-amount": "7"})

    assert answer.status_code == 400
    assert HumanTask.objects.get().state in ("SCHEDULED", "STARTED")


def test_the_same_decision_twice_says_that_it_is_done(browser_of, task):
    fred, form = browser_of("fred"), {"outcome": "ok", "data-amount": "7"}
    fred.post(page(task, "complete"), form)
    before = LoggedEvent.objects.filter(event="TaskCompleted").count()

    again = fred.post(page(task, "complete"), form)

    assert again.status_code == 302
    assert LoggedEvent.objects.filter(event="TaskCompleted").count() == before


def test_a_draft_is_kept_for_its_writer_and_goes_with_the_decision(browser_of, task, sound):
    fred = browser_of("fred")

    kept = fred.post(page(task, "draft"), {"data-amount": "seven", "comment": "later", "outcome": "no"})

    assert kept.status_code == 200
    html = sound(fred.get(page(task)))
    assert 'value="seven"' in html
    assert "Draft saved" in html
    assert "seven" not in sound(browser_of("fiona").get(page(task)))
    fred.post(page(task, "complete"), {"outcome": "ok", "data-amount": "7"})
    assert not HumanTaskDraft.objects.exists()


def test_a_comment_is_kept_and_shown(browser_of, task, sound):
    fred = browser_of("fred")

    fred.post(page(task, "comment"), {"said": "Third one this week."})

    assert "Third one this week." in sound(fred.get(page(task)))


def test_operators_give_it_to_others_with_a_reason(browser_of, task, sound):
    olivia = browser_of("olivia")

    missing = olivia.post(page(task, "reassign"), {"assigned_to": "mona"})
    unknown = olivia.post(page(task, "reassign"), {"assigned_to": "ghost", "reason": "x"})
    done = olivia.post(page(task, "reassign"), {"assigned_to": "mona", "reason": "Fred is away."})

    assert "reason-e" in sound(missing, 400)
    assert "assigned_to-e" in sound(unknown, 400)
    assert done.status_code == 302
    assert HumanTask.objects.get().assigned_to == "mona"


def test_assignees_do_not_reassign(browser_of, task):
    answer = browser_of("fred").post(page(task, "reassign"), {"assigned_to": "mona", "reason": "x"})

    assert answer.status_code == 403
    assert HumanTask.objects.get().assigned_to == "finance"


def test_auditors_look_on(browser_of, task, sound):
    assert "Claim" not in sound(browser_of("adam").get(page(task)))
    assert browser_of("adam").post(page(task, "claim")).status_code == 403


def test_how_it_ended_stays_readable(browser_of, task, sound):
    browser_of("fred").post(page(task, "complete"), {"outcome": "ok", "data-amount": "7", "comment": "Fine."})

    html = sound(browser_of("fred").get(page(task)))
    assert "How it ended" in html
    assert "Fine." in html


def test_it_is_done_from_its_instance_too(browser_of, task, sound):
    fred = browser_of("fred")
    html = sound(fred.get(f"/instances/{task.instance_id}/?node=S/check"))
    assert page(task, "complete") in html

    answer = fred.post(
        page(task, "complete"),
        {"outcome": "ok", "data-amount": "7", "following": f"/instances/{task.instance_id}/?node=S/check"},
    )

    assert answer["Location"].startswith(f"/instances/{task.instance_id}/")


def test_nobody_is_sent_elsewhere(browser_of, task):
    answer = browser_of("fred").post(
        page(task, "complete"), {"outcome": "ok", "data-amount": "7", "following": "//evil.example/x"}
    )

    assert answer["Location"] == page(task)
