"""Runs the web server, and ends it well: what is being answered is answered, what waits for long is cut off."""

from __future__ import annotations

# First of all: Daphne chooses Twisted's reactor when it is imported, and that must happen before anybody uses one.
from daphne.server import Server, twisted_loop  # isort: skip

import asyncio
import gc
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import connection, connections

from workflows.live import broadcasting
from workflows.management import heap

PING_SECONDS = 10
"""A client that does not read does not answer pings either, and is dropped soon."""
PONG_SECONDS = 15
DRAIN_SECONDS = 4.0
"""How long requests that are being answered are waited for."""
MOST_FILES = 20_000
END_SECONDS = 8.0
"""After this the process ends, whatever is still going on in it."""

# Note [How a web process ends]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
# Asked to end, Daphne cancels what it is answering: the view goes on in its thread, and its client never hears of what
# it has done. So we first stop listening and wait for the requests at hand; only those that wait by their nature (a
# lease with `wait_seconds`) are cut off. Then Daphne waits for threads, and Python at its end for those of pools: a
# timer ends the process all the same. What is cut off by it was not committed, and is as if it had never been asked.


class PortTaken(Exception):
    """Somebody listens there already, or may not. Choose another port."""


def serve(*, host: str, port: int, ready: Callable[[], None], finish: Callable[[], None]) -> None:
    """This will serve until SIGTERM or SIGINT, then call `finish`, once, and return; raises PortTaken."""
    from channels.routing import get_default_application

    _allow_many_sockets()
    heap.keep_one()

    def begin() -> None:
        # What is there by now stays. Looking through all of it again and again would stop everything for a good part
        # of a second each time, and every page with it.
        gc.collect()
        gc.freeze()
        _give_back_now_and_then()
        ready()

    server = _Drained(
        application=get_default_application(),
        endpoints=[f"tcp:port={port}:interface={host.replace(':', chr(92) + ':')}"],
        ready_callable=begin,
        signal_handlers=False,
        ping_interval=PING_SECONDS,
        ping_timeout=PONG_SECONDS,
        server_name="orchestrator",
    )
    ending = _Ending(finish)
    server.on_end = ending.begin
    server.run()
    end_loop()
    # Asked once more, it ends no sooner.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if not server.served:
        raise PortTaken(f"Port {port} of {host} is taken or may not be used. Choose another one: --port N")
    ending.finish()


def guard() -> None:
    """This will see that a plain `daphne` takes many sockets and ends soon when told to. For whichever reactor runs."""
    from twisted.internet import reactor

    # The interface that the stubs know is written without `self`.
    running: Any = reactor
    running.addSystemEventTrigger("before", "startup", _allow_many_sockets)
    running.addSystemEventTrigger("before", "shutdown", _Ending(broadcasting.end).begin)


def end_loop() -> None:
    """This will clear up the server's loop: Python may crash when it finds unfinished tasks at its own end."""
    broadcasting.end_tasks(twisted_loop)
    broadcasting.end()


def put_away() -> None:
    """This will close what is open to the database. For the end of a process."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            # The file alone is complete then, for whoever copies it.
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connections.close_all()
    for alias in connections:
        close_pool = getattr(connections[alias], "close_pool", None)
        if close_pool is not None:
            close_pool()


def _give_back_now_and_then() -> None:
    heap.give_back()
    twisted_loop.call_later(heap.GIVE_BACK_SECONDS, _give_back_now_and_then)


def _allow_many_sockets() -> None:
    # Each websocket is an open file, and most systems allow a process no more than 1024 unless it asks.
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(MOST_FILES, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class _Ending:
    """Ends the process some seconds after it was told to, if it has not ended by itself."""

    def __init__(self, finish: Callable[[], None]) -> None:
        self._finish = finish
        self._lock = threading.Lock()
        self._finished = False

    def begin(self) -> None:
        """This will let the time run. Called when the server begins to stop."""
        timer = threading.Timer(END_SECONDS, self._force)
        timer.daemon = True
        timer.start()

    def finish(self) -> None:
        """This will finish, once."""
        with self._lock:
            if not self._finished:
                self._finished = True
                self._finish()

    def _force(self) -> None:
        self.finish()
        os._exit(0)


class _Drained(Server):  # type: ignore[misc]
    """Daphne's server, which answers what it has begun to answer before it ends. See Note [How a web process ends]."""

    served = False
    on_end: Callable[[], None]
    _ends = False

    def run(self) -> None:
        """This will serve until it is told to end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            twisted_loop.add_signal_handler(number, self._begin_to_end)
        super().run()

    def listen_success(self, port: Any) -> None:
        """This will note that it listens."""
        self.served = True
        self._port = port
        super().listen_success(port)

    def _begin_to_end(self) -> None:
        if self._ends:
            return
        self._ends = True
        self.on_end()
        twisted_loop.create_task(self._drain())

    async def _drain(self) -> None:
        if self.served:
            self._port.stopListening()
        end = time.monotonic() + DRAIN_SECONDS
        while self._is_answering() and time.monotonic() < end:
            await asyncio.sleep(0.02)
        self.stop()

    def _is_answering(self) -> bool:
        return any(
            getattr(connection, "application_type", "http") != "websocket"
            and not at_hand.get("disconnected")
            and (instance := at_hand.get("application_instance")) is not None
            and not instance.done()
            for connection, at_hand in self.connections.items()
        )
