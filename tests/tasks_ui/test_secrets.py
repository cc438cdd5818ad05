"""What is secret is shown to nobody: no page, no answer of the API, no frame, no line of the log says it."""

import json
import logging
import re
from collections import deque

import pytest

from tests.builders import human, service, stage, workflow
from workflows.engine import commands
from workflows.messaging.port import Incoming
from workflows.messaging.receiving import receive
from workflows.models import HumanTask, LoggedEvent, OutboxMessage, WorkflowInstance
from workflows.runtime import leasing, listeners, moments
from workflows.runtime.masking import MASK, masked, masked_at, masked_text
from workflows.steps import begin as first
from workflows.steps import step
from workflows.steps import workflow as flow
from workflows.steps.runner import StepRunner

SECRET = "hunter2-and-nobody-else"
KEYS = {"password": SECRET, "order": {"lines": [{"accessToken": SECRET, "pin": 7}]}}
FORM = {
    "type": "object",
    "properties": {"door_code": {"type": "string", "writeOnly": True}, "note": {"type": "string"}},
}


@step("Sign in")
def sign_in(state: dict) -> dict:
    assert state["password"] == SECRET
    return {"session": {"api-key": SECRET, "user": "ada"}}


@flow("Signing in", component="SECRETS")
def signing_in():
    return first >> sign_in


@pytest.fixture
def instance(settings, begin, say):
    """One whose steps, people, services and refusals have all had a secret in their hands."""
    settings.STEP_OBSERVERS = ["log", "changes", "opentelemetry", "prometheus"]
    (steps,) = signing_in.template["stages"]
    later = stage("LATER", human("open", to="olivia", form=FORM), service("a", "open"), service("b", "a"))
    template = workflow({**steps, "stage_order": -1}, later, search={"code": "/password"})
    made = begin({**template, "component_name": "SECRETS"}, **KEYS)
    StepRunner(now=moments.now).run_due()
    task = {"stage_name": "LATER", "task_name": "open"}
    data = {"door_code": SECRET, "note": "green"}
    say(made, commands.DecideTask(**task, by="olivia", operator=True, data=data), actor="olivia")
    say(made, commands.CompleteTask("LATER", "a", output={"refresh_token": SECRET}))
    error = {"code": "broken", "message": "see details", "details": {"secret": SECRET}}
    say(made, commands.FailTask("LATER", "b", error=error))
    head = {"component_name": "SECRETS", "event_name": "TaskCompleted", "stage_name": "LATER"}
    refused = {**head, "business_ref_no": "REF-1", "task_name": "a", "attempt": 9, "output": {"token": SECRET}}
    unknown = {**refused, "business_ref_no": "NOBODY"}
    receive([Incoming(json.dumps(one).encode()) for one in (refused, unknown)], at=moments.now())
    made.refresh_from_db()
    return made


def all_pages(client, start):
    """Every page that can be reached by links, each address once."""
    seen, waiting = {}, deque(start)
    while waiting:
        address = waiting.popleft()
        kept = address.partition("#")[0]
        if kept in seen or re.search(r"signout|static|password_change|/api/v1/docs|jsi18n|/delete/|/add/", kept):
            continue
        answer = client.get(kept)
        if answer.streaming or answer.status_code >= 400:
            continue
        seen[kept] = answer.content.decode()
        assert len(seen) < 600, "links without an end"
        for link in re.findall(r'(?:href|hx-get|action)="(/[^"]*)"', seen[kept]):
            waiting.append(link.replace("&amp;", "&"))
    return seen


def test_no_page_says_it(instance, browser_of):
    human_task = HumanTask.objects.get()
    start = [
        "/",
        f"/instances/{instance.pk}/",
        f"/instances/{instance.pk}/?at=3",
        f"/tasks/{human_task.pk}/",
        "/quarantine/",
    ]
    for person in ("olivia", "admin"):
        pages = all_pages(browser_of(person), [*start, *(["/admin/"] if person == "admin" else [])])

        assert [address for address, text in pages.items() if SECRET in text] == []
        shown = [address for address, text in pages.items() if MASK in text]
        assert len(shown) >= 4, shown
        assert any("view=history" in address or "history" in address for address in pages), sorted(pages)[:40]


