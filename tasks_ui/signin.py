"""Signing in and out."""

from __future__ import annotations

from django.contrib import auth
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from tasks_ui import throttle
from workflows.conf import settings

_DEMO_PEOPLE = (
    ("olivia", "Operator, keeps the fleet healthy"),
    ("delia", "Delivery executive, has tasks waiting"),
    ("fiona", "Finance, approves payments"),
    ("mona", "Manager, has the last word"),
    ("adam", "Auditor, sees all, changes nothing"),
    ("admin", "Administrator"),
)


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def signin(request: HttpRequest) -> HttpResponse:
    """Ask for name and password, and go on to `next` of this site."""
    onward = _own_address(request, request.POST.get("next") or request.GET.get("next") or "/")
    if request.method == "POST":
        name, password = request.POST.get("username", "")[:150], request.POST.get("password", "")[:500]
        turn = throttle.take_turn(account=name, address=throttle.address_of(request))
        user = None if turn.wait else auth.authenticate(request, username=name, password=password)
        if user is not None:
            throttle.forget(account=name, address=throttle.address_of(request))
            auth.login(request, user)
            return redirect(onward)
        return _form(request, onward, name, turn)
    if request.user.is_authenticated:
        return redirect(onward)
    return _form(request, onward)


@require_POST
def signout(request: HttpRequest) -> HttpResponse:
    """End the session."""
    auth.logout(request)
    return redirect("signin")


def _form(request: HttpRequest, onward: str, name: str = "", turn: throttle.Turn | None = None) -> HttpResponse:
    demo = bool(settings.DEMO)
    page = {
        "next": onward,
        "username": name,
        "demo": demo,
        "demo_people": _DEMO_PEOPLE if demo else (),
        "problem": "" if turn is None else turn.sentence,
    }
    status = 200 if turn is None else 429 if turn.wait else 403
    return render(request, "tasks_ui/signin.html", page, status=status)


def _own_address(request: HttpRequest, address: str) -> str:
    safe = url_has_allowed_host_and_scheme(
        address, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return address if safe else "/"
