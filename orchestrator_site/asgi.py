"""The site for an ASGI server: pages, API and live updates."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import re_path

from orchestrator_site.security import SameOriginWebsocket, refuse_websocket, require_secret_key

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
require_secret_key()
pages = get_asgi_application()

# Only now: the consumers import models, which need the apps.
from workflows.live.routing import websocket_urlpatterns  # noqa: E402
from workflows.management import serving  # noqa: E402

serving.guard()

application = ProtocolTypeRouter(
    {
        "http": pages,
        "websocket": SameOriginWebsocket(
            AuthMiddlewareStack(
                # Without the last one an unknown path would be an exception, and a 500 for the client.
                URLRouter([*websocket_urlpatterns, re_path(r"", refuse_websocket)])  # type: ignore[arg-type]
            )
        ),
    }
)
