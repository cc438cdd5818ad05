"""Where the description of the API is to be had. What it is made of: `description`."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api.base import ApiView, answer
from workflows.api.calls import Call


def description() -> dict[str, Any]:
    """This will describe the whole API."""
    # Not at the top: only who asks needs the generator, which brings 4 MB along, Django's and DRF's test clients too.
    from workflows.api.description import describe

    return describe()


class Schema(ApiView):
    """The description of the API."""

    calls = {"GET": Call("Read this description", {200: "OpenApi"})}
    accepts = (
        "*/*", "application/*", "application/json", "application/problem+json",
        "application/vnd.oai.openapi+json", "application/vnd.oai.openapi",
    )  # fmt: skip

    def get(self, request: Request) -> HttpResponse:
        """This will give the description as JSON."""
        return answer(description())
