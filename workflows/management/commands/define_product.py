"""Define a product from a file."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workflows.definitions import strict_json
from workflows.definitions.strict_json import InvalidJson
from workflows.subscriptions.products import InvalidProduct, define_product, problems_of


class Command(BaseCommand):
    """manage.py define_product FILE"""

    help = "Define the product in a JSON file (- for the standard input), or change the one of that name."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """This will take the file."""
        parser.add_argument("file", help="a JSON file, or - for the standard input")

    def handle(self, *args: Any, **options: Any) -> None:
        """This will define it, or say everything that is wrong."""
        try:
            raw = sys.stdin.buffer.read() if options["file"] == "-" else Path(options["file"]).read_bytes()
            value = strict_json.parse(raw)
            if not isinstance(value, dict):
                raise CommandError("A product is an object.")
            if faults := list(problems_of(value)):
                raise InvalidProduct(faults)
            product = define_product(**value)
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}") from error
        except InvalidJson as error:
            raise CommandError(error.message) from error
        except InvalidProduct as error:
            problems = [f"{problem.pointer or '/'}: {problem.message} ({problem.code})" for problem in error.problems]
            raise CommandError("\n".join(problems)) from error
        self.stdout.write(f"Defined: {product}")
