"""Quarantined messages: who sees them, handing in again, letting go."""

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.builders import service, workflow
from workflows.models import QuarantinedMessage
from workflows.runtime import quarantine

pytestmark = pytest.mark.both_databases

MESSAGE = {
    "event_name": "TaskCompleted", "business_ref_no": "REF-1", "component_name": "COMPONENT", "stage_name": "S",
    "task_name": "pay", "task_type": "SERVICE",
}  # fmt: skip


@pytest.fixture
def held(db):
    return quarantine.hold(
        json.dumps(MESSAGE).encode(), source="workflow_manager", code="unknown_instance", reason="No instance <REF-1>"
    )


def test_operators_and_auditors_see_it(browser_of, held, sound):
    assert "Hand in again" in sound(browser_of("olivia").get("/quarantine/"))
    html = sound(browser_of("adam").get("/quarantine/"))
    assert "No instance &lt;REF-1&gt;" in html
    assert "Hand in again" not in html
    for name in ("service-bot", "fred"):
        sound(browser_of(name).get("/quarantine/"), 403)


def test_it_takes_effect_once_it_can(browser_of, held, begin, sound):
    client = browser_of("olivia")
    assert "REF-1" in sound(client.post(f"/quarantine/{held.pk}/resubmit/"), 409)
    instance = begin(workflow(service("pay")), "REF-1")

    assert client.post(f"/quarantine/{held.pk}/resubmit/").status_code == 302
    instance.refresh_from_db()
    assert instance.state == "COMPLETED"
    assert "took effect" in sound(client.get("/quarantine/"))
    assert "Resubmitted by olivia" in sound(client.get("/quarantine/?state=all"))


def test_letting_go_takes_a_reason(browser_of, held, sound):
    client = browser_of("olivia")

    assert "Say why" in sound(client.post(f"/quarantine/{held.pk}/discard/"), 400)
    assert client.post(f"/quarantine/{held.pk}/discard/", {"reason": "a test"}).status_code == 302
    assert QuarantinedMessage.objects.get().state == "DISCARDED"
    sound(client.post(f"/quarantine/{held.pk}/discard/", {"reason": "again"}), 409)


def test_auditors_change_nothing(browser_of, held):
    for what in ("resubmit", "discard"):
        assert browser_of("adam").post(f"/quarantine/{held.pk}/{what}/", {"reason": "x"}).status_code == 403
        assert browser_of("olivia").get(f"/quarantine/{held.pk}/{what}/").status_code == 405
    assert QuarantinedMessage.objects.get().state == "OPEN"


# --- One message --------------------------------------------------------------------------------------------------


def test_one_message_is_shown_whole_and_harmless(browser_of, held, sound):
    html = sound(browser_of("adam").get(f"/quarantine/{held.pk}/"))

    assert "&quot;task_name&quot;: &quot;pay&quot;" in html
    assert "Hand in again" not in html
    assert 'href="/instances/?q=REF-1"' in html
    for name in ("service-bot", "fred"):
        sound(browser_of(name).get(f"/quarantine/{held.pk}/"), 403)
    sound(browser_of("adam").get("/quarantine/987654321/"), 404)


@pytest.mark.parametrize(
    "body",
    [b"<script>alert(1)</script>", b'{"a": "<script>alert(1)</script>"}', b"[" * 60_000, b"\xff\x00<script>", b"", b"[0," * 70_000],
)  # fmt: skip
def test_whatever_came_is_shown(browser_of, db, sound, body):
    held = quarantine.hold(body, source="<b>", code="invalid_json", reason="?")
    client = browser_of("olivia")

    for path in ("/quarantine/", f"/quarantine/{held.pk}/"):
        html = sound(client.get(path))
        assert "<script>alert" not in html
        assert len(html) < 150_000


def test_a_refusal_is_told_where_the_person_was(browser_of, held, sound):
    client = browser_of("olivia")

    html = sound(client.post(f"/quarantine/{held.pk}/resubmit/", {"from": "one"}), 409)

    assert f"<h1>Message {held.pk}</h1>" in html
    assert client.post(f"/quarantine/{held.pk}/discard/", {"from": "one", "reason": "x"}).status_code == 302
    assert "Discarded" in sound(client.get(f"/quarantine/{held.pk}/"))
    assert "The message is DISCARDED." in sound(client.post(f"/quarantine/{held.pk}/resubmit/", {"from": "one"}), 409)


