"""The port of a worker process: health, readiness and metrics, for those who look after it. It serves nothing else.

No name, id or text of anybody's is shown, so nobody signs in; it listens on this machine unless told otherwise.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from django.db import connections
from prometheus_client.exposition import choose_encoder

from workflows.observability import health, metrics
from workflows.runtime.workers import Report

logger = logging.getLogger(__name__)

_Answer = tuple[int, str, bytes]
_SLOWEST_CLIENT = 10


class Port:
    """Serves in a thread of its own. `jobs` tells how the process's jobs are. Raises OSError where it cannot listen."""

    def __init__(self, *, host: str, port: int, jobs: Callable[[], Sequence[Report]]) -> None:
        self._jobs = jobs
        self._ending = False
        self._server = _Server((host, port), _Handler)
        self._server.answer = self._answer
        self._thread = threading.Thread(target=self._server.serve_forever, name="port", daemon=True)

    @property
    def number(self) -> int:
        """The port's number: the one that was free, where 0 was asked for."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """This will begin to answer."""
        self._thread.start()

    def ending(self) -> None:
        """This will say from now on that the process is not ready, as it is about to end."""
        self._ending = True

    def close(self) -> None:
        """This will answer no more."""
        if self._thread.ident is not None:
            self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str, accept: str) -> _Answer:
        match path:
            case "/healthz":
                return _json(200, {"status": "ok"})
            case "/readyz" if self._ending:
                return _json(503, {"status": "ending"})
            case "/readyz":
                return _json(*health.readiness(self._jobs()))
            case "/metrics":
                encode, kind = choose_encoder(accept)
                return 200, kind, encode(metrics.registry)
        return 404, "text/plain; charset=utf-8", b"There are /healthz, /readyz and /metrics.\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    answer: Callable[[str, str], _Answer]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "orchestrator", ""
    timeout = _SLOWEST_CLIENT

    def do_GET(self) -> None:
        """This will answer a question."""
        self._reply(body=True)

    def do_HEAD(self) -> None:
        """This will answer without a body."""
        self._reply(body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """This will keep who asked out of the log."""
        logger.debug(format, *args)

    def _reply(self, *, body: bool) -> None:
        try:
            status, kind, text = self.server.answer(self.path.partition("?")[0], self.headers.get("Accept", ""))
        except Exception:
            logger.exception("%s could not be answered", self.path)
            status, kind, text = HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", b"Not now.\n"
        finally:
            # A thread for each question: a connection that it opened would stay open behind it.
            connections.close_all()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if body:
            self.wfile.write(text)


def _json(status: int, said: object) -> _Answer:
    return status, "application/json", json.dumps(said).encode()
