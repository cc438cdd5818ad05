"""Everything that matters works without any script."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.people import PAYMENT, Crowd, Office, row_of, sign_in

PLAIN: dict[str, Any] = {"java_script_enabled": False}


def test_a_task_is_claimed_and_decided(crowd: Crowd, office: Office):
    payment = office.start()
    fred = crowd.visitor(**PLAIN)
    sign_in(fred, "fred")
    fred.goto(f"/inbox/?view=claimable&q={payment['business_ref_no']}")
    row_of(fred, payment).get_by_role("link").click()
    fred.get_by_role("button", name="Claim").click()
    expect(fred.get_by_role("button", name="Release")).to_be_visible()

    fred.get_by_label("Amount").fill("-1")
    fred.get_by_role("button", name="Approve").click()
    expect(fred.get_by_label("Amount")).to_have_attribute("aria-invalid", "true")
    fred.get_by_label("Amount").fill("42")
    fred.get_by_role("button", name="Approve").click()

    expect(fred.get_by_role("status").filter(has_text="approve")).to_be_visible()
    assert office.call(f"instances/{payment['id']}/")["context"]["amount"] == 42


def test_the_second_outcome_can_be_chosen(crowd: Crowd, office: Office):
    payment = office.start()
    task = office.task_of(payment)
    office.call(f"human-tasks/{task['id']}/claim/", {}, user="fred")
    fred = crowd.person("fred", f"/tasks/{task['id']}/", **PLAIN)

    fred.get_by_label("Comment", exact=False).first.fill("No such supplier")
    fred.get_by_role("radio", name="Reject").check()
    fred.get_by_role("button", name="Reject").click()

    expect(fred.get_by_role("status").filter(has_text="reject")).to_be_visible()
    assert office.call(f"instances/{payment['id']}/")["state"] == "FAILED"


def test_an_instance_is_started_suspended_and_resumed(crowd: Crowd, office: Office):
    olivia = crowd.person("olivia", "/start/", **PLAIN)
    olivia.get_by_role("link", name="Deliver Pizza").click()
    olivia.get_by_role("button", name="Start").click()
    reference = olivia.get_by_label("Business reference")
    expect(reference).to_have_attribute("aria-invalid", "true")
    reference.fill("BY-HAND-1")
    olivia.get_by_label("Customer").fill("Ada")
    olivia.get_by_role("button", name="Start").click()
    expect(olivia.get_by_role("heading", level=1)).to_have_text("BY-HAND-1")

    # A wish is a page of its own: it asks why.
    olivia.get_by_role("button", name="Suspend…").click()
    olivia.get_by_label("Reason").fill("The oven is cold")
    olivia.get_by_role("button", name="Suspend", exact=True).click()
    expect(olivia.locator("#state")).to_contain_text("Suspended")
    olivia.get_by_role("button", name=re.compile("Resume")).first.click()
    olivia.get_by_label("Reason").fill("It is hot")
    olivia.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(olivia.locator("#state")).not_to_contain_text("Suspended")
    olivia.locator("#tabs").get_by_role("link", name="History").click()
    expect(olivia.locator("#main")).to_contain_text("The oven is cold")


def test_a_template_is_mended_and_published(crowd: Crowd, office: Office):
    olivia = crowd.person("olivia", "/templates/publish/", **PLAIN)
    template = PAYMENT | {"component_name": "BY_HAND"}
    olivia.get_by_label("Template JSON").fill(json.dumps(template | {"stages": "none"}, indent=1))
    olivia.get_by_role("button", name="Publish").click()
    expect(olivia.locator("#remarks")).to_contain_text("1 problem")
    expect(olivia.locator("#remarks")).to_contain_text("/stages")

    olivia.get_by_label("Template JSON").fill(json.dumps(template, indent=1))
    olivia.get_by_role("button", name="Publish").click()
    expect(olivia.get_by_role("heading", level=1)).to_contain_text(PAYMENT["workflow_name"])
    assert office.template_of("BY_HAND")["version"] == 1


def test_a_message_in_quarantine_is_discarded(crowd: Crowd, office: Office):
    office.hold_back("Nobody can read this one")
    admin = crowd.person("admin", "/quarantine/", **PLAIN)
    held = admin.locator("li").filter(has_text="Nobody can read this one")
    held.locator("summary", has_text="Discard").click()
    held.get_by_label("Why it is not needed").fill("A test of the bus")
    held.get_by_role("button", name="Discard it").click()

    expect(held).to_have_count(0)
    admin.goto("/quarantine/?state=all")
    expect(held).to_contain_text("A test of the bus")


@pytest.mark.parametrize(
    ("path", "words"),
    [("/", "Overview"), ("/instances/?health=waiting", "Instances"), ("/templates/?q=pizza", "Deliver Pizza")],
)
def test_lists_can_be_read_and_filtered(path: str, words: str, crowd: Crowd):
    olivia = crowd.person("olivia", path, **PLAIN)

    expect(olivia.locator("#main")).to_contain_text(words)
