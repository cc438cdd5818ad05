"""The page of one instance: every view in every state, what operators do, what others may not, time travel, size."""

import time
import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.builders import human, service, stage, undo, workflow
from workflows.engine import commands as c
from workflows.models import LoggedEvent

TABS = ("graph", "timeline", "history", "data", "tasks", "messages", "rollback")
LOAN = workflow(
    stage(
        "CHECKS",
        service("reserve", title="Reserve the limit", **undo()),
        service("score", "reserve", on_failure="halt"),
    ),
    stage("DECIDE", human("approve", to="finance", title="Approve the loan")),
    workflow_name="Loan",
)


@pytest.fixture
def running(begin):
    return begin(LOAN, "LOAN-1", amount=84000, seller={"name": "Halden <b>Outdoor</b>"})


@pytest.fixture
def failed(running, say):
    error = {"code": "consent_expired", "message": "The consent has ended", "details": {"bank": "Hansebank"}}
    return say(
        running,
        c.CompleteTask("CHECKS", "reserve", output={"limit": "L-1"}),
        c.FailTask("CHECKS", "score", error=error),
    )


@pytest.fixture
def waiting(running, say):
    return say(running, c.CompleteTask("CHECKS", "reserve"), c.CompleteTask("CHECKS", "score"))


@pytest.fixture
def stuck(failed, say):
    return say(
        failed, c.RollBackWorkflow(reason="no way"),
        c.FailTask("CHECKS", "reserve", compensation=True, error={"code": "gone", "message": "No answer"}),
    )  # fmt: skip


def page(client, instance, **query):
    return client.get(f"/instances/{instance.pk}/", query)


def act(client, instance, do, **more):
    return client.post(f"/instances/{instance.pk}/act/", {"do": do, "reason": "because", **more})


# --- Reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("state", ["running", "failed", "waiting", "stuck"])
def test_every_view_in_every_state(request, browser_of, sound, state, tab):
    instance = request.getfixturevalue(state)

    html = sound(page(browser_of("olivia"), instance, tab=tab))

    assert "LOAN-1" in html
    assert "<b>Outdoor" not in html


@pytest.mark.parametrize("tab", TABS)
def test_every_view_of_every_moment(browser_of, stuck, sound, tab):
    client = browser_of("adam")
    for number in range(1, stuck.last_sequence):
        html = sound(page(client, stuck, tab=tab, at=number))

        assert f"as it was after event {number} of" in html
        assert 'live-topic="instance' not in html


def test_a_moment_shows_the_states_of_then(browser_of, stuck):
    then = page(browser_of("olivia"), stuck, at=1).context["it"]

    assert (then.state, {task.state for task in then.tasks}) == ("RUNNING", {"PENDING"})
    assert not page(browser_of("olivia"), stuck, at=stuck.last_sequence).context["it"].frozen
    assert not page(browser_of("olivia"), stuck, at="x").context["it"].frozen


def test_the_cause_says_what_failed_and_who_can_fix_it(browser_of, failed, sound):
    html = sound(page(browser_of("olivia"), failed))

    assert "Score failed: The consent has ended" in html
    assert "consent_expired" in html
    assert "score_queue" in html
    assert "Retry score…" in html


def test_the_cause_of_a_stuck_rollback(browser_of, stuck, sound):
    html = sound(page(browser_of("olivia"), stuck))

    assert "Reserve the limit could not be undone: No answer" in html
    assert "What is undone" in html
    assert "Undone by hand…" in html


def test_data_says_where_it_came_from(browser_of, failed):
    data = {datum.key: datum.by for datum in page(browser_of("olivia"), failed, tab="data").context["data"]}

    assert data == {"amount": "", "seller": "", "limit": "Reserve the limit"}