def test_no_answer_of_the_api_says_it_and_work_still_gets_it(instance, browser_of):
    key, human_task = instance.pk, HumanTask.objects.get()
    paths = [
        "instances/", f"instances/{key}/", f"instances/{key}/?at=3", f"instances/{key}/history/",
        f"instances/{key}/commands/", "human-tasks/?view=done", f"human-tasks/{human_task.pk}/", "quarantine/",
        "subscriptions/", "schedules/",
    ]  # fmt: skip
    for person in ("olivia", "admin", "adam"):
        client = browser_of(person)
        answers = {path: client.get(f"/api/v1/{path}") for path in paths}

        assert {path: answer.status_code for path, answer in answers.items() if answer.status_code != 200} == {}
        assert [path for path, answer in answers.items() if SECRET in answer.content.decode()] == []
    now = answers[f"instances/{key}/"].json()
    assert now["context"]["password"] == MASK
    assert now["context"]["order"] == {"lines": [{"accessToken": MASK, "pin": 7}]}
    assert now["context"]["session"] == {"api-key": MASK, "user": "ada"}
    assert (now["context"]["door_code"], now["context"]["note"]) == (MASK, "green")
    assert now["search"] == {"code": MASK}

    # Stored as it came: whoever goes on with the work needs it.
    assert LoggedEvent.objects.get(event="WorkflowStarted").data["context"]["password"] == SECRET
    row = OutboxMessage.objects.latest("id")
    assert row.payload["context"]["refresh_token"] == SECRET


def test_who_leases_the_work_gets_the_truth(begin):
    begin(workflow(service("a")), **KEYS)
    (task,) = leasing.lease("a_queue", worker_id="w", max_tasks=1, lease_seconds=60, actor="bot")

    assert task["context"] == KEYS


def test_what_is_typed_into_a_secret_field_is_not_shown_back(begin, browser_of):
    begin(workflow(human("open", to="olivia", form=FORM | {"required": ["note"]})))
    page = f"/tasks/{HumanTask.objects.get().pk}/"
    browser = browser_of("olivia")
    empty = browser.get(page).content.decode()
    wrong = browser.post(
        f"{page}complete/", {"door_code": SECRET, "note": "", "outcome": "complete"}, follow=True
    ).content.decode()

    assert re.search(r'name="[^"]*door_code" type="password" value=""', empty)
    assert SECRET not in wrong


def test_no_line_of_the_log_and_no_frame_says_it(caplog, request, django_capture_on_commit_callbacks):
    told = []
    end = listeners.subscribe(lambda committed: told.append(repr(committed)))
    with caplog.at_level(logging.DEBUG, logger="workflows"), django_capture_on_commit_callbacks(execute=True):
        request.getfixturevalue("instance")
    end()

    assert "step tests.tasks_ui.test_secrets.sign_in up: Done" in caplog.text
    lines = [record.getMessage() + repr(record.__dict__) for record in caplog.records]
    assert [line for line in lines if SECRET in line] == []
    assert told
    assert [one for one in told if SECRET in one] == []
    assert WorkflowInstance.objects.get().context["password"] == SECRET


@pytest.mark.parametrize(
    ("key", "hidden"),
    [
        ("password", True), ("Password", True), ("dbPassword", True), ("access_token", True), ("X-API-Key", True),
        ("apiKey", True), ("apikey", True), ("client-secret", True), ("Authorization", True), ("CVV", True),
        ("tokens", False), ("token_count", False), ("authorization_date", False), ("secretary", False), ("key", False),
        ("", False), ("7", False),
    ],
)  # fmt: skip
def test_a_key_is_secret_when_its_last_words_are(key, hidden):
    assert (masked({key: "x"}) == {key: MASK}) is hidden
    assert (masked_at(f"/a/{key}", "x") == MASK) is hidden


def test_a_site_may_name_more(settings):
    settings.MASKED_KEYS = ["iban"]

    assert masked({"iban": "x", "password": "y", "none": None}) == {"iban": MASK, "password": "y", "none": None}


def test_what_is_not_there_is_not_hidden():
    assert masked({"password": None, "a": [1, "x", None, {"b": True}]}) == {
        "password": None,
        "a": [1, "x", None, {"b": True}],
    }
    assert masked_text("no {json") == "no {json"
    assert masked_text('{"a": 1.0}') == '{"a": 1.0}'
    assert masked_text('{"token":"x"}') == json.dumps({"token": MASK}, ensure_ascii=False, separators=(",", ":"))
