"""Somebody with an address, and somebody who calls."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from workflows.messaging.calling import Caller


class Plugin:
    """Somebody with an address: answers what the test says, and keeps what it was sent."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, str], Any]] = []
        self.answer: Callable[[Any], None] = lambda handler: reply(handler, 200, b"{}")
        plugin = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                plugin.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
                plugin.answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/scan?deep=1"
        threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True).start()

    def close(self) -> None:
        """Be there no more."""
        self.server.shutdown()
        self.server.server_close()

    def says(self, status: int, body: Any = b"", **headers: str) -> None:
        """Answer so from now on."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answer = lambda handler: reply(handler, status, raw, **headers)


def reply(handler: Any, status: int, body: bytes, **headers: str) -> None:
    """Send an answer."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def go(caller: Caller, *, calls: int = 1, seconds: float = 20) -> None:
    """Have the caller work until so many calls have come back and are reported."""
    end = time.monotonic() + seconds
    caller.look()
    caller._work()
    while calls or caller._in_flight.total():
        left = end - time.monotonic()
        assert left > 0, "the call does not come back"
        answered = caller._come_back.get(timeout=left)
        caller._come_back.put(answered)
        calls -= caller._come_back.qsize()
        caller._work()
