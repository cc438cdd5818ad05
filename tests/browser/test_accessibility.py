"""axe finds nothing to complain of, light or dark, wide or narrow."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import NAMES, Place
from tests.browser.people import Crowd

AXE = next((Path(__file__).parent / "vendor").glob("axe-core-*/axe.min.js")).read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# What depends on colours. All else is the same in the dark.
COLOURS = ["color-contrast", "link-in-text-block"]
RUN = """async (only) => {
  const found = await axe.run(document, { runOnly: only, resultTypes: ['violations'] });
  return found.violations.map((one) => `${one.id}: ${one.help}\\n` + one.nodes.slice(0, 3).map(
    (node) => `    ${node.target.join(' ')}\\n    ${node.html.slice(0, 200)}\\n    ${node.failureSummary.replaceAll('\\n', ' ')}`
  ).join('\\n'));
}"""


def faults(page: Page) -> str:
    """Return what axe finds: light and dark, wide and narrow."""
    found = []
    page.evaluate(AXE)
    for width in (1440, 360):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme, only in (
            ("light", {"type": "tag", "values": TAGS}),
            ("dark", {"type": "rule", "values": COLOURS}),
        ):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found += [f"{scheme}, {width} wide: {fault}" for fault in page.evaluate(RUN, only)]
    return "\n".join(found)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_left_out(name: str, regulars: Crowd, places: dict[str, Place]):
    place = places[name]
    page, _ = regulars.look(place.user, place.path)

    assert faults(page) == ""
    regulars.innocent()


def test_faults_leave_nobody_out(regulars: Crowd, places: dict[str, Place]):
    page, _ = regulars.look("fred", places["task"].path)
    page.get_by_label("Amount").fill("nothing")
    page.get_by_role("button", name="Approve").click()
    page.locator("[aria-invalid=true]").wait_for()

    assert faults(page) == ""


def test_dialogs_leave_nobody_out(regulars: Crowd, places: dict[str, Place]):
    page, _ = regulars.look("olivia", places["instance"].path)
    page.keyboard.press("Control+k")
    palette = page.locator("#palette")
    palette.get_by_role("option").first.wait_for()
    found = faults(page)
    page.keyboard.press("Escape")
    expect(palette).to_be_hidden()
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    found += faults(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Suspend…").click()
    page.get_by_label("Reason").wait_for()
    found += faults(page)

    assert found == ""
