"""Fill in the search fields of instances that are older than their keeping."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workflows.runtime import refilling


class Command(BaseCommand):
    """manage.py fill_search_fields [--chunk N]"""

    help = "Write the search fields that instances of older templates lack. May run beside everything, and be repeated."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """This will take how many instances are locked at once."""
        parser.add_argument("--chunk", type=int, default=refilling.CHUNK, help=f"default: {refilling.CHUNK}")

    def handle(self, *args: Any, **options: Any) -> None:
        """This will fill, and say how far it is."""
        if not 1 <= options["chunk"] <= 5_000:
            raise CommandError("--chunk takes 1 to 5,000.")
        instances = rows = 0
        for done in refilling.fill(chunk=options["chunk"]):
            instances, rows = instances + done.instances, rows + done.rows
            if options["verbosity"] > 1:
                self.stdout.write(f"{done.template}: up to {done.last}, {rows} rows so far")
        self.stdout.write(f"{instances} instances have search fields; {rows} rows were missing and are written.")
