"""No page breaks its own policy, and what people write is text, wherever it is shown."""

import json

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import NAMES, Place
from tests.browser.people import PAYMENT, WATCH, Crowd, Office, live

EVIL = "<img src=x onerror=alert(1)>{{654321*3}}</script><script>alert(2)</script>\"'`${1}"


def innocent(page: Page) -> None:
    """Fail if something of what was written is more than text."""
    assert page.evaluate("window.violations") == []
    assert page.locator("img[src='x'], main script").count() == 0
    assert "1962963" not in page.locator("main").inner_text()


@pytest.mark.parametrize("name", NAMES)
def test_no_page_breaks_its_policy(name: str, regulars: Crowd, places: dict[str, Place]):
    place = places[name]
    page, answer = regulars.look(place.user, place.path)

    policy = answer.headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert page.evaluate("window.violations") == []
    regulars.innocent()


def test_what_is_written_is_text_everywhere(crowd: Crowd, office: Office):
    template = json.loads(json.dumps(PAYMENT)) | {"component_name": "EVIL", "workflow_name": f"Pay {EVIL}"}
    task = template["stages"][0]["tasks"][0]
    task |= {"title": f"Approve {EVIL}", "description": f"About {EVIL}"}
    task["outcomes"][0]["label"] = f"Yes {EVIL}"
    task["form"]["properties"]["amount"] |= {"title": f"Amount {EVIL}", "description": EVIL}
    published = office.call("templates/", template, user="olivia")
    payment = office.start("EVIL", f"E {EVIL}", **{f"key {EVIL}": EVIL, "list": [EVIL, {EVIL: EVIL}]})
    human = office.task_of(payment)
    office.call(f"human-tasks/{human['id']}/comment/", {"comment": f"Said {EVIL}"}, user="fred")
    office.call(f"human-tasks/{human['id']}/claim/", {}, user="fred")
    office.call(f"instances/{payment['id']}/suspend/", {"reason": f"Why {EVIL}"}, user="olivia")
    office.call(f"instances/{payment['id']}/resume/", {"reason": f"Since {EVIL}"}, user="olivia")
    page = f"/instances/{payment['id']}/"
    olivia = crowd.person("olivia")
    olivia.context.add_init_script(WATCH)

    for path, words in (
        ("/instances/", f"E {EVIL}"),
        (page, f"E {EVIL}"),
        (f"{page}?tab=history", f"Why {EVIL}"),
        (f"{page}?tab=data", EVIL.replace('"', '\\"')),
        (f"{page}?tab=timeline", f"E {EVIL}"),
        (f"{page}?tab=tasks", f"Approve {EVIL}"),
        (f"{page}?tab=messages", f"E {EVIL}"),
        ("/templates/", f"Pay {EVIL}"),
        (f"/templates/{published['id']}/", f"Pay {EVIL}"),
        (f"/start/{published['id']}/", f"Pay {EVIL}"),
        ("/inbox/?view=all", f"Approve {EVIL}"),
        ("/", None),
    ):
        olivia.goto(path)
        if words:
            expect(olivia.locator("main")).to_contain_text(words)
        innocent(olivia)

    fred = crowd.person("fred")
    fred.context.add_init_script(WATCH)
    fred.goto(f"/tasks/{human['id']}/")
    for words in (f"Approve {EVIL}", f"About {EVIL}", f"Said {EVIL}", f"Yes {EVIL}", f"Amount {EVIL}"):
        expect(fred.locator("main")).to_contain_text(words)
    innocent(fred)

    # What comes in afterwards is patched into the page: that must not bring it to life either.
    olivia.goto(f"{page}?tab=history")
    live(olivia)
    office.call(f"human-tasks/{human['id']}/comment/", {"comment": f"Late {EVIL}"}, user="fred")
    expect(olivia.locator("main")).to_contain_text(f"Late {EVIL}", timeout=10_000)
    innocent(olivia)

    # The palette is brought in by htmx.
    olivia.keyboard.press("Control+k")
    olivia.keyboard.type("E <img")
    expect(olivia.locator("#palette").get_by_role("option").first).to_contain_text(f"E {EVIL}")
    assert olivia.evaluate("window.violations") == []
