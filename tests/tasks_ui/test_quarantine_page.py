"""Quarantined messages: who sees them, handing in again, letting go."""

import json

import pytest

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
