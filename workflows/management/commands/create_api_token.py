"""Make a bearer token for a user; nothing but the token is printed."""

from __future__ import annotations

import datetime as dt
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from workflows.runtime import tokens


class Command(BaseCommand):
    """manage.py create_api_token USER [--scope read] [--name "the kitchen"] [--expires-in-days 90]"""

    help = "Print a new API token of a user. It is shown this once: only its digest is stored."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """This will take the user name and what the token is limited to."""
        parser.add_argument("user", help="the user name")
        parser.add_argument(
            "--scope",
            action="append",
            default=[],
            choices=[str(scope) for scope in tokens.Scope],
            help="limit the token to this; may be given several times (default: all that the user may do)",
        )
        parser.add_argument("--name", default="", help="what the token is for")
        parser.add_argument("--expires-in-days", type=int, help="after how many days it stops working (default: never)")

    def handle(self, *args: Any, **options: Any) -> None:
        """This will print the token and nothing else."""
        users = get_user_model().objects
        user = users.filter(**{get_user_model().USERNAME_FIELD: options["user"]}).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']!r}.")
        if not user.is_active:
            raise CommandError(f"{options['user']!r} is not active, so a token would open nothing.")
        days = options["expires_in_days"]
        if days is not None and not 1 <= days <= 36_500:
            raise CommandError("--expires-in-days takes 1 to 36500.")
        now = timezone.now()
        self.stdout.write(
            tokens.issue(
                user,
                at=now,
                scopes=[tokens.Scope(scope) for scope in options["scope"]],
                name=options["name"][:100],
                expires_at=now + dt.timedelta(days=days) if days else None,
            )
        )
