"""People with browsers, and workflows for them to look at."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client

from tests.pauses import pause_is_asked_once as pause_is_asked_once
from workflows.engine import commands
from workflows.models import WorkflowInstance
from workflows.runtime import handling, publishing
from workflows.runtime.asking import Asked, Outcome, Reference

ROLES = {
    "olivia": ("operator",), "adam": ("auditor",), "service-bot": ("api_client",), "fred": ("finance",),
    "fiona": ("finance",), "mona": ("managers",), "admin": (),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_memory_of_sign_ins() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def people(db: None) -> dict[str, User]:
    """One of each role, password `demo`."""
    made = {}
    for name, groups in ROLES.items():
        user = User.objects.create_user(name, password="demo", is_superuser=name == "admin", is_staff=name == "admin")
        user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
        made[name] = user
    return made


@pytest.fixture
def browser_of(people: dict[str, User]) -> Callable[[str], Client]:
    """A browser in which that person is signed in."""

    def make(name: str) -> Client:
        client = Client()
        client.force_login(people[name])
        return client

    return make


@pytest.fixture
def begin(people: dict[str, User]) -> Callable[..., WorkflowInstance]:
    """Publish a template, unless it is known, and start an instance of it."""

    def make(template: dict[str, Any], reference: str = "REF-1", **context: Any) -> WorkflowInstance:
        publishing.publish_template(template, by="olivia")
        target = Reference(template["component_name"], reference, template["workflow_name"])
        command = commands.StartWorkflow(business_ref_no=reference, context=context)
        answer = handling.handle(Asked(command=command, target=target, actor="service-bot"))[0]
        assert answer.outcome is Outcome.APPLIED, answer
        return WorkflowInstance.objects.get(pk=answer.instance.id)

    return make


@pytest.fixture
def say() -> Callable[..., WorkflowInstance]:
    """Let a command happen to an instance."""

    def make(
        instance: WorkflowInstance, *wishes: Any, actor: str = "service-bot", at: dt.datetime | None = None
    ) -> Any:
        for wish in wishes:
            answer = handling.handle(Asked(command=wish, target=instance.pk, actor=actor), at=at)[0]
            assert answer.outcome is not Outcome.REFUSED, answer
        instance.refresh_from_db()
        return instance

    return make


class _Reader(HTMLParser):
    VOID = frozenset({"meta", "link", "input", "br", "img", "hr", "use"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if "id" in values:
            self.ids.append(values["id"] or "")
        if "style" in values or any(name.startswith("on") for name in values):
            self.faults.append(f"<{tag}> has inline code: {values}")
        if tag == "script" and "src" not in values:
            self.faults.append("an inline script")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()


def faults_of(html: str) -> list[str]:
    """Name what is wrong with a page: tags that do not match, ids that are there twice, inline code."""
    reader = _Reader()
    reader.feed(html)
    twice = sorted({name for name in reader.ids if reader.ids.count(name) > 1})
    return (
        reader.faults
        + [f"{tag} is never closed" for tag in reader.open]
        + [f"id {name} is there twice" for name in twice]
    )


@pytest.fixture
def sound() -> Callable[[Any], str]:
    """Check the HTML of an answer, and give it."""

    def check(answer: Any, status: int = 200) -> str:
        assert answer.status_code == status, answer.content[:500]
        html = answer.content.decode()
        assert faults_of(html) == []
        return str(html)

    return check
