"""On a telephone: nothing is cut off, and what a page is for can be reached."""

import pytest
from playwright.sync_api import expect

from tests.browser.pages import NAMES, Place
from tests.browser.people import Crowd

TELEPHONE = {"viewport": {"width": 360, "height": 740}}


@pytest.mark.parametrize("name", NAMES)
def test_no_page_scrolls_sideways(name: str, regulars: Crowd, places: dict[str, Place]):
    place = places[name]
    page, _ = regulars.look(place.user, place.path, width=360)

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if place.action:
        role, label = place.action
        action = page.get_by_role(role, name=label).locator("visible=true").first
        expect(action).to_be_visible()
        action.scroll_into_view_if_needed()
        box = action.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360


def test_the_menu_opens_and_leads_on(crowd: Crowd):
    delia = crowd.person("delia", "/instances/", **TELEPHONE)
    expect(delia.locator("#rail")).to_be_hidden()
    delia.get_by_role("button", name="Menu").click()
    delia.locator("#rail").get_by_role("link", name="Inbox").click()
    expect(delia.get_by_role("heading", name="Inbox")).to_be_visible()
