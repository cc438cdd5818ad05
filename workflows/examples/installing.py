"""Puts the examples in: templates, groups, users with their tokens. The second time it changes nothing."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from django.utils.crypto import salted_hmac

from workflows.definitions.versioning import fingerprint
from workflows.examples.inventory import define_products
from workflows.examples.people import COLLEAGUES
from workflows.examples.plugins import install_plugins as install_plugins
from workflows.examples.templates import FLOWS, NAMES, OWNED, template
from workflows.examples.traffic import OPERATOR
from workflows.models import ApiToken, Role, WorkflowTemplate
from workflows.models.locking import writing
from workflows.runtime import tokens
from workflows.runtime.publishing import publish_template

PASSWORD = "demo"  # noqa: S105 (told to everybody)
PUBLISHER = "admin"
TOKEN_NAME = "demo"  # noqa: S105


@dataclass(frozen=True, slots=True)
class DemoUser:
    """Somebody a visitor may sign in as."""

    username: str
    groups: tuple[str, ...] = ()
    superuser: bool = False
    what: str = ""


USERS = (
    DemoUser("admin", superuser=True, what="may do everything, and has the admin pages"),
    DemoUser("olivia", (Role.OPERATOR,), what="operator: starts, repairs, publishes"),
    DemoUser("adam", (Role.AUDITOR,), what="auditor: sees everything, changes nothing"),
    DemoUser("delia", ("delivery_executive",), what="delivers pizzas"),
    DemoUser("fred", ("finance",), what="finance"),
    DemoUser("fiona", ("finance",), what="finance"),
    DemoUser("mona", ("managers",), what="manager"),
    DemoUser("hana", ("people_team",), what="people team"),
    DemoUser("ivan", ("it_support",), what="IT support"),
    DemoUser("service-bot", (Role.API_CLIENT,), what="API client: a program"),
)


def install_templates(*, at: dt.datetime) -> Mapping[str, int]:
    """This will publish the examples that are not there yet, with the products that they are about.

    It gives the version of each. A newer version that somebody has published stays the newest.
    """
    define_products()
    versions = {}
    for name in (*NAMES, *FLOWS, *OWNED):
        raw = template(name)
        there = WorkflowTemplate.objects.of(
            workflow_name=raw["workflow_name"], component_name=raw["component_name"]
        ).filter(fingerprint=fingerprint(raw))
        found = there.order_by("-version").first()
        versions[name] = (found or publish_template(raw, by=PUBLISHER, at=at).template).version
    return versions


def install_people(*, at: dt.datetime) -> Mapping[str, str]:
    """This will make groups and users that are missing, and give the token of each user a visitor may sign in as."""
    User = get_user_model()
    with writing():
        names = {str(group) for user in USERS for group in user.groups} | set(COLLEAGUES) | {str(Role.OPERATOR)}
        groups = {name: Group.objects.get_or_create(name=name)[0] for name in sorted(names)}
        there = {user.get_username(): user for user in User.objects.all()[:10_000]}
        # One digest for all: it is the same word for everybody, and working it out takes a good part of a second.
        digest = "" if all(user.username in there for user in USERS) else make_password(PASSWORD)
        for demo in USERS:
            if demo.username in there:
                continue
            user = User(username=demo.username, password=digest, is_superuser=demo.superuser, is_staff=demo.superuser)
            user.save()
            user.groups.set([groups[str(name)] for name in demo.groups])
            there[demo.username] = user
        for username, group in [(one.username, one.group) for one in COLLEAGUES.values()] + [(OPERATOR, Role.OPERATOR)]:
            if username not in there:
                colleague = User(username=username)
                colleague.set_unusable_password()
                colleague.save()
                colleague.groups.set([groups[str(group)]])
        return {demo.username: _token(there[demo.username], at=at) for demo in USERS}


def told(tokens: Mapping[str, str], *, address: str) -> list[str]:
    """This will give the lines that tell a visitor how to get in: `token USER TOKEN`, and who may sign in."""
    lines = [f"token {user} {token}" for user, token in tokens.items()]
    lines += ["", f"Sign in at {address}/ with the password {PASSWORD!r} as:"]
    return lines + [f"  {user.username:12} {user.what}" for user in USERS]


def _token(user: object, *, at: dt.datetime) -> str:
    """Made from the secret of the installation: the same at every start, and nowhere stored as it is."""
    name = user.get_username()  # type: ignore[attr-defined]
    digest = salted_hmac("workflows.examples.token", name, algorithm="sha256").digest()
    text = "orch_" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
    own = ApiToken.objects.filter(user=user, name=TOKEN_NAME)  # type: ignore[misc]
    if not own.filter(digest=ApiToken.digest_of(text)).exists():
        own.delete()
        tokens.issue(user, at=at, name=TOKEN_NAME, token=text)
    return text
