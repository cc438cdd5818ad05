"""Who is calling: a bearer token first, then the session of a page."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from workflows.runtime import tokens


class BearerAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer TOKEN`. Nothing in the address is ever taken for a token: addresses end up in logs.

    Listed before the session: the first authentication decides whether an unknown caller sees 401 or 403.
    """

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """This will give the user and the token, or nothing where there is none; raises where it is no good."""
        kind, _, token = str(request.META.get("HTTP_AUTHORIZATION", "")).partition(" ")
        if kind.lower() != "bearer":
            return None
        found = tokens.recognise(token.strip(), at=timezone.now())
        if found is None:
            raise AuthenticationFailed("The token is unknown, has expired, or its user is not active.")
        return found, found

    def authenticate_header(self, request: Request) -> str:
        """This will tell the caller how to sign in."""
        return 'Bearer realm="orchestrator"'


class SessionAuthentication(authentication.SessionAuthentication):
    """The session of a signed-in person, with the check against forged requests."""
