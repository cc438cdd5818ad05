"""A websocket on a plain socket: what a client does, and what it should not do."""

import base64
import json
import os
import socket
import struct
import time
from typing import Any
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Refused(Exception):
    """The server did not open the websocket; `status` is what it answered."""

    def __init__(self, status: int, answer: bytes) -> None:
        self.status = status
        super().__init__(answer.decode(errors="replace")[:500])


class Closed(Exception):
    """The server closed the websocket with `code` (1006: without a word)."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(str(code))


class Wire:
    """One connection."""

    def __init__(self, url: str, *, path: str = "/ws/live/", **headers: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=10)
        self._buffer = b""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = {
            "Host": f"{parts.hostname}:{parts.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
            **{name.replace("_", "-").title(): value for name, value in headers.items()},
        }
        asked = f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
        self._socket.sendall(asked.encode("latin1"))
        while b"\r\n\r\n" not in self._buffer:
            got = self._socket.recv(65536)
            if not got:
                break
            self._buffer += got
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/") else 0
        if status != 101:
            self._socket.close()
            raise Refused(status, head)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def frame(self, kind: int, data: bytes) -> None:
        """Send a frame of any kind."""
        mask = os.urandom(4)
        size = len(data)
        head = bytes([0x80 | kind])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", size)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", size)
        repeated = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
        self._socket.sendall(head + mask + masked)

    def say(self, value: Any) -> None:
        """Send a JSON frame."""
        self.frame(TEXT, json.dumps(value).encode())

    def hear(self, seconds: float = 10) -> Any:
        """Wait for a JSON frame; pings are answered meanwhile. Raises Closed, or TimeoutError."""
        end = time.monotonic() + seconds
        while True:
            kind, data = self._read(end)
            if kind == TEXT:
                return json.loads(data)
            if kind == PING:
                try:
                    self.frame(PONG, data)
                except ConnectionError:
                    raise Closed(1006) from None
            elif kind == CLOSE:
                raise Closed(struct.unpack(">H", data[:2])[0] if len(data) >= 2 else 1005)

    def ask(self, topic: str, **more: Any) -> Any:
        """Subscribe and wait for the answer."""
        self.say({"action": "subscribe", "topic": topic, **more})
        return self.hear()

    def code(self, seconds: float = 10) -> int:
        """Wait until the server closes; return the code."""
        end = time.monotonic() + seconds
        try:
            while True:
                self.hear(end - time.monotonic())
        except Closed as closed:
            return closed.code

    def _read(self, end: float) -> tuple[int, bytes]:
        first, second = self._take(2, end)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack(">H", self._take(2, end))[0]
        elif size == 127:
            size = struct.unpack(">Q", self._take(8, end))[0]
        return first & 0x0F, self._take(size, end)

    def _take(self, size: int, end: float) -> bytes:
        while len(self._buffer) < size:
            self._socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                got = self._socket.recv(65536)
            except ConnectionError:
                got = b""
            if not got:
                raise Closed(1006)
            self._buffer += got
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken
