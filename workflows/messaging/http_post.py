"""One HTTP call to a stranger: within a time, to an address that was checked, with an answer of bounded size."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from workflows.runtime import addresses
from workflows.runtime.addresses import ForbiddenAddress

CONNECT_SECONDS = 5.0


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class NoReply(Exception):
    """Nothing usable came back. `code` says in one word what was in the way; ask again later."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


def post(url: str, body: bytes, *, headers: Mapping[str, str], seconds: float, most: int) -> Reply:
    """This will send the body and give the answer, of whatever status; no redirection is followed. Raises NoReply."""
    try:
        parts = urlsplit(url)
        host, kind = parts.hostname or "", {"http": _Plain, "https": _Secure}[parts.scheme]
        connection = kind(host, parts.port or kind.default_port, timeout=min(CONNECT_SECONDS, seconds))
    except (ValueError, KeyError, http.client.InvalidURL):
        raise NoReply("bad_address", "The url is no address that can be called.") from None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        # Each read may take as long as the whole: the end of the whole is seen to from outside.
        clock = threading.Timer(seconds, connection.give_up)
        clock.daemon = True
        clock.start()
        try:
            connection.connect()
            connection.sock.settimeout(seconds)
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            announced = answer.length is not None or answer.chunked
            found = answer.read(most + 1)
        finally:
            clock.cancel()
            connection.close()
    except ForbiddenAddress as error:
        raise NoReply("forbidden_address", str(error)) from None
    except TimeoutError:
        raise NoReply("call_timeout", f"No answer came from {host} in time.") from None
    except (OSError, http.client.HTTPException) as error:
        if connection.late:
            raise NoReply("call_timeout", f"No answer came from {host} within {seconds:g} s.") from None
        raise NoReply("unreachable", f"{host}: {_why(error)}.") from None
    if connection.late:
        raise NoReply("call_timeout", f"No answer came from {host} within {seconds:g} s.")
    if len(found) > most:
        raise NoReply("bad_answer", f"The answer has more than {most:,} bytes.")
    if answer.length or not (found or announced):
        # What ends where nobody has said that it would may have been cut off.
        raise NoReply("bad_answer", "The answer broke off.")
    return Reply(answer.status, found)


class _Plain(http.client.HTTPConnection):
    """A connection to the address that was checked."""

    late = False

    def connect(self) -> None:
        """This will connect."""
        address = addresses.resolve(self.host, self.port)
        self.sock = socket.create_connection((address, self.port), self.timeout)

    def give_up(self) -> None:
        """This will end the call, whatever it waits for."""
        self.late = True
        if self.sock is not None:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # It has ended by itself.
                return


class _Secure(_Plain):
    """The same with TLS, and with the certificates that this machine trusts."""

    default_port = 443

    def connect(self) -> None:
        """This will connect."""
        super().connect()
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.rstrip(".")
    return str(error).rstrip(".") or type(error).__name__
