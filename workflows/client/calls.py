"""Calls of the orchestrator's API, on a connection that each thread keeps."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


class Unreachable(Exception):
    """The orchestrator did not answer, or not as itself. Try again later: whether it has heard is not known."""


class Api:
    """The API below `url`. May be used from several threads."""

    def __init__(self, url: str, *, token: str | None) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "localhost", parts.port
        path = parts.path.rstrip("/")
        self._path = path if path.endswith("/api/v1") else f"{path}/api/v1"
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._here = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def post(self, path: str, body: Mapping[str, Any], *, seconds: float = 30) -> tuple[int, Mapping[str, Any]]:
        """This will post JSON and give the status and the answer, whatever the status. Raises Unreachable."""
        data = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        kept: http.client.HTTPConnection | None = getattr(self._here, "connection", None)
        if kept is not None and kept.sock is not None:
            try:
                return self._post(kept, path, data, seconds)
            except TimeoutError as error:
                raise Unreachable(_words(error)) from error
            except (OSError, http.client.HTTPException):
                # A kept connection that the other side has closed meanwhile. Asked once more, on a new one.
                pass
        try:
            return self._post(self._connect(seconds), path, data, seconds)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(_words(error)) from error

    def close(self) -> None:
        """This will close the connections of all threads."""
        for connection in self._all:
            connection.close()

    def _connect(self, seconds: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=min(seconds, 10))
        before: http.client.HTTPConnection | None = getattr(self._here, "connection", None)
        if before in self._all:
            self._all.remove(before)
        self._all.append(connection)
        self._here.connection = connection
        return connection

    def _post(
        self, connection: http.client.HTTPConnection, path: str, data: bytes, seconds: float
    ) -> tuple[int, Mapping[str, Any]]:
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(seconds)
            connection.request("POST", f"{self._path}/{path}", data, self._headers)
            response = connection.getresponse()
            said = response.read()
        except BaseException:
            connection.close()
            raise
        try:
            document = json.loads(said) if said else {}
        except ValueError:
            document = {"detail": said[:200].decode(errors="replace")}
        return response.status, document if isinstance(document, dict) else {}


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
