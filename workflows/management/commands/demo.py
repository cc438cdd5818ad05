"""Serve everything in one process, with examples: pages, API, live updates, workers, simulated services and people."""

from __future__ import annotations

# First of all: it chooses Twisted's reactor when it is imported, and that must happen before anybody uses one.
from workflows.management import serving  # isort: skip

import signal
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils import timezone

from workflows import wiring
from workflows.examples import installing
from workflows.examples.life import Life


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
        # While nobody serves yet, ending is just that. Later the server takes both signals over.
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
        installing.install_plugins(at=now)
        connections.close_all()
        wiring.connect()
        life = Life(jobs=wiring.jobs(), versions=versions, traffic=not options["no_traffic"])
        try:
            serving.serve(
                host=host,
                port=port,
                ready=lambda: self._ready(host, port, tokens, life),
                finish=lambda: self._finish(life),
            )
        except serving.PortTaken as taken:
            raise CommandError(str(taken)) from None

    def _finish(self, life: Life) -> None:
        late = life.stop()
        serving.put_away()
        if late:
            self.stderr.write(f"Did not end in time: {', '.join(late)}. What they held is taken up at the next start.")
        self._say("Stopped.")

    def _ready(self, host: str, port: int, tokens: Mapping[str, str], life: Life) -> None:
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        lines = installing.told(tokens, address=address)
        lines += ["", f"API: {address}/api/v1/docs/   Stop with Ctrl-C.", f"Ready: {address}/"]
        self._say("\n".join(lines))
        life.begin()

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
