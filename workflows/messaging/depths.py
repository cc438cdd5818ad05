"""How many messages wait in queues of the broker, and how many consumers listen. Asks only; changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from amqp.exceptions import ChannelError

from workflows.messaging.connecting import close_amqp, drop_amqp, errors_as_bus_down, is_amqp, open_amqp
from workflows.messaging.port import BusDown


@dataclass(frozen=True, slots=True)
class Depth:
    """`messages` are ready to be delivered (those in a consumer's hands are not counted).

    `consumers` is None where the broker does not know them: only AMQP counts those who listen.
    """

    messages: int
    consumers: int | None


def read_queues(url: str, names: Iterable[str], *, timeout: float = 2.0) -> Mapping[str, Depth | None]:
    """This will give the depth of each queue, None for a queue that does not exist (or that we may not see).

    On Redis a queue without messages does not exist.
    Keeps one connection to each broker for the next call. Raises BusDown when the broker does not answer in time.
    """
    wanted = list(dict.fromkeys(names))
    if not is_amqp(url):
        return _read_by_kombu(url, wanted, timeout)
    with _reading:
        connection = _connections.pop(url, None)
        if connection is not None:
            try:
                found = _read(connection, wanted, timeout)
            except BusDown:  # an old connection may have died long ago: ask once more on a new one
                drop_amqp(connection)
                connection = None
        if connection is None:
            connection = open_amqp(url, seconds=timeout)
            try:
                found = _read(connection, wanted, timeout)
            except BaseException:
                drop_amqp(connection)
                raise
        _connections[url] = connection
        return found


def close() -> None:
    """This will close the connections that were kept."""
    with _reading:
        while _connections:
            close_amqp(_connections.popitem()[1])


_reading = threading.Lock()
_connections: dict[str, Any] = {}


def _read(connection: Any, names: list[str], timeout: float) -> dict[str, Depth | None]:
    found: dict[str, Depth | None] = {}
    with errors_as_bus_down():
        connection.transport.sock.settimeout(timeout)
        channel = connection.channel()
        for name in names:
            try:
                answer = channel.queue_declare(name, passive=True)
            except ChannelError:  # not there, or not for us; the broker has closed the channel with its answer
                found[name] = None
                channel = connection.channel()
            else:
                found[name] = Depth(answer.message_count, answer.consumer_count)
        channel.close()
    return found


def _read_by_kombu(url: str, names: list[str], timeout: float) -> dict[str, Depth | None]:
    # Not at the top: whoever has RabbitMQ, as nearly everybody, would carry 2 MB of it for nothing.
    from kombu.connection import Connection as Address
    from kombu.exceptions import KombuError

    options = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    found: dict[str, Depth | None] = {}
    address = Address(url, connect_timeout=timeout, transport_options=options)
    with errors_as_bus_down(KombuError, *address.connection_errors, *address.channel_errors), address as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=timeout)
        channel = connection.channel()
        for name in names:
            try:
                found[name] = Depth(int(channel.queue_declare(name, passive=True).message_count), None)
            except ChannelError:
                found[name] = None
    return found
