"""Two people at once: each sees what the other does, and nobody's work is lost."""

import re

from playwright.sync_api import Route, WebSocketRoute, expect

from tests.browser.people import LIVE, Crowd, Office, live, row_of, signed_in

CLAIMABLE = "/inbox/?view=claimable"


def test_a_task_taken_by_one_is_greyed_out_for_the_other(crowd: Crowd, office: Office):
    payment = office.start()
    fred, fiona = crowd.person("fred", CLAIMABLE), crowd.person("fiona", CLAIMABLE)
    live(fiona)
    tab = fiona.locator("#tab-claimable .n")
    before = int(tab.inner_text())

    row_of(fred, payment).get_by_role("link").click()
    fred.locator("#pane").get_by_role("button", name="Claim").click()

    expect(fred.get_by_role("button", name="Release")).to_be_visible()

    row = row_of(fiona, payment)
    expect(row).to_contain_text("Taken by fred", timeout=LIVE)
    expect(row).to_have_class(re.compile(r"\bgone\b"))
    expect(tab).to_have_text(str(before - 1)) if before > 1 else expect(tab).to_have_count(0)

    # Given back, it may be claimed again, and the list says so at its old place.
    fred.get_by_role("button", name="Release").click()
    expect(row).not_to_contain_text("Taken by", timeout=LIVE)
    expect(row).not_to_have_class(re.compile(r"\bgone\b"))
    expect(tab).to_have_text(str(before))


def test_a_click_that_comes_too_early_does_not_meet_the_task_that_was_shown_before(crowd: Crowd, office: Office):
    first, second = office.start(), office.start()
    fred = crowd.person("fred", CLAIMABLE)
    row_of(fred, first).get_by_role("link").click()
    expect(fred.locator("#pane")).to_contain_text(first["business_ref_no"])
    held: list[Route] = []
    fred.route(re.compile("/tasks/[^/]+/[?]following"), lambda route: held.append(route))

    with fred.expect_request(re.compile("/tasks/[^/]+/[?]following")):
        row_of(fred, second).get_by_role("link").click()
    expect(fred.locator("#pane")).to_have_js_property("inert", True)
    expect(fred.locator("#pane")).to_contain_text(first["business_ref_no"])
    held.pop().continue_()
    fred.locator("#pane").get_by_role("button", name="Claim").click()
    expect(fred.get_by_role("button", name="Release")).to_be_visible()

    assert office.task_of(second)["claimed_by"] == "fred"
    assert office.task_of(first)["claimed_by"] is None


