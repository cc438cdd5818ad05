"""Serve everything in one process, with examples: pages, API, live updates, workers, simulated services and people."""

from __future__ import annotations

# First of all: Daphne chooses Twisted's reactor when it is imported, and that must happen before anybody uses one.
from daphne.server import Server, twisted_loop  # isort: skip

import os
import signal
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from typing import Any

from channels.routing import get_default_application
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, connections
from django.utils import timezone

from workflows import wiring
from workflows.conf import settings
from workflows.examples import installing
from workflows.examples.past import Past, leave_marks
from workflows.examples.services import BrokerSide, Services
from workflows.examples.traffic import Traffic
from workflows.live import broadcasting
from workflows.models import WorkflowInstance
from workflows.runtime.workers import Worker
from workflows.wiring import Crew, Job


class Command(BaseCommand):
    """manage.py demo [--port N] [--host ADDRESS] [--data-dir D] [--no-traffic]"""

    help = "Serve the site with examples in one process. Not for production."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """This will take where to listen, where to keep the data, and whether to live."""
        parser.add_argument("--port", type=int, default=8000, help="default: 8000")
        parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, so that only this machine gets in")
        parser.add_argument("--data-dir", default="var/", help="folder for the database and the secret (default: var/)")
        parser.add_argument(
            "--no-traffic", action="store_true", help="start nothing, and let no simulated service answer"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """This will serve until it is told to stop."""
        # While nobody serves yet, ending is just that. Later Twisted takes both signals over: SIGINT only where it is
        # handled as Python does by itself.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self._run(options)
        except KeyboardInterrupt:
            sys.exit(0)

    def _run(self, options: Mapping[str, Any]) -> None:
        host, port = options["host"], options["port"]
        if not 0 <= port <= 65_535:
            raise CommandError("--port takes 0 to 65535.")
        self._say("Preparing the database ...")
        call_command("migrate", verbosity=0, interactive=False)
        now = timezone.now()
        # People first: publishing warns of groups that do not exist.
        tokens = installing.install_people(at=now)
        versions = installing.install_templates(at=now)
        connections.close_all()
        wiring.connect()
        life = _Life(versions=versions, traffic=not options["no_traffic"])
        ending = _Ending(lambda: self._finish(life))
        _serve(host, port, ready=lambda: self._ready(host, port, tokens, life), ending=ending)
        if not life.began:
            raise CommandError(f"Port {port} of {host} is taken or may not be used. Choose another one: --port N")
        ending.finish()

    def _finish(self, life: _Life) -> None:
        late = life.stop()
        _put_away()
        if late:
            self.stderr.write(f"Did not end in time: {', '.join(late)}. What they held is taken up at the next start.")
        self._say("Stopped.")

    def _ready(self, host: str, port: int, tokens: Mapping[str, str], life: _Life) -> None:
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        lines = [f"token {user} {token}" for user, token in tokens.items()]
        lines += ["", f"Sign in at {address}/ with the password {installing.PASSWORD!r} as:"]
        lines += [f"  {user.username:12} {user.what}" for user in installing.USERS]
        lines += ["", f"API: {address}/api/v1/docs/   Stop with Ctrl-C.", f"Ready: {address}/"]
        self._say("\n".join(lines))
        life.begin()

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


class _Ending:
    """Ends the process soon after it was told to: a request that waits for half a minute does not hold it up.

    Daphne waits for requests that are being answered, and Python at its end for threads of pools. Whatever is cut off
    by this was not committed, and is as if it had never been asked.
    """

    SECONDS = 6.0

    def __init__(self, finish: Callable[[], None]) -> None:
        self._finish = finish
        self._lock = threading.Lock()
        self._finished = False

    def begin(self) -> None:
        """This will let the time run. Called when the server begins to stop."""
        timer = threading.Timer(self.SECONDS, self._force)
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


def _serve(host: str, port: int, *, ready: Any, ending: _Ending) -> None:
    from twisted.internet import reactor

    # The interface that the stubs know is written without `self`.
    stopping: Any = reactor
    stopping.addSystemEventTrigger("before", "shutdown", ending.begin)
    server = Server(
        application=get_default_application(),
        endpoints=[f"tcp:port={port}:interface={host.replace(':', chr(92) + ':')}"],
        ready_callable=ready,
        # A client that does not read does not answer pings either, and is dropped soon.
        ping_interval=10,
        ping_timeout=15,
        server_name="orchestrator",
    )
    server.run()
    broadcasting.end_tasks(twisted_loop)
    broadcasting.end()


class _Life:
    """The threads beside the server. On an empty database the past is lived through first, then the present begins."""

    def __init__(self, *, versions: Mapping[str, int], traffic: bool) -> None:
        self._versions = versions
        self.began = False
        self._beginning = Worker(name="past", work=self._live_through_the_past)
        jobs = wiring.jobs()
        if traffic:
            jobs += [*_services(), Job(Traffic(now=timezone.now, versions=versions).worker)]
        self._traffic = traffic
        self._present = Crew(jobs)
        self._present_began = False

    def begin(self) -> None:
        """This will start the threads."""
        self.began = True
        if self._traffic:
            self._beginning.start()
        else:
            self._begin_the_present()

    def stop(self) -> list[str]:
        """This will end the threads, and name those that have not ended in time."""
        self._beginning.stop()
        if not self._beginning.join(10):
            return [self._beginning.name]
        return self._present.stop() if self._present_began else []

    def _live_through_the_past(self) -> None:
        if not WorkflowInstance.objects.exists():
            past = Past(now=timezone.now(), versions=self._versions, stopping=lambda: self._beginning.stopping)
            past.live_through()
            leave_marks(now=timezone.now())
        if not self._beginning.stopping:
            self._begin_the_present()
            self._beginning.stop()

    def _begin_the_present(self) -> None:
        self._present_began = True
        self._present.start()


def _services() -> list[Job]:
    if settings.BROKER_URL is None:
        services = Services(now=timezone.now)
        return [Job(services.worker, services.heard)]
    side = BrokerSide(open_bus=wiring.open_bus, inbound_queue=settings.INBOUND_QUEUE, now=timezone.now)
    return [Job(side.services.worker, side.services.heard), Job(side.worker, close=side.close)]


def _put_away() -> None:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            # The file alone is complete then, for whoever copies it.
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connections.close_all()
    for alias in connections:
        close_pool = getattr(connections[alias], "close_pool", None)
        if close_pool is not None:
            close_pool()


__all__ = ["Command", "twisted_loop"]
