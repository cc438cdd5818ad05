"""Publish a template from a file."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workflows.definitions import strict_json
from workflows.definitions.problems import InvalidTemplate
from workflows.definitions.strict_json import InvalidJson
from workflows.runtime.publishing import check_template, publish_template


class Command(BaseCommand):
    """manage.py publish_template FILE [--by USER] [--check]"""

    help = "Publish the template in a JSON file (- for the standard input). Problems are all told at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """This will take the file, who publishes, and whether to look only."""
        parser.add_argument("file", help="a JSON file, or - for the standard input")
        parser.add_argument("--by", default="command line", help="who publishes it")
        parser.add_argument("--check", action="store_true", help="only look for problems; store nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """This will publish, or say everything that is wrong."""
        try:
            raw = sys.stdin.buffer.read() if options["file"] == "-" else Path(options["file"]).read_bytes()
            value = strict_json.parse(raw)
            if options["check"]:
                warnings = check_template(value)
                said = "The template is correct."
            else:
                published = publish_template(value, by=options["by"])
                template, warnings = published.template, published.warnings
                said = f"{'Published' if published.created else 'Was there already'}: {template}"
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}") from error
        except InvalidJson as error:
            raise CommandError(error.message) from error
        except InvalidTemplate as error:
            problems = [f"{problem.pointer or '/'}: {problem.message} ({problem.code})" for problem in error.problems]
            raise CommandError("\n".join(problems)) from error
        for warning in warnings:
            self.stderr.write(f"Warning: {warning['pointer']}: {warning['message']} ({warning['code']})")
        self.stdout.write(said)
