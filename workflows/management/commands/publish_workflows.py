"""Publish the workflows that are written in Python."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workflows.definitions.problems import InvalidTemplate
from workflows.runtime.publishing import check_template, publish_template
from workflows.steps.flows import discover


class Command(BaseCommand):
    """manage.py publish_workflows [NAME …] [--by USER] [--check]"""

    help = (
        "Publish the workflows of the `flows` modules of the installed apps and of STEP_MODULES, each as a new version"
        " if it has changed. Run it with each deployment."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """This will take names, who publishes, and whether to look only."""
        parser.add_argument("names", nargs="*", help="dotted names; by default all")
        parser.add_argument("--by", default="command line", help="who publishes them")
        parser.add_argument("--check", action="store_true", help="only look for problems; store nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """This will publish all, or say everything that is wrong and publish none."""
        found = discover()
        if unknown := sorted(set(options["names"]) - found.keys()):
            raise CommandError(
                f"There is no workflow named {', '.join(unknown)}. There are: {', '.join(sorted(found))}."
            )
        chosen = [found[name] for name in options["names"] or sorted(found)]
        problems: list[str] = []
        for one in chosen:
            try:
                for warning in check_template(dict(one.template)):
                    self.stderr.write(f"Warning: {one.name}: {warning['pointer']}: {warning['message']}")
            except InvalidTemplate as error:
                problems += [f"{one.name}: {found.pointer or '/'}: {found.message}" for found in error.problems]
        if problems:
            raise CommandError("\n".join(problems))
        for one in chosen:
            if options["check"]:
                self.stdout.write(f"Correct: {one.name}")
                continue
            published = publish_template(dict(one.template), by=options["by"])
            self.stdout.write(f"{'Published' if published.created else 'Unchanged'}: {published.template}")
        if not chosen:
            self.stdout.write("There are no workflows in Python.")
