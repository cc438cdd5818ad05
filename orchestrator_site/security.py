"""What the site refuses: foreign code in pages, foreign pages on the websocket, a start without a secret."""

import contextlib
import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class MissingSecretKey(SystemExit):
    """Set SECRET_KEY in the environment: it signs sessions, and every process of the site needs the same one."""


def require_secret_key() -> None:
    """Refuse to start without a secret of our own; raises MissingSecretKey."""
    # The settings import this module, so it reads them late.
    from django.conf import settings

    try:
        settings.SECRET_KEY  # noqa: B018  Django raises on reading an empty one.
    except ImproperlyConfigured as error:
        if "SECRET_KEY" not in str(error):
            raise
        raise MissingSecretKey(
            "This site has no SECRET_KEY, so it does not start. Set SECRET_KEY in the environment to a long random "
            "text, the same for every process, for example one printed by: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'. To look around, use ./run demo."
        ) from None


def demo_secret_key(*, data_dir: Path) -> str:
    """Read the demo's own secret, made at the first start with this data directory and readable by its owner only."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data_dir / "secret_key"
    if not path.exists():
        own = data_dir / f".secret_key-{secrets.token_hex(8)}"
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
        # Of two first starts at the same moment one places its secret, whole, and both read it.
        with contextlib.suppress(FileExistsError):
            os.link(own, path)
        own.unlink()
    return path.read_text().strip()


class ContentSecurityPolicyMiddleware(MiddlewareMixin):
    """Tell browsers to run and load what this site serves itself, nothing else."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Set the policy unless the view has set a stricter one."""
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response


class SameOriginWebsocket:
    """Let in websockets opened by our own pages, judged by scheme, host and port.

    A browser sends its cookies with a websocket whichever page has opened it, and no rule of the browser forbids it:
    the Origin header is all there is. Channels' own validator for ALLOWED_HOSTS looks at the host alone, so a page on
    another port of this machine would pass. Programs sign in by an Authorization header, which a page cannot set, and
    may come without an Origin.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the connection on, or refuse it with 403 before it opens."""
        if _is_ours(scope):
            await self._application(scope, receive, send)
        else:
            await refuse_websocket(scope, receive, send)


async def refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Close a websocket before it opens: the client sees 403."""
    await receive()
    await send({"type": "websocket.close", "code": 4403})


def _is_ours(scope: Scope) -> bool:
    from django.conf import settings

    headers: dict[bytes, list[str]] = {}
    for name, value in scope.get("headers", []):
        headers.setdefault(name.lower(), []).append(value.decode("latin1"))

    match headers.get(b"origin", []):
        case []:
            return b"authorization" in headers
        case [origin]:
            return origin in settings.CSRF_TRUSTED_ORIGINS or origin == _own_origin(scope, headers)
    return False


def _own_origin(scope: Scope, headers: dict[bytes, list[str]]) -> str | None:
    from django.conf import settings

    host = headers.get(b"host", [""])[-1]
    domain, _port = split_domain_port(host)
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        return None
    secure = scope.get("scheme") in ("wss", "https")
    if settings.TRUST_PROXY_HEADERS:
        secure = headers.get(b"x-forwarded-proto", [""])[-1] == "https"
    return f"{'https' if secure else 'http'}://{host}"
