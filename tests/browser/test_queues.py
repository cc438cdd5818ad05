"""An operator at the queues: the page follows what happens, and quarantined messages are seen to many at a time."""

import re
import uuid

from playwright.sync_api import expect

from tests.browser.people import LIVE, Crowd, Office, live


def test_the_page_follows_what_waits(crowd: Crowd, office: Office):
    olivia = crowd.person("olivia", "/queues/?q=confirm_order")
    live(olivia)
    row = olivia.locator("[data-row]").filter(has_text="confirm_order_queue")
    before = int(row.get_by_role("cell").nth(1).inner_text())

    office.start("ITALIAN", customer="Ada", address="12 Low Lane")

    expect(row.get_by_role("cell").nth(1)).to_have_text(str(before + 1), timeout=LIVE)


def test_many_messages_are_seen_to_with_one_wish_however_often_it_is_clicked(crowd: Crowd, office: Office):
    named = f"E-{uuid.uuid4().hex[:8]}"
    for number in range(3):
        office.hold_back(f"{named} {number}")
    olivia = crowd.person("olivia", "/queues/")
    olivia.get_by_role("link", name="not_json").click()
    for number in (0, 2):
        olivia.locator(".held > li").filter(has_text=f"{named} {number}").get_by_role("checkbox").check()
    bulk = olivia.get_by_role("form", name="Many at once")

    bulk.get_by_role("button", name="Discard these").click()
    expect(bulk.get_by_role("alert")).to_contain_text("Say why")
    bulk.get_by_label("Why").fill("Sent by a test")
    bulk.get_by_role("button", name="Discard these").dblclick()

    # The second click finds the messages over, or finds nothing ticked: either way nothing happens twice.
    expect(olivia.locator(".held > li").filter(has_text=f"{named} 0")).to_have_count(0)
    expect(olivia.locator(".held > li").filter(has_text=f"{named} 1")).to_have_count(1)
    olivia.get_by_role("link", name="All", exact=True).click()
    for number in (0, 2):
        discarded = olivia.locator(".held > li").filter(has_text=f"{named} {number}")
        expect(discarded).to_contain_text(re.compile(r"Discarded by olivia, .*: Sent by a test"))

    olivia.get_by_role("link", name=f"{named} 1").click()
    expect(olivia.get_by_role("heading", level=1)).to_have_text(re.compile(r"^Message \d+$"))
    olivia.get_by_role("button", name="Hand in again").click()
    expect(olivia.get_by_role("alert")).to_be_visible()
    olivia.get_by_label("Why it is not needed").fill("Nobody can read it")
    olivia.get_by_role("button", name="Discard it").click()
    expect(olivia.get_by_role("status").filter(has_text="discarded")).to_be_visible()
