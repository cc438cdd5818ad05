"""Makes an empty site ready for fault runs: tables and people. Prints the tokens of the people as JSON."""

from __future__ import annotations

import json
import os


def main() -> None:
    """Prepare the database that the environment names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
    import django

    django.setup()
    from django.core.management import call_command
    from django.utils import timezone

    from workflows.examples.installing import install_people

    call_command("migrate", verbosity=0, interactive=False)
    print(json.dumps(dict(install_people(at=timezone.now()))))


if __name__ == "__main__":
    main()