def test_the_history_goes_back_page_by_page(browser_of, running, say, sound):
    for number in range(80):
        say(running, c.SendSignal(name=f"signal-{number}"))
    client = browser_of("olivia")
    answer = page(client, running, tab="history", minor="show")
    first = [entry.sequence for entry in answer.context["log"]]
    second = page(client, running, tab="history", minor="show", before=answer.context["older"])
    rest = [entry.sequence for entry in second.context["log"]]
    again = page(client, running, tab="history", minor="show", after=second.context["newer"])

    last = LoggedEvent.objects.filter(instance=running).count()
    assert first + rest == list(range(last, 0, -1))
    assert second.context["older"] is None
    assert [entry.sequence for entry in again.context["log"]] == first


def test_the_chosen_task_is_the_one_of_the_address(browser_of, failed):
    client = browser_of("olivia")

    assert page(client, failed).context["chosen"].node == "CHECKS/score"
    assert page(client, failed, node="DECIDE/approve").context["chosen"].node == "DECIDE/approve"
    assert page(client, failed, node="NO/such").context["chosen"].node == "CHECKS/score"


def test_a_live_part_is_no_whole_page(browser_of, failed, sound):
    html = sound(browser_of("olivia").get(f"/instances/{failed.pk}/", headers={"X-Fragment": "live"}))

    assert "<html" not in html
    assert 'id="head"' in html


def test_it_asks_few_questions(browser_of, failed):
    client = browser_of("olivia")
    page(client, failed)
    for tab in TABS:
        with CaptureQueriesContext(connection) as asked:
            page(client, failed, tab=tab)

        assert len(asked) <= 17, tab


def test_five_thousand_tasks_are_folded_and_quick(browser_of, begin, sound):
    pages = [service(f"check_page_{number}", task_queue="pages") for number in range(4990)]
    chain = [service(f"store_{number}", *([f"store_{number - 1}"] if number else [])) for number in range(90)]
    instance = begin(workflow(stage("PAGES", *pages), stage("STORE", *chain)), "BIG-1")
    client = browser_of("olivia")
    page(client, instance)
    begun = time.monotonic()
    answer = page(client, instance)
    took = time.monotonic() - begun

    html = sound(answer)
    assert "× 4,990" in html
    assert len(html) < 250_000
    assert len(answer.context["picture"].nodes) < 40
    assert took < 3, "about 0.4 s on an idle machine"


# --- Who may ------------------------------------------------------------------------------------------------------


def test_assignees_see_what_their_tasks_belong_to(browser_of, running, say, sound):
    assert page(browser_of("fred"), running).status_code == 404
    say(running, c.CompleteTask("CHECKS", "reserve"), c.CompleteTask("CHECKS", "score"))

    assert "Suspend" not in sound(page(browser_of("fred"), running))
    assert page(browser_of("mona"), running).status_code == 404


def test_auditors_see_everything_and_no_action(browser_of, failed, stuck, sound):
    for tab in TABS:
        html = sound(page(browser_of("adam"), failed, tab=tab))

        assert "data-dialog" not in html
    assert "data-dialog" not in sound(page(browser_of("adam"), failed, do="cancel"))


@pytest.mark.parametrize("name", ["adam", "fred", "service-bot"])
def test_only_operators_act(browser_of, waiting, name):
    before = waiting.last_sequence

    assert act(browser_of(name), waiting, "cancel").status_code == 403
    waiting.refresh_from_db()
    assert waiting.last_sequence == before


def test_nobody_acts_on_what_they_may_not_see(browser_of, running):
    assert act(browser_of("mona"), running, "cancel").status_code == 404
    assert browser_of("olivia").get(f"/instances/{uuid.uuid4()}/").status_code == 404


def test_looking_changes_nothing(browser_of, failed):
    for do in ("suspend", "cancel", "rollback", "retry", "skip", "nonsense"):
        page(browser_of("olivia"), failed, do=do, stage="CHECKS", task="score", reason="x")
    answer = browser_of("olivia").get(f"/instances/{failed.pk}/act/?do=cancel&reason=x")

    assert answer.status_code == 302
    before = failed.last_sequence
    failed.refresh_from_db()
    assert failed.last_sequence == before


