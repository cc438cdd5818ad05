"""Limit a queue, or take its limits away."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workflows.runtime import limits


class Command(BaseCommand):
    """manage.py limit_queue QUEUE [--in-flight N] [--per-second R] [--by NAME] [--reason WHY], or QUEUE --remove"""

    help = "Say how much of a queue's work may be in flight, how many messages it gets a second, or both."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """This will take the queue and its limits."""
        parser.add_argument("queue")
        parser.add_argument("--in-flight", type=int, help="so many attempts at most are sent and not answered")
        parser.add_argument("--per-second", type=float, help="so many messages a second at most; 0.1: one in 10 s")
        parser.add_argument("--remove", action="store_true", help="take the limits away; what is in the line is sent")
        parser.add_argument("--by", default="manage.py", help="who does it (default: manage.py)")
        parser.add_argument("--reason", default="", help="why; it is kept")

    def handle(self, *args: Any, **options: Any) -> None:
        """This will set the limits, or say what is wrong with them."""
        queue, who = options["queue"], {"by": options["by"], "reason": options["reason"]}
        wanted = {"max_in_flight": options["in_flight"], "max_per_second": options["per_second"]}
        if options["remove"]:
            if any(value is not None for value in wanted.values()):
                raise CommandError("Either limits, or --remove.")
            if not limits.remove(queue, **who):
                raise CommandError(f"{queue} has no limits.")
            self.stdout.write(f"{queue} has no limits any more.")
            return
        try:
            limit = limits.put(queue, **wanted, **who)
        except limits.BadLimit as bad:
            raise CommandError(str(bad)) from bad
        self.stdout.write(f"Limited: {limit}")
