"""People at their browsers, and the services behind: what the tests of the pages have in common."""

import json
import signal
import sqlite3
import urllib.request
import uuid
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, expect

from tests import servers
from tests.servers import Site

SECOND = 1_000
# What a change may take until the others see it: 300 ms of gathering, a fetch, and a busy machine. A page that has waited
# long for its last answer waits up to three seconds before it asks again.
LIVE = 20 * SECOND
# What the browser itself tells the console: a form with a fault in it, a page left early, a network or server that is gone.
_EXPECTED = (
    "status of 400", "status of 403", "status of 404", "status of 409", "closed before the connection is established",
    "ERR_INTERNET_DISCONNECTED", "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE",
    "htmx:sendAbort", "htmx:afterRequest",
)  # fmt: skip
# Violations of the content security policy, also those that no console tells of.
WATCH = (
    "window.violations = []; addEventListener('securitypolicyviolation',"
    " (one) => violations.push(`${one.violatedDirective} ${one.blockedURI}`));"
)
PIZZA = (
    ("ORDER", "confirm_order"),
    ("PREPARE", "make_food"),
    ("PREPARE", "assign_executive"),
    ("PREPARE", "confirm_delivery"),
)
PAYMENT: dict[str, Any] = {
    "workflow_name": "Pay an invoice",
    "component_name": "PAYMENTS",
    "stages": [
        {
            "stage_name": "DECIDE",
            "stage_order": 1,
            "tasks": [
                {
                    "task_name": "approve",
                    "task_type": "HUMAN",
                    "assigned_to": "finance",
                    "title": "Approve the payment",
                    "due_in_seconds": 3600,
                    "outcomes": [
                        {"name": "approve", "label": "Approve"},
                        {"name": "reject", "label": "Reject", "effect": "fail"},
                    ],
                    "form": {
                        "type": "object",
                        "required": ["amount"],
                        "properties": {
                            "amount": {"type": "number", "title": "Amount", "minimum": 1},
                            "note": {"type": "string", "title": "Note"},
                        },
                    },
                }
            ],
        }
    ],
}


@dataclass
class Office:
    """The running site, as services and tests reach it: over HTTP."""

    site: Site
    folder: Path
    stack: ExitStack = field(default_factory=ExitStack)

    def kill(self) -> None:
        """Let the site die without a word."""
        self.site.stop(signal.SIGKILL)

    def revive(self) -> None:
        """Start the site again, at the same address and on the same data."""
        port = int(self.site.url.rpartition(":")[2])
        self.site = self.stack.enter_context(servers.demo(self.folder, port=port))

    def call(self, path: str, body: Any = None, *, user: str = "service-bot") -> Any:
        """Ask the API, with a POST when there is a body."""
        request = urllib.request.Request(
            f"{self.site.url}/api/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.site.tokens[user]}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)

    def start(self, component: str = "PAYMENTS", reference: str = "", **context: Any) -> dict[str, Any]:
        """Start an instance, with a reference of its own unless one is given."""
        reference = reference or f"{component[:3]}-{uuid.uuid4().hex[:8]}"
        body = {"component_name": component, "business_ref_no": reference, "context": context}
        return self.call("instances/", body)

    def complete(self, instance: dict[str, Any], *tasks: tuple[str, str]) -> None:
        """Say what a service says when it is done."""
        for stage, task in tasks:
            message = {
                "event_name": "TaskCompleted",
                "component_name": instance["component_name"],
                "business_ref_no": instance["business_ref_no"],
                "stage_name": stage,
                "task_name": task,
                "attempt": 1,
            }
            assert self.call("events/", message)["outcome"] == "applied"

    def pizza_at_the_door(self, reference: str = "") -> dict[str, Any]:
        """Start an order and bring it to where only the rider is missing."""
        instance = self.start("ITALIAN", reference, customer="Ada", address="12 Low Lane")
        self.complete(instance, *PIZZA)
        return instance

    def task_of(self, instance: dict[str, Any], *, user: str = "olivia") -> dict[str, Any]:
        """Return the human task that the instance waits for."""
        reference = instance["business_ref_no"]
        tasks = self.call("human-tasks/?limit=200", user=user)["results"]
        return next(task for task in tasks if task["business_ref_no"] == reference)

    def template_of(self, component: str) -> dict[str, Any]:
        """Return the newest template of a component."""
        return next(t for t in self.call("templates/", user="olivia")["results"] if t["component_name"] == component)

    def hold_back(self, reason: str) -> None:
        """Leave a message in quarantine, as if the bus had brought one that nobody can read."""
        with closing(sqlite3.connect(self.folder / "data" / "orchestrator.sqlite3", timeout=20)) as database, database:
            database.execute(
                "INSERT INTO workflows_quarantinedmessage"
                " (received_at, source, message_id, body, body_bytes, code, reason, state, resolved_by, resolution)"
                " VALUES (datetime('now'), 'workflow_manager', 'm-1', ?, 9, 'not_json', ?, 'OPEN', '', '')",
                ("{not json", reason),
            )


@dataclass
class Crowd:
    """The people of one test, each with a browser of their own, and what their browsers complained of."""

    browser: Browser
    office: Office
    cookies: dict[str, Any]
    contexts: list[BrowserContext] = field(default_factory=list)
    regulars: dict[str | None, Page] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def visitor(self, **options: Any) -> Page:
        """Open a browser that nobody has signed in with."""
        context = self.browser.new_context(
            base_url=self.office.site.url,
            **{"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce", "locale": "en-GB"} | options,
        )
        context.set_default_timeout(15 * SECOND)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error.stack}"))
        page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        return page

    def person(self, user: str, path: str = "/", **options: Any) -> Page:
        """Open a page as somebody; only the first time anybody has to sign in for that."""
        page = self.visitor(storage_state=signed_in(self, user), **options)
        page.goto(path)
        return page

    def look(self, user: str | None, path: str, *, width: int = 1440) -> tuple[Page, Response]:
        """Go to a page, in the browser that the person has been using all along: what is loaded once stays loaded."""
        page = self.regulars.get(user)
        if page is None:
            page = self.regulars[user] = self.person(user, "/signin/") if user else self.visitor()
            page.context.add_init_script(WATCH)
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 900})
        answer = page.goto(path)
        assert answer is not None
        return page, answer

    def innocent(self) -> None:
        """Fail if a page has complained since the last time."""
        complaints, self.complaints = self.complaints, []
        assert not complaints, "\n".join(complaints)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(words in message.text for words in _EXPECTED):
            self.complaints.append(f"{message.type}: {message.text}")

    def leave(self) -> None:
        """Close all browsers."""
        for context in self.contexts:
            context.close()
        self.contexts.clear()


def sign_in(page: Page, user: str) -> None:
    """Sign in with the form."""
    page.goto("/signin/")
    page.get_by_label("User name").fill(user)
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.locator("#rail, #rail-operate").first).to_be_attached()


def signed_in(crowd: Crowd, user: str) -> Any:
    """Return the cookies of somebody, who signs in the first time."""
    if user not in crowd.cookies:
        page = crowd.visitor()
        sign_in(page, user)
        crowd.cookies[user] = page.context.storage_state()
        page.context.close()
        crowd.contexts.remove(page.context)
    return crowd.cookies[user]


def live(page: Page) -> None:
    """Wait until the page follows what happens."""
    expect(page.locator("#live")).to_have_attribute("data-live", "on", timeout=10 * SECOND)


def row_of(page: Page, instance: dict[str, Any]) -> Any:
    """Find the row of a list that names the instance."""
    return page.locator("[data-row]").filter(has_text=instance["business_ref_no"])
