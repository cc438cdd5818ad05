"""Who is let in: tokens, sessions, and nobody else."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from tests.api.callers import Caller, Said
from workflows.models import ApiToken
from workflows.runtime import tokens


def test_strangers_are_told_how_to_sign_in(anonymous: Caller):
    said = anonymous.get("instances/")

    assert (said.status, said.code) == (401, "not_authenticated")
    assert said.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer nonsense", "Bearer é", "Bearer a b", "bearer \x7f"])
def test_a_bad_token_opens_nothing(header: str, db: None):
    said = Caller(None).get("me/", Authorization=header)

    assert said.status == 401
    assert "invalid_token" in said.headers["www-authenticate"]


@pytest.mark.parametrize("header", ["Basic YWRtaW46ZGVtbw==", "Token x", ""])
def test_other_schemes_are_not_taken(header: str, db: None):
    assert Caller(None).get("me/", Authorization=header).status == 401


def test_a_token_in_the_address_is_no_token(operator: Caller, anonymous: Caller):
    assert anonymous.get(f"me/?token={operator.token}").status == 401
    assert anonymous.get(f"me/?access_token={operator.token}").status == 401


def test_a_bad_token_is_not_saved_by_a_session(operator: Caller):
    assert operator.user is not None
    operator.client.force_login(operator.user)
    operator.token = "nonsense"

    assert operator.get("me/").status == 401


def test_a_user_who_is_not_active_is_a_stranger(operator: Caller):
    User.objects.filter(username="operator").update(is_active=False)

    assert operator.get("me/").status == 401


def test_a_token_expires(operator: Caller):
    assert operator.get("me/").status == 200

    ApiToken.objects.update(expires_at=timezone.now() - dt.timedelta(seconds=1))

    assert operator.get("me/").status == 401


def test_a_token_that_is_taken_away_is_gone_at_once(operator: Caller):
    ApiToken.objects.all().delete()

    assert operator.get("me/").status == 401


def test_only_the_digest_is_stored(operator: Caller):
    assert operator.token is not None
    stored = str(list(ApiToken.objects.values()))

    assert operator.token not in stored
    assert ApiToken.digest_of(operator.token) in stored


def test_the_use_of_a_token_is_noted_once_a_minute(operator: Caller, django_assert_num_queries: Any):
    long_ago = timezone.now() - dt.timedelta(minutes=2)
    ApiToken.objects.update(last_used_at=long_ago)

    operator.get("me/")
    noted = ApiToken.objects.get(user=operator.user).last_used_at
    assert noted is not None
    assert noted > long_ago

    with django_assert_num_queries(1):
        operator.get("me/")
    assert ApiToken.objects.get(user=operator.user).last_used_at == noted


def session(user: User) -> Client:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(user)
    return client


def test_a_session_reads(operator: Caller):
    assert operator.user is not None

    assert Said(session(operator.user).get("/api/v1/me/")).json["username"] == "operator"


def test_a_session_needs_its_csrf_token_to_write(operator: Caller, start: Any):
    assert operator.user is not None
    client = session(operator.user)
    path = f"/api/v1/instances/{start()['id']}/suspend/"

    said = Said(client.post(path, "{}", content_type="application/json"))
    assert (said.status, said.code) == (403, "permission_denied")

    client.cookies["orchestrator_csrf"] = "a" * 32
    said = Said(client.post(path, "{}", content_type="application/json", headers={"X-CSRFToken": "a" * 32}))
    assert said.status == 200


def test_the_command_prints_the_token_and_nothing_else(operator: Caller, capsys: pytest.CaptureFixture[str]):
    call_command("create_api_token", "operator", "--scope", "read", "--name", "a test")

    out, err = capsys.readouterr()
    token = out.strip()
    assert out == f"{token}\n"
    assert not err
    assert Caller(token).get("me/").json == {
        "username": "operator", "groups": ["operator"], "roles": ["operator"], "admin": False, "scopes": ["read"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [("nobody",), ("operator", "--scope", "everything"), ("operator", "--expires-in-days", "0")]
)
def test_the_command_refuses_what_makes_no_sense(arguments: tuple[str, ...], operator: Caller):
    with pytest.raises(CommandError):
        call_command("create_api_token", *arguments)


def test_a_token_may_be_chosen(operator: Caller):
    assert operator.user is not None

    assert tokens.issue(operator.user, at=timezone.now(), token="the-demo-token") == "the-demo-token"

    assert Caller("the-demo-token").get("me/").status == 200
