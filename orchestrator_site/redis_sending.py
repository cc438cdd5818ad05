"""A channel layer that only sends: what a worker process needs of Redis, without the libraries that take as well.

Those are a quarter of the memory of a worker, and all that it does with them is PUBLISH. Channels' own layer for Redis
(`channels_redis.pubsub`) hears what is sent here: same channels of Redis, same packing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import msgpack  # type: ignore[import-untyped]

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0

_Open = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Refused(Exception):
    """Redis answers, and says no. The text says why."""


def is_plain(url: str) -> bool:
    """Tell whether this layer knows how to get there. TLS, sockets and options are for the library."""
    parts = urlsplit(url)
    return parts.scheme == "redis" and not parts.query and not parts.fragment


class SendingLayer:
    """Sends to groups, from one event loop. A connection is opened when needed, and anew after every error."""

    extensions = ("groups", "flush")

    def __init__(self, *, url: str, prefix: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = unquote(parts.hostname or "localhost"), parts.port or 6379
        # No database is selected: publishing knows none.
        self._login = [unquote(word) for word in (parts.username, parts.password) if word] if parts.password else []
        self._prefix = prefix
        self._lock = asyncio.Lock()
        self._open: _Open | None = None

    async def group_send(self, group: str, message: Mapping[str, Any]) -> None:
        """Send to everybody who listens to the group now; raises OSError, EOFError, TimeoutError or Refused."""
        command = _command("PUBLISH", f"{self._prefix}__group__{group}", msgpack.packb(message))
        async with self._lock:
            if self._open is not None:
                # It may have closed the connection since the last time, or was started anew: a second one tells.
                with contextlib.suppress(OSError, EOFError):
                    await self._ask(self._open, command)
                    return
            await self._ask(await self._connect(), command)

    async def flush(self) -> None:
        """Close the connection."""
        async with self._lock:
            if self._open is not None:
                (_, writer), self._open = self._open, None
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _connect(self) -> _Open:
        async with asyncio.timeout(CONNECT_SECONDS):
            self._open = opened = await asyncio.open_connection(self._host, self._port)
        if self._login:
            await self._ask(opened, _command("AUTH", *self._login))
        return opened

    async def _ask(self, opened: _Open, command: bytes) -> None:
        reader, writer = opened
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(command)
                await writer.drain()
                answer = await reader.readuntil(b"\r\n")
            if answer.startswith(b"-"):
                raise Refused(answer[1:].decode(errors="replace").strip())
        except BaseException:
            # Half a command may be on its way, or an answer that would be taken for the next one's.
            self._open = None
            writer.close()
            raise


def _command(*words: str | bytes) -> bytes:
    encoded = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)
