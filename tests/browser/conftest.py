"""One demo and one browser for all tests of the folder; each test brings its own people."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import servers
from tests.browser.pages import Place, furnish
from tests.browser.people import PAYMENT, Crowd, Office

# Of the folder, not of the session: while Playwright runs, this thread has a running loop, and others can't have theirs.
FOLDER = "package"


@pytest.fixture(scope=FOLDER)
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Run a demo in which nothing happens by itself."""
    folder = tmp_path_factory.mktemp("office")
    with ExitStack() as stack:
        office = Office(stack.enter_context(servers.demo(folder)), folder, stack)
        office.call("templates/", PAYMENT, user="olivia")
        yield office
    # A browser that leaves while something is sent to it: nothing to write a traceback about, but no loss either.
    said = office.site.printed().split("[error ")
    assert [part for part in said if "Traceback" in part and "send on a closed protocol" not in part] == []


@pytest.fixture(scope=FOLDER)
def browser(chromium_path: str) -> Iterator[Browser]:
    """Run Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope=FOLDER)
def cookies() -> dict[str, Any]:
    """Remember who has signed in."""
    return {}


@pytest.fixture
def crowd(browser: Browser, office: Office, cookies: dict[str, Any]) -> Iterator[Crowd]:
    """Let people open pages; no page may complain on the console."""
    crowd = Crowd(browser, office, cookies)
    yield crowd
    crowd.leave()
    crowd.innocent()


@pytest.fixture(scope="module")
def regulars(browser: Browser, office: Office, cookies: dict[str, Any]) -> Iterator[Crowd]:
    """Let people who stay for many tests look at pages."""
    crowd = Crowd(browser, office, cookies)
    yield crowd
    crowd.leave()
    crowd.innocent()


@pytest.fixture(scope=FOLDER)
def places(office: Office) -> dict[str, Place]:
    """Give every page something to show."""
    return furnish(office)
