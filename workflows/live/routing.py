"""The websocket addresses."""

from typing import Any

from django.urls import path

from workflows.live import consumers

# An ASGI application in the place of a view: what Channels' router calls.
_live: Any = consumers.live

websocket_urlpatterns: list[Any] = [path("ws/live/", _live)]
