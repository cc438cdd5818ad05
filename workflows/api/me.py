"""Who the caller is, as we see it."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api.base import ApiView, answer
from workflows.api.calls import Call
from workflows.api.permissions import roles_of
from workflows.runtime.tokens import Caller


class Me(ApiView):
    """The caller."""

    calls = {"GET": Call("Read who you are here, and what you may do", {200: "Me"})}

    def get(self, request: Request) -> HttpResponse:
        """This will give the caller's name, groups and roles, and what their token is limited to."""
        scopes = request.auth.scopes if isinstance(request.auth, Caller) else ()
        return answer(
            {
                "username": self.person.username,
                "groups": sorted(self.person.groups),
                "roles": sorted(roles_of(self.person)),
                "admin": self.person.is_admin,
                "scopes": list(scopes) or None,
            }
        )
