"""Everything without a mouse, and the focus is always to be seen."""

import re

from playwright.sync_api import Page, expect

from tests.browser.people import Crowd, Office, row_of

# A ring, or a border or shadow that is another one than without focus.
RING = """() => {
  const one = document.activeElement;
  if (!one || one === document.body || one.id === 'main') return 'nothing has the focus';
  const seen = (style) => [style.outlineStyle, style.outlineWidth, style.boxShadow, style.borderColor, style.backgroundColor].join();
  const style = getComputedStyle(one);
  if (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2) return '';
  const focused = seen(style);
  one.blur();
  const plain = seen(getComputedStyle(one));
  one.focus();
  return focused === plain ? one.outerHTML.slice(0, 200) : '';
}"""


def focus_shows(page: Page) -> None:
    """Fail unless one can see where the focus is."""
    assert page.evaluate(RING) == ""


def tab_to(page: Page, label: str, *, most: int = 40) -> None:
    """Press Tab until the focus is on what is called so; at each step it must be visible."""
    for _ in range(most):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "() => { const one = document.activeElement;"
            " return (one.labels?.[0]?.innerText || one.getAttribute('aria-label') || one.innerText || '').trim(); }"
        )
        if name:
            focus_shows(page)
        if re.match(label, name):
            return
    raise AssertionError(f"{label!r} cannot be reached with Tab")


def test_a_task_is_done_with_the_keyboard_alone(crowd: Crowd, office: Office):
    order, other = office.pizza_at_the_door(), office.pizza_at_the_door()
    page = crowd.visitor()
    page.goto("/signin/")
    keys = page.keyboard

    expect(page.get_by_label("User name")).to_be_focused()
    focus_shows(page)
    keys.type("delia")
    keys.press("Tab")
    focus_shows(page)
    keys.type("demo")
    keys.press("Enter")
    expect(page.locator("#rail")).to_be_visible()

    keys.press("g")
    keys.press("i")
    expect(page).to_have_url(re.compile("/inbox/"))
    page.goto(f"/inbox/?view=claimable&q={order['business_ref_no']}")
    keys.press("j")
    link = row_of(page, order).get_by_role("link")
    expect(link).to_be_focused()
    focus_shows(page)
    keys.press("Enter")
    pane = page.locator("#pane")
    expect(pane).to_contain_text(order["business_ref_no"])

    keys.press("c")
    expect(page.get_by_role("button", name="Release")).to_be_visible()
    tab_to(page, "Handed to")
    keys.type("Ada")
    keys.press("Control+Enter")
    expect(page.get_by_role("status").filter(has_text="Deliver food: done")).to_be_visible()
    assert office.call(f"instances/{order['id']}/")["state"] == "COMPLETED"
    assert office.call(f"instances/{other['id']}/")["state"] == "RUNNING"


def test_rows_are_walked_with_j_and_k(crowd: Crowd, office: Office):
    for _ in range(2):
        office.start()
    fiona = crowd.person("fiona", "/inbox/?view=claimable")
    links = fiona.locator("[data-row] a[data-pane]")
    expect(links.nth(1)).to_be_visible()

    for key, at in (("j", 0), ("j", 1), ("k", 0), ("k", 0)):
        fiona.keyboard.press(key)
        expect(links.nth(at)).to_be_focused()
        focus_shows(fiona)
    fiona.keyboard.press("j")
    fiona.keyboard.press("o")
    expect(fiona.locator("#items > li").nth(1)).to_have_attribute("aria-current", "true")
    expect(fiona.locator("#pane")).to_contain_text("Approve the payment")
    # Letters that are typed are letters.
    fiona.get_by_label("Find in").fill("")
    fiona.get_by_label("Find in").press_sequentially("jack")
    expect(fiona.get_by_label("Find in")).to_have_value("jack")


def test_help_and_palette_open_lead_somewhere_and_give_the_focus_back(crowd: Crowd, office: Office):
    payment = office.start()
    olivia = crowd.person("olivia", "/")
    expect(olivia.locator("#rail-operate")).to_be_visible()
    olivia.keyboard.press("?")
    help_ = olivia.get_by_role("dialog", name="Keys")
    expect(help_).to_be_visible()
    focus_shows(olivia)
    olivia.keyboard.press("Escape")
    expect(help_).to_be_hidden()

    olivia.keyboard.press("/")
    search = olivia.get_by_label("Search instances")
    expect(search).to_be_focused()
    focus_shows(olivia)

    olivia.keyboard.press("Control+k")
    palette = olivia.get_by_role("combobox", name="Go to")
    expect(palette).to_be_focused()
    olivia.keyboard.press("Escape")
    expect(search).to_be_focused()

    olivia.keyboard.press("Control+k")
    olivia.keyboard.type(payment["business_ref_no"])
    found = olivia.locator("#palette").get_by_role("option").filter(has_text=payment["business_ref_no"])
    expect(found.first).to_have_attribute("aria-selected", "true")
    olivia.keyboard.press("Enter")
    expect(olivia.get_by_role("heading", name=payment["business_ref_no"], level=1)).to_be_visible()

    # Suspending, from the head of the page: the dialog takes the focus and gives it back.
    tab_to(olivia, "Suspend")
    olivia.keyboard.press("Space")
    dialog = olivia.get_by_role("dialog")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    focus_shows(olivia)
    olivia.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(olivia.locator("#act-suspend")).to_be_focused()
    olivia.keyboard.press("Enter")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    olivia.keyboard.type("The bank is closed")
    olivia.keyboard.press("Tab")
    olivia.keyboard.press("Tab")
    olivia.keyboard.press("Enter")
    expect(olivia.locator("#state")).to_contain_text("Suspended")


def test_the_first_tab_leads_past_the_menu(crowd: Crowd):
    olivia = crowd.person("olivia", "/")
    olivia.keyboard.press("Tab")
    skip = olivia.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    olivia.keyboard.press("Enter")
    expect(olivia.locator("#main")).to_be_focused()
