"""Opens connections to a broker that never keep anybody waiting for ever.

See Note [Every wait ends].
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from amqp.exceptions import AMQPError
from kombu.connection import Connection as Address
from kombu.exceptions import KombuError, OperationalError

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
DOWN = (AMQPError, OSError, KombuError, OperationalError)
"""What the client libraries raise when a broker is gone, silent, or does not want what it is asked for."""


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
        options = {"on_blocked": on_blocked, "on_unblocked": on_unblocked}
        address = Address(one, connect_timeout=min(CONNECT_SECONDS, seconds), transport_options=options)
        address.heartbeat = heartbeat
        try:
            transport = address.transport
            transport.Connection = Connection
            connection = transport.establish_connection()
        except DOWN as caught:
            error = caught
            continue
        connection.transport.sock.settimeout(seconds)
        return connection
    raise BusDown(said(error)) from error


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
