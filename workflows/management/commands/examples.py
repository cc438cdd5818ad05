"""Put the examples in and, if wanted, keep them moving. Any number of other processes serve and work meanwhile."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils import timezone

from workflows.examples import installing
from workflows.examples.life import Life
from workflows.live import broadcasting


class Command(BaseCommand):
    """manage.py examples [--address URL] [--traffic]"""

    help = "Install example templates, people and tokens, and print how to get in. Not for production."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """This will take where the site is, and whether to live."""
        parser.add_argument("--address", default="http://127.0.0.1:8000", help="where the site is served")
        parser.add_argument("--traffic", action="store_true", help="simulate services and people until told to stop")

    def handle(self, *args: Any, **options: Any) -> None:
        """This will install, and live."""
        now = timezone.now()
        # People first: publishing warns of groups that do not exist.
        tokens = installing.install_people(at=now)
        versions = installing.install_templates(at=now)
        installing.install_plugins(at=now)
        self._say("\n".join(installing.told(tokens, address=options["address"])))
        if options["traffic"]:
            stop = threading.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
            life = Life(jobs=[], versions=versions)
            life.begin()
            stop.wait()
            late = life.stop()
            if late:
                raise CommandError(f"Did not end in time: {', '.join(late)}.")
        broadcasting.end()
        connections.close_all()

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
