"""Serve pages, API and websockets: one web process of a site. Ended, it first answers what it has begun to answer."""

from __future__ import annotations

# First of all: it chooses Twisted's reactor when it is imported, and that must happen before anybody uses one.
from workflows.management import serving  # isort: skip

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """manage.py serve [--port N] [--host ADDRESS]"""

    help = "Serve pages, API and websockets. Any number of these processes share one database, broker and Redis."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """This will take where to listen."""
        parser.add_argument("--port", type=int, default=8000, help="default: 8000")
        parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1; 0.0.0.0 in a container")

    def handle(self, *args: Any, **options: Any) -> None:
        """This will serve until it is told to stop."""
        host, port = options["host"], options["port"]
        if not 0 <= port <= 65_535:
            raise CommandError("--port takes 0 to 65535.")
        try:
            ready = f"Serving {host}:{port}."
            serving.serve(host=host, port=port, ready=lambda: self._say(ready), finish=serving.put_away)
        except serving.PortTaken as taken:
            raise CommandError(str(taken)) from None
        self._say("Stopped.")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