# --- Many at once -------------------------------------------------------------------------------------------------


def hold(reference: str, code: str = "unknown_instance") -> int:
    body = json.dumps({**MESSAGE, "business_ref_no": reference}).encode()
    return quarantine.hold(body, source="workflow_manager", code=code, reason=f"No instance {reference}").pk


def test_ticked_ones_are_handed_in(browser_of, begin, sound):
    keys = [hold(f"REF-{number}") for number in range(4)]
    instances = [begin(workflow(service("pay")), f"REF-{number}") for number in range(2)]
    client = browser_of("olivia")

    done = client.post("/quarantine/see-to/", {"do": "resubmit", "message": keys[:3], "reason": "started late"})

    assert done.status_code == 302
    html = sound(client.get("/quarantine/"))
    assert "2 messages were handed in again and took effect." in html
    assert "1 message was still held" in html
    for instance in instances:
        instance.refresh_from_db()
        assert instance.state == "COMPLETED"
    assert list(QuarantinedMessage.objects.filter(state="OPEN").order_by("pk").values_list("pk", flat=True)) == keys[2:]
    assert "Resubmitted by olivia" in sound(client.get("/quarantine/?state=all"))
    assert "applied (started late)" in sound(client.get("/quarantine/?state=all"))


def test_all_that_match_means_those_that_were_there(browser_of, sound, db):
    keys = [hold(f"REF-{number}") for number in range(30)]
    other = hold("x", code="unknown_task")
    client = browser_of("olivia")
    page = client.get("/quarantine/?code=unknown_instance")
    assert "all 30 that match" in sound(page)
    later = hold("REF-later")

    said = {"do": "discard", "all": page.context["matching"].keys, "reason": "a test", "code": "unknown_instance"}
    for _ in range(2):  # a double click
        assert client.post("/quarantine/see-to/", said)["Location"] == "/quarantine/?code=unknown_instance"

    discarded = QuarantinedMessage.objects.filter(state="DISCARDED", resolved_by="olivia", resolution="a test")
    assert sorted(discarded.values_list("pk", flat=True)) == keys
    assert {one.pk for one in QuarantinedMessage.objects.filter(state="OPEN")} == {other, later}
    html = sound(client.get("/quarantine/"))
    assert "30 messages were discarded" in html
    assert "30 messages were seen to by somebody already." in html


def test_more_than_are_seen_to_at_once_says_so(browser_of, sound, db, monkeypatch):
    monkeypatch.setattr("tasks_ui.queries.quarantine.MOST_AT_ONCE", 3)
    for number in range(5):
        hold(f"REF-{number}")

    assert "the oldest 3 that match" in sound(browser_of("olivia").get("/quarantine/"))


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"do": "resubmit"}, "Tick the messages"), ({"do": "discard", "message": ["x", "1e9", ""]}, "Tick the messages"),
        ({"do": "discard", "message": "KEY"}, "Say why"), ({"do": "explode", "message": "KEY"}, "Say what"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(browser_of, held, sound, said, fault):
    said = {name: str(held.pk) if value == "KEY" else value for name, value in said.items()}

    assert fault in sound(browser_of("olivia").post("/quarantine/see-to/", said), 400)
    assert QuarantinedMessage.objects.get().state == "OPEN"


def test_auditors_see_to_nothing(browser_of, held, sound):
    client = browser_of("adam")

    assert "Many at once" not in sound(client.get("/quarantine/"))
    assert client.post("/quarantine/see-to/", {"do": "discard", "message": held.pk, "reason": "x"}).status_code == 403
    assert browser_of("olivia").get("/quarantine/see-to/").status_code == 405
    assert QuarantinedMessage.objects.get().state == "OPEN"


def test_who_is_at_a_message_is_shown(browser_of, held, sound):
    QuarantinedMessage.objects.update(resolved_by="mona", resolved_at=timezone.now())

    assert "mona is at it" in sound(browser_of("olivia").get("/quarantine/"))
    assert "mona is at it just now." in sound(browser_of("olivia").post(f"/quarantine/{held.pk}/resubmit/"), 409)


def test_it_asks_few_questions_however_long_the_list(browser_of, db):
    for number in range(20):
        hold(f"REF-{number}")
    client = browser_of("olivia")

    with CaptureQueriesContext(connection) as asked:
        client.get("/quarantine/")

    assert len(asked) <= 9
