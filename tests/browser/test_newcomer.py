"""The first ten minutes: somebody signs in, does a task, and somebody else sees it done."""

from playwright.sync_api import expect

from tests.browser.people import LIVE, Crowd, Office, live, row_of, sign_in


def test_a_newcomer_delivers_a_pizza(crowd: Crowd, office: Office):
    order = office.pizza_at_the_door()
    olivia = crowd.person("olivia", f"/instances/{order['id']}/")
    expect(olivia.locator("#state")).to_contain_text("Waiting for a person")
    live(olivia)
    olivia.evaluate("window.sameVisit = true")

    # Delia is asked who she is, and lands where she wanted to go.
    delia = crowd.visitor()
    delia.goto("/inbox/")
    expect(delia.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(delia, "delia")
    delia.goto("/inbox/?view=claimable")
    row_of(delia, order).get_by_role("link").click()
    pane = delia.locator("#pane")
    expect(pane.get_by_role("heading", name="Deliver food")).to_be_visible()
    expect(pane.get_by_text("assigned to the group")).to_be_visible()
    pane.get_by_role("button", name="Claim").click()
    expect(delia.get_by_role("status").filter(has_text="it is yours")).to_be_visible()
    expect(olivia.locator("#graph, main").first).to_contain_text("delia", timeout=LIVE)

    # A fault is told where it is, and what was typed is still there.
    delia.get_by_label("Handed to").fill("Ada")
    delia.get_by_label("Tip").fill("a lot")
    delia.get_by_role("button", name="Complete").click()
    tip = delia.get_by_label("Tip")
    expect(tip).to_have_attribute("aria-invalid", "true")
    expect(tip).to_be_focused()
    expect(tip).to_have_value("a lot")
    expect(delia.get_by_label("Handed to")).to_have_value("Ada")
    described = tip.get_attribute("aria-describedby") or ""
    assert any("number" in delia.locator(f"#{name}").inner_text().lower() for name in described.split())

    tip.fill("2.50")
    delia.get_by_role("button", name="Complete").click()
    expect(delia.get_by_role("status").filter(has_text="Deliver food: done")).to_be_visible()
    expect(delia.locator("#main")).not_to_contain_text(order["business_ref_no"])

    expect(olivia.locator("#state")).to_contain_text("Completed", timeout=LIVE)
    assert olivia.evaluate("window.sameVisit") is True
    assert office.call(f"instances/{order['id']}/")["context"]["tip"] == 2.5


def test_what_is_typed_is_kept(crowd: Crowd, office: Office):
    order = office.pizza_at_the_door()
    task = office.task_of(order, user="delia")
    office.call(f"human-tasks/{task['id']}/claim/", {}, user="delia")
    delia = crowd.person("delia", f"/tasks/{task['id']}/")

    delia.get_by_label("Handed to").fill("The neighbour")
    expect(delia.locator("#draft")).to_contain_text("Draft saved")
    delia.reload()

    expect(delia.get_by_label("Handed to")).to_have_value("The neighbour")


def test_a_wrong_password_is_told_and_nothing_else(crowd: Crowd):
    page = crowd.visitor()
    page.goto("/signin/?next=/inbox/")
    page.get_by_label("User name").fill("delia")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in", exact=True).click()

    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("User name")).to_have_value("delia")
    expect(page.get_by_label("Password")).to_be_focused()
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page).to_have_url(f"{crowd.office.site.url}/inbox/")
