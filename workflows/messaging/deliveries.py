"""Takes deliveries of AMQP apart, down to the bytes; what is wrong with one is said of that one.

See Note [Raw deliveries].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any

from amqp.exceptions import UnexpectedFrame
from amqp.method_framing import frame_handler as library_frame_handler
from amqp.serialization import loads

from workflows import tracecontext
from workflows.messaging.port import Incoming
from workflows.tracecontext import TraceContext

# Note [Raw deliveries]
# ~~~~~~~~~~~~~~~~~~~~~
# A broker passes on whatever a sender has put into a message: a message_id that is no UTF-8, headers that nest a
# thousand times, a body of 100 MB. The client library reads all that into Python before anybody is asked, and an
# exception there costs the connection, with the same message at the head of the queue again and again. So deliveries
# are taken apart here: the few properties that say something are found by their places, what cannot be read is a fault
# of this one message, and of a body that is too large only the beginning is kept. Nothing is ever decompressed, and no
# other decoder than ours is asked. What the broker itself says (confirms, returns, closes) is left to the library.

KEPT_OF_TOO_LARGE = 65_536
MOST_HEADER_BYTES = 16_384
_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_DELIVER = b"\x00\x3c\x00\x3c"
_TAG = Struct(">QB")
_HEAD = Struct(">HHQH")
_LONG = Struct(">I")
_JSON_TYPES = ("", "application/json", "text/json", "text/plain")
_TEXT_ENCODINGS = ("", "utf-8", "utf8", "us-ascii", "ascii", "identity")

_TRACE = tracecontext.PARENT.encode()

Fault = tuple[str, str]
"""A code and a reason: why a message is kept aside without being read."""


class Delivery:
    """One message on its way in. `body` is cut when there is more of it than `most_bytes`: `size` is what there was."""

    __slots__ = (
        "_parts",
        "_received",
        "body",
        "fault",
        "headers",
        "message_id",
        "most_bytes",
        "queue",
        "redelivered",
        "size",
        "tag",
    )

    def __init__(self, method: bytes, most_bytes: int) -> None:
        # The consumer's tag is the name of its queue: see adapters/amqp_receiving.py.
        end = 5 + method[4]
        self.queue = method[5:end].decode(errors="replace")
        self.tag, redelivered = _TAG.unpack_from(method, end)
        self.redelivered = bool(redelivered)
        self.most_bytes = most_bytes
        self.message_id = ""
        self.fault: Fault | None = None
        self.headers = b""
        self.body = b""
        self.size = self._received = 0
        self._parts: list[bytes] = []

    def header(self, payload: bytes) -> bool:
        """This will read what is said about the body, and tell whether the message is complete with that."""
        _, _, self.size, _ = _HEAD.unpack_from(payload)
        try:
            self._read_properties(payload)
        except (IndexError, ValueError, LookupError, ArithmeticError, RecursionError, OverflowError):
            self.fault = ("properties", "The properties of the message cannot be read.")
        except Exception as error:  # whatever the library raises about a table: it is this message's
            self.fault = ("properties", f"The properties of the message cannot be read ({type(error).__name__}).")
        if self.size > self.most_bytes:
            self.fault = ("too_large", f"The message has {self.size:,} bytes; at most {self.most_bytes:,} are taken.")
        return self.size == 0

    def chunk(self, payload: bytes) -> bool:
        """This will take a piece of the body, and tell whether it was the last one."""
        if self.size <= self.most_bytes or self._received < KEPT_OF_TOO_LARGE:
            self._parts.append(payload)
        self._received += len(payload)
        if self._received < self.size:
            return False
        self.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if self.size > self.most_bytes:
            self.body = self.body[:KEPT_OF_TOO_LARGE]
        self._parts = []
        return True

    def _read_properties(self, payload: bytes) -> None:
        _, _, _, flags = _HEAD.unpack_from(payload)
        at = _HEAD.size
        kind, at = _text(payload, at) if flags & 0x8000 else ("", at)
        encoding, at = _text(payload, at) if flags & 0x4000 else ("", at)
        if flags & 0x2000:
            (size,) = _LONG.unpack_from(payload, at)
            self.headers = payload[at : at + 4 + size]
            at += 4 + size
        at += bool(flags & 0x1000) + bool(flags & 0x0800)  # delivery_mode, priority: a byte each
        for flag in (0x0400, 0x0200, 0x0100):  # correlation_id, reply_to, expiration: we answer to the message alone
            if flags & flag:
                at += 1 + payload[at]
        if flags & 0x0080:
            self.message_id, at = _text(payload, at)
        if at > len(payload):
            raise ValueError("the properties are longer than their frame")
        self.fault = _type_fault(kind, encoding) or _header_fault(self.headers)

    def as_incoming(self) -> Incoming:
        """This will give it as the port has it."""
        return Incoming(
            body=self.body,
            message_id=self.message_id or None,
            queue=self.queue,
            redelivered=self.redelivered,
            size=self.size,
            fault=self.fault,
            death=self._death(),
            trace=self._trace(),
        )

    def _trace(self) -> TraceContext | None:
        # A fault of the message is a fault of its headers, perhaps: then nothing more is read of them.
        if self.fault is not None or _TRACE not in self.headers:
            return None
        try:
            (table,), _ = loads("F", self.headers, 0)
            return tracecontext.from_headers(table)
        except Exception:  # whatever the library raises about a table: tracing keeps no message from being read
            return None

    def _death(self) -> tuple[str, str] | None:
        if b"x-first-death-queue" not in self.headers:
            return None
        try:
            (table,), _ = loads("F", self.headers, 0)
        except Exception:  # whatever the library raises about a table
            return ("", "")
        return str(table.get("x-first-death-queue", ""))[:255], str(table.get("x-first-death-reason", ""))[:255]


def _text(payload: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + payload[at]
    return payload[at + 1 : end].decode(errors="replace"), end


def _type_fault(kind: str, encoding: str) -> Fault | None:
    # A sender that says nothing, or `text/plain` as kombu does for any text, has always been understood.
    plain = kind.partition(";")[0].strip().lower()
    if plain not in _JSON_TYPES and not (plain.startswith("application/") and plain.endswith("+json")):
        return ("content_type", f"The content type is {kind[:200]!r}; send application/json.")
    if encoding.strip().lower() not in _TEXT_ENCODINGS:
        return ("content_encoding", f"The content encoding is {encoding[:200]!r}; send plain UTF-8.")
    return None


def fault_of(kind: str, encoding: str, headers: Mapping[str, Any]) -> Fault | None:
    """This will say why a message is not to be read at all, from what it says about itself."""
    if named := headers.get("compression"):
        return ("compression", f"The message is compressed ({str(named)[:200]!r}); send it as it is.")
    return _type_fault(kind, encoding)


def _header_fault(headers: bytes) -> Fault | None:
    if len(headers) <= 4:
        return None
    if len(headers) > MOST_HEADER_BYTES:
        return ("too_large", f"The headers have {len(headers):,} bytes; at most {MOST_HEADER_BYTES:,} are taken.")
    if b"compression" not in headers:
        return None
    (table,), _ = loads("F", headers, 0)
    return fault_of("", "", table)


def frame_handler(connection: Any, callback: Callable[..., Any]) -> Callable[[tuple[int, int, bytes]], bool]:
    """This will make what py-amqp asks about each frame: deliveries are ours where somebody wants them, the rest is the
    library's.
    """
    usual = library_frame_handler(connection, callback)
    coming: dict[int, Delivery] = {}

    def on_frame(frame: tuple[int, int, bytes]) -> bool:
        kind, channel, payload = frame
        delivery = coming.get(channel)
        if delivery is None:
            if kind == _METHOD and payload.startswith(_DELIVER) and connection.on_delivery is not None:
                connection.bytes_recv += 1
                coming[channel] = Delivery(payload, connection.most_bytes)
                return False
            return bool(usual(frame))
        connection.bytes_recv += 1
        if kind == _HEADER:
            complete = delivery.header(payload)
        elif kind == _BODY:
            complete = delivery.chunk(payload)
        elif kind == _HEARTBEAT:
            return False
        else:
            raise UnexpectedFrame(f"a frame of type {kind} came in the middle of a message")
        if complete:
            del coming[channel]
            connection.on_delivery(delivery)
        return complete

    return on_frame
