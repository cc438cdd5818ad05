"""A connection of py-amqp that reads in large pieces and writes many messages at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any

import amqp
from amqp.exceptions import UnexpectedFrame

from workflows import tracecontext
from workflows.messaging.deliveries import Delivery, frame_handler

READ_BYTES = 262_144
WRITE_BYTES = 131_072
_END = 0xCE
_METHOD, _HEADER, _BODY = 1, 2, 3
_FRAME = Struct(">BHI")
_CONTENT = Struct(">HHQH")
_LONG = Struct(">I")
# Class, method, a reserved number, the default exchange (whose name is empty).
_PUBLISH = b"\x00\x3c\x00\x28\x00\x00\x00"
_MANDATORY = b"\x01"
# In the order in which they travel: content_type, delivery_mode, message_id.
_FLAGS = 0x8000 | 0x1000 | 0x0080
_JSON, _PERSISTENT = b"\x10application/json", b"\x02"
# Between content_type and delivery_mode.
_HEADERS = 0x2000


class Connection(amqp.Connection):  # type: ignore[misc]
    """`on_delivery` is given each delivery; larger bodies than `most_bytes` are cut."""

    on_delivery: Callable[[Delivery], None] | None = None
    most_bytes = 1_048_576

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, frame_handler=frame_handler, **kwargs)
        self._held = bytearray()

    def blocking_read(self, timeout: float | None = None) -> Any:
        """This will deal with one frame; raises TimeoutError when there is none in time, whatever trickles in."""
        end = None if timeout is None else time.monotonic() + timeout
        while (frame := self._frame()) is None:
            left = None if end is None else max(0.0, end - time.monotonic())
            with self.transport.having_timeout(left):
                read = self.transport.sock.recv(READ_BYTES)
            if not read:
                self.transport.connected = False
                raise ConnectionResetError("the server has closed the connection")
            self._held += read
        return self.on_inbound_frame(frame)

    def deal_with_what_is_here(self) -> None:
        """This will deal with everything that has arrived, without waiting for more."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.drain_events(timeout=0)

    def write(self, frames: Sequence[bytes]) -> None:
        """This will write frames that were packed before, and deal with what arrives meanwhile.

        Without that, two sides that only write would wait for each other: unroutable messages come back whole.
        """
        part: list[bytes] = []
        size = 0
        for frame in frames:
            part.append(frame)
            size += len(frame)
            if size >= WRITE_BYTES:
                self._write(part)
                self.deal_with_what_is_here()
                part, size = [], 0
        if part:
            self._write(part)

    def _write(self, frames: Sequence[bytes]) -> None:
        self.transport.write(b"".join(frames))
        self.bytes_sent += 1

    def _frame(self) -> tuple[int, int, bytes] | None:
        held = self._held
        if len(held) < 8:
            return None
        kind, channel, size = _FRAME.unpack_from(held)
        if len(held) < size + 8:
            return None
        if held[size + 7] != _END:
            raise UnexpectedFrame(f"a frame ends with {held[size + 7]:#04x}")
        payload = bytes(held[7 : size + 7])
        del held[: size + 8]
        return kind, channel, payload


class Unsendable(ValueError):
    """The name of the queue does not fit into a frame: 255 bytes is the limit of the protocol."""


class Publisher:
    """Packs messages to queues of the default exchange, persistent and `mandatory`, into the frames of a channel."""

    def __init__(self, channel_id: int, frame_max: int) -> None:
        self._channel, self._most = channel_id, frame_max - 8
        self._methods: dict[str, bytes] = {}

    def frames(self, queue: str, message_id: str, body: bytes, trace: str = "") -> bytes:
        """This will give one message as it travels, with its trace context as headers. Raises Unsendable."""
        method = self._methods.get(queue) or self._method(queue)
        named = message_id.encode()
        flags, said = (_FLAGS | _HEADERS, _JSON + _table(trace)) if trace else (_FLAGS, _JSON)
        content = b"".join((_CONTENT.pack(60, 0, len(body), flags), said, _PERSISTENT, bytes((len(named),)), named))
        parts = [method, _FRAME.pack(_HEADER, self._channel, len(content)), content, b"\xce"]
        for start in range(0, len(body), self._most):
            piece = body[start : start + self._most]
            parts += (_FRAME.pack(_BODY, self._channel, len(piece)), piece, b"\xce")
        return b"".join(parts)

    def _method(self, queue: str) -> bytes:
        key = queue.encode(errors="surrogatepass")
        if len(key) > 255:
            raise Unsendable(f"A queue's name has at most 255 bytes; this one has {len(key)}.")
        arguments = b"".join((_PUBLISH, bytes((len(key),)), key, _MANDATORY))
        frame = b"".join((_FRAME.pack(_METHOD, self._channel, len(arguments)), arguments, b"\xce"))
        self._methods[queue] = frame
        return frame


def _table(trace: str) -> bytes:
    """The headers `traceparent` and `tracestate`, as a table of long strings."""
    parent, _, state = trace.partition(" ")
    rows = _row(tracecontext.PARENT, parent) + (_row(tracecontext.STATE, state) if state else b"")
    return _LONG.pack(len(rows)) + rows


def _row(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return b"".join((bytes((len(key),)), key, b"S", _LONG.pack(len(text)), text))
