"""A small TCP proxy that misbehaves on request: put it between a client and any server, and break the line.

    with Proxy(("127.0.0.1", 5672)) as proxy:      # clients connect to proxy.port
        proxy.cut()                                # every connection ends with a reset; new ones are let in
        proxy.refuse()                             # as cut, and nobody gets in until heal()
        proxy.hold("down")                         # connections stay, no byte arrives any more (half-open)
        proxy.delay(0.5, "up")                     # each piece comes late
        proxy.trickle("down")                      # one byte a second
        proxy.drop_reply()                         # what is asked arrives, the next answer is lost, then a reset
        proxy.reset_after(100, "down")             # a reset in the middle of a message, once for each connection
        proxy.heal()                               # as new; what was held flows on

"up" is from the client to the server, "down" is what the server says, "both" is both. The methods may be called from
any thread and return once they hold. What a fault has made unusable (bytes are missing) ends at heal() at the latest.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

Way = Literal["up", "down", "both"]
Target = tuple[str, int] | str
T = TypeVar("T")

_PIECE = 65_536


class Proxy:
    """A listening port of 127.0.0.1 that passes bytes on to the target: (host, port), or the path of a socket."""

    def __init__(self, target: Target, *, port: int = 0) -> None:
        self._target = target
        self._rules = {"up": _Rule(), "down": _Rule()}
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self.port = port
        self.accepted = 0

    def start(self) -> Self:
        """Listen."""
        _call(self._listen())
        return self

    def close(self) -> None:
        """End everything; the port is free afterwards."""
        _call(self._close())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """Return how many connections are open now."""
        return len(self._lines)

    def aim(self, target: Target) -> None:
        """Send new connections elsewhere, as after a restart on another port."""
        self._target = target

    def cut(self) -> None:
        """Reset every open connection."""
        _call(self._cut())

    def refuse(self) -> None:
        """Reset every open connection, and refuse new ones."""
        _call(self._refuse())

    def hold(self, way: Way = "both") -> None:
        """Keep connections open, and keep back what they say."""
        self._set(way, held=True)

    def delay(self, seconds: float, way: Way = "both") -> None:
        """Pass each piece on that much later."""
        self._set(way, delay=seconds)

    def trickle(self, way: Way = "both", *, seconds: float = 1.0) -> None:
        """Pass one byte on, then wait so long."""
        self._set(way, trickle=seconds)

    def drop_reply(self) -> None:
        """Let what is asked arrive, lose the next answer of each connection, and reset the connection for it."""
        self._set("down", dropped=True)

    def reset_after(self, count: int, way: Way = "down") -> None:
        """Reset each connection, also new ones, after that many bytes more."""
        self._set(way, budget=count)

    def heal(self) -> None:
        """End every fault."""
        _call(self._heal())

    # --- In the loop's thread -------------------------------------------------------------------------------------

    def _set(self, way: Way, **what: Any) -> None:
        async def change() -> None:
            for name in ("up", "down") if way == "both" else (way,):
                for key, value in what.items():
                    setattr(self._rules[name], key, value)
                for line in self._lines:
                    line.spent[name] = 0
            self._tell()

        _call(change())

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=512)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._server is not None:
            # Not waited for: it would wait for the connections, too.
            self._server.close()
            self._server = None

    async def _cut(self) -> None:
        for line in list(self._lines):
            line.reset()

    async def _refuse(self) -> None:
        await self._stop_listening()
        await self._cut()

    async def _heal(self) -> None:
        self._rules.update(up=_Rule(), down=_Rule())
        for line in list(self._lines):
            if line.broken:
                line.reset()
        self._tell()
        await self._listen()

    async def _close(self) -> None:
        await self._stop_listening()
        await self._cut()
        self._tell()
        if tasks := [line.task for line in self._lines if line.task]:
            await asyncio.wait(tasks, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        line = _Line(writer)
        line.task = asyncio.current_task()
        self._lines.add(line)
        try:
            with _ended():
                there = await self._connect()
                line.writers.append(there[1])
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(line, "up", reader, there[1]))
                    group.create_task(self._pump(line, "down", there[0], writer))
        finally:
            self._lines.discard(line)
            line.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, str):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _pump(self, line: "_Line", name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with _ended():
            while data := await reader.read(_PIECE):
                await self._pass(line, name, data, writer)
            # What was said before the end waits its turn like everything else; so does the end.
            await self._while_held(name)
            with contextlib.suppress(OSError):
                writer.write_eof()
            return
        line.reset()

    async def _pass(self, line: "_Line", name: str, data: bytes, writer: asyncio.StreamWriter) -> None:
        if delay := self._rules[name].delay:
            await self._sleep(delay)
        while data:
            await self._while_held(name)
            rule = self._rules[name]
            if rule.dropped:
                line.broken = True
                raise ConnectionResetError
            count = 1 if rule.trickle else len(data)
            if rule.budget is not None:
                count = min(count, rule.budget - line.spent[name])
                line.spent[name] += count
            writer.write(data[:count])
            data = data[count:]
            await writer.drain()
            if rule.budget is not None and line.spent[name] >= rule.budget:
                line.broken = True
                raise ConnectionResetError
            if data and rule.trickle:
                await self._sleep(rule.trickle)

    async def _while_held(self, name: str) -> None:
        while self._rules[name].held:
            await self._changed.wait()

    async def _sleep(self, seconds: float) -> None:
        # Until the time is over, or somebody changes the rules.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)


@dataclass
class _Rule:
    held: bool = False
    delay: float = 0.0
    trickle: float = 0.0
    dropped: bool = False
    budget: int | None = None


@dataclass(eq=False)
class _Line:
    """One client's connection, and ours to the server for it."""

    client: asyncio.StreamWriter
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    spent: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    broken: bool = False
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.writers.append(self.client)

    def reset(self) -> None:
        for writer in self.writers:
            inner = writer.get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):
                # To linger for no time is to end with a reset.
                inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        if self.task is not None:
            self.task.cancel()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


@contextlib.contextmanager
def _ended() -> Iterator[None]:
    # A line may end at any moment, and in any way; that is what this file is for.
    with contextlib.suppress(OSError, asyncio.CancelledError, BaseExceptionGroup):
        yield


# --- One loop for every proxy of this process ---------------------------------------------------------------------

_loop: asyncio.AbstractEventLoop | None = None
_guard = threading.Lock()


def _call(coroutine: Coroutine[Any, Any, T], *, seconds: float = 30) -> T:
    return asyncio.run_coroutine_threadsafe(coroutine, _running_loop()).result(seconds)


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _guard:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            started = threading.Event()
            _loop.call_soon(started.set)
            run: Callable[[], None] = _loop.run_forever
            threading.Thread(target=run, name="proxies", daemon=True).start()
            started.wait()
        return _loop
