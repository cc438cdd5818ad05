"""Do what the site does by itself, beside the servers: send messages, fire deadlines, take events from the broker."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from workflows import wiring
from workflows.conf import settings
from workflows.live import broadcasting


class Command(BaseCommand):
    """manage.py run_worker [--only relay,clock,inbound]"""

    requires_system_checks = ()
    help = "Run the background jobs of the site. Several processes share the work."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """This will take which jobs to do."""
        parser.add_argument("--only", help=f"jobs separated by commas, of: {', '.join(wiring.JOBS)} (default: all)")

    def handle(self, *args: Any, **options: Any) -> None:
        """This will work until it is told to stop."""
        only = None
        if options["only"] is not None:
            only = [name.strip() for name in options["only"].split(",") if name.strip()]
            unknown = [name for name in only if name not in wiring.JOBS]
            if unknown or not only:
                raise CommandError(f"--only takes {', '.join(wiring.JOBS)}, not {', '.join(unknown) or 'nothing'}.")
            if "inbound" in only and settings.BROKER_URL is None:
                raise CommandError("There is no broker to take events from. Set BROKER_URL, or leave inbound out.")
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        wiring.connect()
        crew = wiring.Crew(wiring.jobs(only))
        crew.start()
        self.stdout.write(f"Working: {', '.join(job.worker.name for job in crew.jobs)}. Stop with Ctrl-C.")
        self.stdout.flush()
        stop.wait()
        late = crew.stop()
        broadcasting.end()
        connections.close_all()
        if late:
            raise CommandError(f"Did not end in time: {', '.join(late)}.")