def test_what_happens_before_the_page_is_followed_is_seen_all_the_same(crowd: Crowd, office: Office):
    task = office.task_of(payment := office.start())
    page = crowd.visitor(storage_state=signed_in(crowd, "fiona"))
    held: list[tuple[WebSocketRoute, str | bytes]] = []

    def hold_subscriptions(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        socket.on_message(lambda message: held.append((server, message)))

    page.route_web_socket(re.compile("/ws/live/"), hold_subscriptions)
    page.goto(CLAIMABLE)
    expect(row_of(page, payment)).to_be_visible()
    # Whatever the page fetches before it is followed, it has fetched by now.
    page.wait_for_load_state("networkidle")

    office.call(f"human-tasks/{task['id']}/claim/", {}, user="fred")
    assert held
    for server, message in held:
        server.send(message)

    expect(row_of(page, payment)).to_contain_text("Taken by fred", timeout=LIVE)
    live(page)


def test_what_was_asked_for_before_a_row_was_chosen_does_not_take_the_choice_back(crowd: Crowd, office: Office):
    payment = office.start()
    fiona = crowd.person("fiona", CLAIMABLE)
    live(fiona)
    row, held = row_of(fiona, payment), list[Route]()
    fiona.route(re.compile("[?&]shown="), lambda route: held.append(route))
    # The page asks what is new, and has no answer yet when a row is chosen.
    with fiona.expect_request(re.compile("[?&]shown=")):
        fiona.evaluate("orchestrator.live.refresh()")
    row.get_by_role("link").click()
    expect(row).to_have_attribute("aria-current", "true")

    # It asks once more, for the page as it is now.
    with fiona.expect_request(re.compile("[?&]shown=")):
        held.pop(0).continue_()
    expect(row).to_have_attribute("aria-current", "true")
    held.pop(0).continue_()
    expect(row).to_have_attribute("aria-current", "true")


def test_the_slower_of_two_is_told_who_was_quicker(crowd: Crowd, office: Office):
    task = office.task_of(office.start())
    fred, fiona = crowd.person("fred", f"/tasks/{task['id']}/"), crowd.person("fiona", f"/tasks/{task['id']}/")
    slow = fiona.get_by_role("button", name="Claim")
    expect(slow).to_be_visible()

    fred.get_by_role("button", name="Claim").click()
    expect(fred.get_by_role("button", name="Release")).to_be_visible()
    slow.click()

    told = fiona.get_by_role("alert")
    expect(told).to_contain_text("Somebody was quicker")
    expect(told).to_contain_text("fred")
    expect(fiona.get_by_role("button", name="Approve")).to_have_count(0)
    assert office.call(f"human-tasks/{task['id']}/", user="fred")["claimed_by"] == "fred"


def test_what_was_typed_outlives_a_task_that_ends_meanwhile(crowd: Crowd, office: Office):
    payment = office.start()
    task = office.task_of(payment)
    office.call(f"human-tasks/{task['id']}/claim/", {}, user="fred")
    fred = crowd.person("fred", f"/tasks/{task['id']}/")
    fred.get_by_label("Amount").fill("120")
    fred.get_by_label("Note").fill("Agreed by telephone")

    office.call(f"instances/{payment['id']}/cancel/", {"reason": "Sent twice"}, user="olivia")
    expect(fred.locator("#held")).to_contain_text(re.compile("withdrawn|cancelled", re.IGNORECASE), timeout=LIVE)
    expect(fred.get_by_label("Note")).to_have_value("Agreed by telephone")
    fred.get_by_role("button", name="Approve").click()

    expect(fred.get_by_role("alert")).to_contain_text("It is over")
    assert office.call(f"instances/{payment['id']}/")["state"] == "CANCELLED"


def test_new_work_waits_behind_a_pill_and_counts_change_at_once(crowd: Crowd, office: Office):
    olivia = crowd.person("olivia", "/instances/")
    fiona = crowd.person("fiona", CLAIMABLE)
    live(olivia)
    live(fiona)
    all_of_them = olivia.locator("#strip-all b")
    before = int(all_of_them.inner_text())
    first = olivia.locator("[data-row]").first.inner_text() if before else ""

    one, two = office.start(), office.start()

    pill = olivia.get_by_role("button", name=re.compile(r"2\+? new"))
    expect(pill).to_be_visible(timeout=LIVE)
    expect(all_of_them).to_have_text(str(before + 2), timeout=LIVE)
    # What is being read does not move away under the reader.
    if before:
        assert olivia.locator("[data-row]").first.inner_text() == first
    for payment in (one, two):
        expect(row_of(olivia, payment)).to_have_count(0)
    expect(fiona.get_by_role("button", name=re.compile(r"\d+\+? new"))).to_be_visible(timeout=LIVE)

    pill.click()
    fiona.locator("#main").press("r")
    for payment in (one, two):
        expect(row_of(olivia, payment)).to_be_visible()
        expect(row_of(fiona, payment)).to_be_visible()
    expect(olivia.get_by_role("button", name=re.compile("new$"))).to_have_count(0)


def test_a_list_shows_the_new_state_of_each_row(crowd: Crowd, office: Office):
    payment = office.start()
    olivia = crowd.person("olivia", "/instances/")
    live(olivia)
    row = row_of(olivia, payment)
    expect(row).to_contain_text("Waiting for a person")

    office.call(f"instances/{payment['id']}/suspend/", {"reason": "The bank is closed"}, user="admin")
    expect(row).to_contain_text("Suspended", timeout=LIVE)
    office.call(f"instances/{payment['id']}/resume/", {"reason": "It is open"}, user="admin")
    expect(row).to_contain_text("Waiting for a person", timeout=LIVE)