# --- Acting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "do", "task", "state"),
    [
        ("running", "suspend", "", "SUSPENDED"),
        ("failed", "suspend", "", "SUSPENDED"),
        ("running", "cancel", "", "CANCELLED"),
        ("failed", "rollback", "", "ROLLING_BACK"),
        ("failed", "retry", "CHECKS/score", "RUNNING"),
        ("failed", "skip", "CHECKS/score", "RUNNING"),
        ("failed", "complete", "CHECKS/score", "RUNNING"),
        ("running", "fail", "CHECKS/reserve", "FAILED"),
        ("failed", "replay", "CHECKS/reserve", "RUNNING"),
        ("failed", "replay-stage", "CHECKS/", "RUNNING"),
        ("stuck", "undo-retry", "CHECKS/reserve", "ROLLING_BACK"),
        ("stuck", "undo-complete", "CHECKS/reserve", "ROLLED_BACK"),
        ("stuck", "undo-skip", "CHECKS/reserve", "ROLLED_BACK"),
    ],
)
def test_every_action(request, browser_of, sound, given, do, task, state):
    instance, client = request.getfixturevalue(given), browser_of("olivia")
    stage_name, _, task_name = task.partition("/")
    dialog = client.get(
        f"/instances/{instance.pk}/",
        {"do": do, "stage": stage_name, "task": task_name},
        headers={"X-Fragment": "dialog"},
    )

    sound(dialog)
    answer = act(client, instance, do, stage=stage_name, task=task_name)
    assert answer.status_code == 302, answer.content
    instance.refresh_from_db()
    assert instance.state == state
    newest = LoggedEvent.objects.filter(instance=instance, actor="olivia").first()
    assert newest is not None
    assert newest.cause.startswith("page-")
    assert 'data-state="success"' in sound(client.get(answer.url))


def test_a_suspended_one_is_resumed_without_a_reason(browser_of, running, say, sound):
    say(running, c.SuspendWorkflow(reason="waiting for the auditor"), actor="adam")
    client = browser_of("olivia")
    assert "adam: waiting for the auditor" in sound(page(client, running))

    act(client, running, "resume", reason="")

    running.refresh_from_db()
    assert running.state == "RUNNING"


def test_a_reason_is_asked_for_in_place(browser_of, failed, sound):
    answer = act(browser_of("olivia"), failed, "retry", stage="CHECKS", task="score", reason="  ")

    html = sound(answer, 400)
    assert "Say why; it goes into the history." in html
    assert 'aria-invalid="true"' in html
    failed.refresh_from_db()
    assert failed.state == "FAILED"


@pytest.mark.parametrize("output", ["nonsense", "[1]", '{"a": NaN}', '{"a": 1, "a": 2}'])
def test_an_output_is_an_object(browser_of, failed, sound, output):
    html = sound(act(browser_of("olivia"), failed, "complete", stage="CHECKS", task="score", output=output), 400)

    assert "Write a JSON object" in html


def test_an_output_is_merged(browser_of, failed):
    act(browser_of("olivia"), failed, "complete", stage="CHECKS", task="score", output='{"score": 712}')

    failed.refresh_from_db()
    assert failed.context["score"] == 712


def test_a_refusal_keeps_what_was_typed_and_says_why(browser_of, failed, say, sound):
    say(failed, c.CancelWorkflow(reason="x"), actor="olivia")
    answer = act(browser_of("olivia"), failed, "retry", stage="CHECKS", task="score", reason="my long reason")

    html = sound(answer, 409)
    assert "my long reason" in html
    assert 'role="alert"' in html


def test_a_stale_page_is_told(browser_of, failed, say, sound):
    say(failed, c.RetryTask("CHECKS", "score", reason="x"), actor="adam")
    answer = act(browser_of("olivia"), failed, "skip", stage="CHECKS", task="score", attempt="1")

    sound(answer, 409)


def test_an_unknown_task_or_action(browser_of, failed, sound):
    assert act(browser_of("olivia"), failed, "explode").status_code == 404
    sound(act(browser_of("olivia"), failed, "retry", stage="NO", task="such"), 404)


def test_acting_takes_a_token(people, failed):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(people["olivia"])

    assert act(client, failed, "cancel").status_code == 403
