"""Every page has a rule that says who sees it; a page without one fails here."""

from collections.abc import Iterator

import pytest
from django.urls import URLPattern, URLResolver, get_resolver, reverse

ROLES = ("olivia", "adam", "admin", "fred", "service-bot")
SEES = {"ok": 200, "elsewhere": 302, "forbidden": 403, "hidden": 404}

# Page -> what operator, auditor, admin, assignee, API client get. Strangers are always sent to the sign-in page.
PAGES = {
    "overview": ("ok", "ok", "ok", "elsewhere", "ok"),
    "instances": ("ok", "ok", "ok", "ok", "ok"),
    "search": ("ok", "ok", "ok", "ok", "ok"),
    "rail": ("ok", "ok", "ok", "ok", "ok"),
    "queues": ("ok", "ok", "ok", "forbidden", "forbidden"),
    "engine": ("ok", "ok", "ok", "forbidden", "forbidden"),
    "quarantine": ("ok", "ok", "ok", "forbidden", "forbidden"),
    "inbox": ("ok", "ok", "ok", "ok", "forbidden"),
    "templates": ("ok", "ok", "ok", "hidden", "ok"),
    "subscriptions": ("ok", "ok", "ok", "hidden", "ok"),
    "activities": ("ok", "ok", "ok", "hidden", "ok"),
    "publish": ("ok", "forbidden", "ok", "forbidden", "forbidden"),
    "start": ("ok", "forbidden", "ok", "forbidden", "forbidden"),
    "add_schedule": ("ok", "forbidden", "ok", "forbidden", "forbidden"),
}
ABOUT_ONE = {  # Pages of one thing: who sees it is tested with the thing.
    "instance": "whoever reads everything, and those whose human tasks belong to it",
    "act": "operators, on instances that they see",
    "task": "operators and auditors, and those whose it is",
    "task_act": "those whose it is; operators release and reassign",
    "template": "whoever reads everything",
    "start_one": "operators",
    "queue": "operators and auditors",
    "queue_limits": "operators",
    "quarantined": "operators and auditors",
    "see_to": "operators",
    "engine_pause": "operators",
    "engine_resume": "operators",
    "engine_retry_failed": "operators",
    "switch_schedule": "operators",
    "subscription": "whoever reads everything",
    "subscription_unlock": "operators",
    "subscription_note": "operators",
    "activity": "whoever reads everything",
    "plugin_register": "operators",
    "plugin_deregister": "operators",
    "resubmit": "operators",
    "discard": "operators",
}
ANYBODY = {"signin", "signout"}


def _routes(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        where = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _routes(entry, where)
        else:
            yield where, entry


def _pages() -> dict[str, str]:
    return {
        entry.name or where: where
        for where, entry in _routes(get_resolver())
        if getattr(entry.callback, "__module__", "").startswith("tasks_ui.")
    }


def test_every_page_has_a_rule() -> None:
    assert set(_pages()) == set(PAGES) | set(ABOUT_ONE) | ANYBODY


@pytest.mark.parametrize("name", PAGES)
def test_strangers_sign_in_first(client, db, name) -> None:
    answer = client.get(reverse(name))

    assert answer.status_code == 302
    assert answer["Location"].startswith("/signin/")


@pytest.mark.parametrize("name", PAGES)
def test_each_role_sees_what_its_rule_says(browser_of, name) -> None:
    seen = tuple(browser_of(role).get(reverse(name)).status_code for role in ROLES)

    assert seen == tuple(SEES[word] for word in PAGES[name])


def test_the_admin_is_for_staff_alone(client, browser_of) -> None:
    plain = [where for where, _ in _routes(get_resolver()) if where.startswith("admin/") and "<" not in where]
    plain = [where for where in plain if "(?P" not in where and "login" not in where]

    assert len(plain) > 20
    for where in plain:
        assert client.get(f"/{where}").status_code in (302, 403, 405), where
        assert browser_of("olivia").get(f"/{where}").status_code in (302, 403, 405), where
