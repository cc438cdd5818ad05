"""A page whose connection is gone says so, and afterwards shows what a fresh page would show."""

import re

from playwright.sync_api import Page, expect

from tests.browser.people import LIVE, PIZZA, SECOND, Crowd, Office, live

BACK = 20 * SECOND


def shown(page: Page) -> dict[str, str]:
    """Return what a page says of its instance."""
    return {name: page.locator(name).inner_text() for name in ("#state", "#tabs", "#meta .code >> nth=0", "#why")}


def test_a_page_catches_up_after_a_time_without_network(crowd: Crowd, office: Office):
    order = office.start("ITALIAN", customer="Ada")
    olivia = crowd.person("olivia", f"/instances/{order['id']}/")
    live(olivia)
    olivia.evaluate("window.sameVisit = true")
    badge = olivia.locator("#live")

    olivia.context.set_offline(True)
    expect(badge).to_have_text(re.compile("Offline|Catching up"))
    office.complete(order, *PIZZA)
    history = olivia.locator("#tabs .n").first
    before = history.inner_text()

    olivia.context.set_offline(False)
    live(olivia)
    expect(olivia.locator("#state")).to_contain_text("Waiting for a person", timeout=LIVE)
    expect(history).not_to_have_text(before)
    assert olivia.evaluate("window.sameVisit") is True
    assert shown(olivia) == shown(crowd.person("olivia", f"/instances/{order['id']}/"))

    # And it goes on listening.
    office.call(f"instances/{order['id']}/suspend/", {"reason": "Rain"}, user="admin")
    expect(olivia.locator("#state")).to_contain_text("Suspended", timeout=LIVE)


def test_a_list_catches_up_after_a_time_without_network(crowd: Crowd, office: Office):
    payment = office.start()
    fiona = crowd.person("fiona", "/inbox/?view=claimable")
    live(fiona)
    row = fiona.locator("[data-row]").filter(has_text=payment["business_ref_no"])

    fiona.context.set_offline(True)
    expect(fiona.locator("#live")).to_have_text(re.compile("Offline|Catching up"))
    office.call(f"human-tasks/{office.task_of(payment)['id']}/claim/", {}, user="fred")
    expect(row).not_to_contain_text("Taken by")
    fiona.context.set_offline(False)

    live(fiona)
    expect(row).to_contain_text("Taken by fred", timeout=LIVE)


def test_a_page_outlives_a_server_that_is_killed(crowd: Crowd, office: Office):
    order = office.start("ITALIAN", customer="Ada")
    olivia = crowd.person("olivia", f"/instances/{order['id']}/")
    live(olivia)

    office.kill()
    expect(olivia.locator("#live")).to_have_text(re.compile("Offline|Catching up"))
    office.revive()
    office.complete(order, *PIZZA)

    expect(olivia.locator("#state")).to_contain_text("Waiting for a person", timeout=BACK)
    live(olivia)
    office.call(f"instances/{order['id']}/suspend/", {"reason": "Rain"}, user="admin")
    expect(olivia.locator("#state")).to_contain_text("Suspended", timeout=LIVE)
