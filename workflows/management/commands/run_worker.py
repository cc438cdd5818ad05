"""Do what the site does by itself, beside the servers: send messages, fire deadlines, take events, run steps.

Note [Threads or processes]
~~~~~~~~~~~~~~~~~~~~~~~~~~~
Much of what a job does is Python, and Python runs one thread at a time: more threads make up for waiting (a step that
calls somebody, a broker or a database that is far away), not for work. Whoever has cores to spare starts more
processes; they share the work without knowing of each other, on this machine or any other.

Note [How a worker process ends]
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
SIGTERM or SIGINT: it takes nothing new, finishes and acknowledges what it has in hand, tells other processes what it
has committed, and ends with 0; with 1 if something has not ended within `--drain` seconds, which then is done again by
somebody else, as after any crash. Asked a second time, it ends at once. A thread that dies, though nothing of ours ends
one, takes the process down in the same orderly way with 1: a supervisor starts a new one, and nobody has to notice that
a process lives which does half of its work.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from workflows import wiring
from workflows.conf import settings
from workflows.live import broadcasting
from workflows.management import heap

if TYPE_CHECKING:
    from workflows.observability.port import Port

_LOOK_SECONDS = 1.0


class Command(BaseCommand):
    """manage.py run_worker [--only relay,clock,inbound,steps,callers] [--concurrency N] [--port P]"""

    help = "Run the background jobs of the site. Several processes share the work."
    # They are about pages, too, and would load all that serves them.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """This will take which jobs to do, and how."""
        parser.add_argument("--only", help=f"jobs separated by commas, of: {', '.join(wiring.JOBS)} (default: all)")
        parser.add_argument(
            "--concurrency",
            type=int,
            default=1,
            help="threads for each job but the clock (default: 1); for work that waits. For more cores, more processes",
        )
        parser.add_argument("--port", type=int, help="answer /healthz, /readyz and /metrics there (default: nowhere)")
        parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1; 0.0.0.0 in a container")
        parser.add_argument(
            "--drain", type=float, default=20, help="seconds to finish what is in hand once told to end (default: 20)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """This will work until it is told to stop."""
        only = _wanted(options["only"])
        if not 1 <= options["concurrency"] <= 64:
            raise CommandError("--concurrency takes 1 to 64.")
        ending = _Ending()
        heap.keep_one()
        wiring.connect()
        crew = wiring.Crew(wiring.jobs(only, concurrency=options["concurrency"]))
        port = _open_port(options["host"], options["port"], crew)
        crew.start()
        # What is there by now stays: nothing of it needs to be looked through again by the garbage collector.
        gc.collect()
        gc.freeze()
        heap.give_back()
        where = f" Health and metrics: {options['host']}:{port.number}." if port else ""
        self._say(f"Working: {', '.join(job.worker.name for job in crew.jobs)}.{where} Stop with Ctrl-C.")
        dead: list[str] = []
        given_back = time.monotonic()
        while not ending.wait(_LOOK_SECONDS) and not dead:
            dead = crew.dead()
            if time.monotonic() - given_back >= heap.GIVE_BACK_SECONDS:
                heap.give_back()
                given_back = time.monotonic()
        if port:
            port.ending()
        late = crew.stop(seconds=options["drain"])
        _put_away(port)
        if late:
            self.stderr.write(f"Did not end in time: {', '.join(late)}.")
            self.stderr.flush()
            # Not through Python's own end, which would wait for them in its way.
            os._exit(1)
        if dead:
            raise CommandError(f"Ended because of a thread that has died: {', '.join(dead)}.")
        self._say("Stopped.")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


class _Ending:
    """Whether the process was told to end. See Note [How a worker process ends]."""

    def __init__(self) -> None:
        self._told = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)

    def wait(self, seconds: float) -> bool:
        """This will wait for it so long, and tell whether it has come."""
        return self._told.wait(seconds)

    def _signalled(self, number: int, frame: object) -> None:
        if self._told.is_set():
            os._exit(128 + number)
        self._told.set()


def _wanted(said: str | None) -> list[str] | None:
    if said is None:
        return None
    only = list(dict.fromkeys(name.strip() for name in said.split(",") if name.strip()))
    unknown = [name for name in only if name not in wiring.JOBS]
    if unknown or not only:
        raise CommandError(f"--only takes {', '.join(wiring.JOBS)}, not {', '.join(unknown) or 'nothing'}.")
    if "inbound" in only and settings.BROKER_URL is None:
        raise CommandError("There is no broker to take events from. Set BROKER_URL, or leave inbound out.")
    return only


def _open_port(host: str, number: int | None, crew: wiring.Crew) -> Port | None:
    if number is None:
        return None
    if not 0 <= number <= 65_535:
        raise CommandError("--port takes 0 to 65535.")
    # Not at the top: a worker without a port would carry 1.5 MB of it for nothing.
    from workflows.observability import metrics
    from workflows.observability.port import Port

    wiring.count()
    metrics.watch(crew.reports)
    try:
        port = Port(host=host, port=number, jobs=crew.reports)
    except OSError as error:
        raise CommandError(f"Port {number} of {host} cannot be had: {error.strerror}. Choose another one.") from None
    port.start()
    return port


def _put_away(port: Port | None) -> None:
    wiring.voice.end()
    broadcasting.end()
    if port:
        port.close()
    connections.close_all()
    for alias in connections:
        close_pool = getattr(connections[alias], "close_pool", None)
        if close_pool is not None:
            close_pool()
