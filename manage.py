#!/usr/bin/env python3
"""The command line of the site."""

import os
import sys

_SERVERS = {"run_worker", "runserver", "serve", "examples"}


def main(arguments: list[str]) -> None:
    """Run the administrative command that the arguments name."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
    command = arguments[1] if len(arguments) > 1 else ""
    if command == "cluster":
        # It starts the others with the settings that it chooses, and has none itself.
        from orchestrator_site.cluster import main as run_cluster

        raise SystemExit(run_cluster(arguments[2:]))
    if command == "demo":
        _prepare_demo(arguments[2:])
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        raise SystemExit(
            "Django is not installed for this Python. Start with ./run demo, or use .venv/bin/python manage.py."
        ) from error
    if command in _SERVERS:
        from orchestrator_site.security import require_secret_key

        require_secret_key()
    execute_from_command_line(arguments)


def _prepare_demo(options: list[str]) -> None:
    # The settings are read before the command is, and they depend on these two.
    os.environ["ORCHESTRATOR_DEMO"] = "1"
    for position, option in enumerate(options):
        if option == "--data-dir" and position + 1 < len(options):
            os.environ["DATA_DIR"] = os.path.abspath(options[position + 1])
        elif option.startswith("--data-dir="):
            os.environ["DATA_DIR"] = os.path.abspath(option.partition("=")[2])


if __name__ == "__main__":
    main(sys.argv)
