"""Plugins of activities: register, list, deregister."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workflows.activities.plugin import InvalidPlugin, delivery_of
from workflows.definitions import strict_json
from workflows.definitions.strict_json import InvalidJson
from workflows.runtime import activities
from workflows.runtime.registering import NotRegistered, deregister, register

_BY = "manage.py"


class Command(BaseCommand):
    """manage.py plugins add ACTIVITY FILE | list [ACTIVITY] | remove ACTIVITY NAME"""

    help = "Register plugins for activities, list them, deregister them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """This will take what to do."""
        doing = parser.add_subparsers(dest="doing", required=True)
        add = doing.add_parser("add", help="register a plugin, or change the one of its name")
        add.add_argument("activity")
        add.add_argument("file", help="a JSON file, or - for the standard input")
        add.add_argument("--reason", default="", help="why; it is kept in the history")
        listing = doing.add_parser("list", help="list what is registered, in the order in which it runs")
        listing.add_argument("activity", nargs="?")
        remove = doing.add_parser("remove", help="deregister a plugin; who expects it already still waits for it")
        remove.add_argument("activity")
        remove.add_argument("name")
        remove.add_argument("--reason", default="", help="why; it is kept in the history")

    def handle(self, *args: Any, **options: Any) -> None:
        """This will do it, or say everything that is wrong."""
        {"add": self._add, "list": self._list, "remove": self._remove}[options["doing"]](options)

    def _add(self, options: Mapping[str, Any]) -> None:
        try:
            raw = sys.stdin.buffer.read() if options["file"] == "-" else Path(options["file"]).read_bytes()
            said = strict_json.parse(raw)
            done = register(options["activity"], said, by=_BY, reason=options["reason"])
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}") from error
        except InvalidJson as error:
            raise CommandError(error.message) from error
        except InvalidPlugin as error:
            problems = [f"{problem.pointer or '/'}: {problem.message} ({problem.code})" for problem in error.problems]
            raise CommandError("\n".join(problems)) from error
        self.stdout.write(f"{done.became.capitalize()}: {options['activity']}/{done.plugin.name}")

    def _list(self, options: Mapping[str, Any]) -> None:
        for name in [options["activity"]] if options["activity"] else activities.names():
            for row in activities.plugins_of(name):
                said = row.said
                way = delivery_of(said)
                kind = "mandatory" if said["mandatory"] else "optional"
                self.stdout.write(f"{name}\t{said['phase']}\t{row.name}\t{kind}\t{way}: {said[way]}")

    def _remove(self, options: Mapping[str, Any]) -> None:
        try:
            deregister(options["activity"], options["name"], by=_BY, reason=options["reason"])
        except NotRegistered as error:
            raise CommandError(f"No plugin {options['name']} is registered for {options['activity']}.") from error
        self.stdout.write(f"Deregistered: {options['activity']}/{options['name']}")
