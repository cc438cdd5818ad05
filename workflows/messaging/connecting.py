"""Opens connections to a broker that never keep anybody waiting for ever.

See Note [Every wait ends].
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from amqp.exceptions import AMQPError

from workflows.messaging.port import BusDown
from workflows.messaging.wire import Connection

CONNECT_SECONDS = 4.0
"""How long a server may take to answer while a connection is opened, for each of its answers."""
ANSWER_SECONDS = 5.0
"""How long a server may take for any single answer afterwards, and for taking what is written to it."""

# Note [Every wait ends]
# ~~~~~~~~~~~~~~~~~~~~~~
# A server that accepts a connection and then says nothing is the worst kind of dead one: nobody is told. So the socket
# itself has a time limit from the moment of the handshake; a read or write that takes longer raises, and a connection
# that has raised is thrown away, because half a frame may be on its way.

AMQP_SCHEMES = ("amqp", "amqps", "pyamqp", "librabbitmq")
DOWN = (AMQPError, OSError)
"""What py-amqp raises when a broker is gone, silent, or does not want what it is asked for."""


def is_amqp(url: str) -> bool:
    """This will tell whether the address is of a broker that speaks AMQP; the others are reached through kombu."""
    return urlsplit(url).scheme in AMQP_SCHEMES


def open_amqp(
    url: str,
    *,
    heartbeat: float = 0,
    seconds: float = ANSWER_SECONDS,
    on_blocked: Callable[[str], None] | None = None,
    on_unblocked: Callable[[], None] | None = None,
) -> Any:
    """This will open a connection of py-amqp to the first server of `url` that answers (`;` between several).

    Raises BusDown.
    """
    error: Exception | None = None
    for one in url.split(";"):
        connection = Connection(
            **_address(one),
            connect_timeout=min(CONNECT_SECONDS, seconds),
            heartbeat=heartbeat,
            on_blocked=on_blocked,
            on_unblocked=on_unblocked,
        )
        try:
            connection.connect()
        except DOWN as caught:
            error = caught
            continue
        connection.transport.sock.settimeout(seconds)
        return connection
    raise BusDown(said(error)) from error


def _address(url: str) -> dict[str, Any]:
    # As kombu reads it, which is not asked: its transports, serializers and YAML are 2 MB of each process.
    parts = urlsplit(url)
    secure = parts.scheme == "amqps"
    # Brokers in containers often listen on IPv4 alone.
    host = parts.hostname if parts.hostname not in (None, "localhost") else "127.0.0.1"
    return {
        "host": f"{f'[{host}]' if ':' in str(host) else host}:{parts.port or (5671 if secure else 5672)}",
        "userid": unquote(parts.username or "guest"),
        "password": unquote(parts.password or "guest"),
        "virtual_host": unquote(parts.path.removeprefix("/")) or "/",
        "login_method": dict(parse_qsl(parts.query)).get("login_method", "PLAIN"),
        # Its certificate must be its own; a private authority is named by SSL_CERT_FILE, as OpenSSL has it.
        "ssl": {"context": {"check_hostname": True}, "server_hostname": parts.hostname} if secure else False,
    }


def close_amqp(connection: Any) -> None:
    """This will say good-bye to the server, or just go when it does not answer."""
    with contextlib.suppress(*DOWN):
        if connection.connected:
            connection.transport.sock.settimeout(1)
            connection.close()
    drop_amqp(connection)


def drop_amqp(connection: Any) -> None:
    """This will let go of the socket without another word: what is not acknowledged is then given to somebody else."""
    with contextlib.suppress(*DOWN, AttributeError):
        connection.collect()


@contextlib.contextmanager
def errors_as_bus_down(*also: type[Exception]) -> Iterator[None]:
    """This will turn what the client libraries raise into BusDown, and `also` what the library of a transport does."""
    try:
        yield
    except (*DOWN, *also) as error:
        raise BusDown(said(error)) from error


def said(error: BaseException | None) -> str:
    """This will give an error of the client libraries as one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
