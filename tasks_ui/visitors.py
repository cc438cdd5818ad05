"""Who visits a page: sign-in, roles, the visitor's time zone."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import unquote

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.utils import timezone

from workflows.models import Person, person_of

View = Callable[..., HttpResponse]


class Visit(HttpRequest):
    """A request of somebody who is signed in. (For type checkers; requests get the attribute from `signed_in`.)"""

    person: Person


def signed_in(view: View) -> View:
    """This will send strangers to the sign-in page, and give the view `request.person` and the visitor's time zone."""

    @wraps(view)
    def guarded(request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return _to_sign_in(request)
        request.person = who(request)
        with timezone.override(_zone_of(request)):
            response = view(request, *args, **kwargs)
        # Pages show what may be gone or forbidden a moment later, also after a sign-out.
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return guarded


def operators_only(view: View) -> View:
    """This will refuse everybody but operators and admins."""

    @wraps(view)
    def guarded(request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.person.is_operator:
            raise PermissionDenied("Operators do this; your account only looks on.")
        return view(request, *args, **kwargs)

    return signed_in(guarded)


def overseers_only(view: View) -> View:
    """This will refuse everybody but operators, auditors and admins."""

    @wraps(view)
    def guarded(request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if not (request.person.is_operator or request.person.is_auditor):
            raise PermissionDenied("Operators and auditors see this.")
        return view(request, *args, **kwargs)

    return signed_in(guarded)


def who(request: Any) -> Person:
    """This will give the person behind a request, read once."""
    known = getattr(request, "person", None)
    return known if known is not None else person_of(request.user)


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    if request.headers.get("HX-Request"):
        # A fragment cannot show a sign-in page; the whole page goes there.
        response = HttpResponse(status=401)
        response["HX-Redirect"] = resolve_url("signin")
        return response
    return redirect_to_login(request.get_full_path())


def _zone_of(request: HttpRequest) -> zoneinfo.ZoneInfo | None:
    name = unquote(request.COOKIES.get("zone", ""))
    if not name or len(name) > 60:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return None
