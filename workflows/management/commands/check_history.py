"""Ask whether the history of every instance agrees with its rows."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workflows.runtime.replay import check_all
from workflows.subscriptions import checking


class Command(BaseCommand):
    """manage.py check_history"""

    help = "Fold the history of every instance and compare it with the rows. Exit code 1 when something disagrees."

    def handle(self, *args: Any, **options: Any) -> None:
        """This will print every disagreement."""
        instances = disagreeing = 0
        for instance, disagreements in check_all():
            instances += 1
            disagreeing += bool(disagreements)
            for disagreement in disagreements:
                self.stdout.write(f"{instance} {instance.pk}: {disagreement}")
        unsound = 0
        for subscription, disagreements in checking.check_all():
            unsound += bool(disagreements)
            for disagreement in disagreements:
                self.stdout.write(f"subscription {subscription.pk}: {disagreement}")
        if unsound:
            raise CommandError(f"{unsound} subscriptions disagree with their history.")
        if disagreeing:
            raise CommandError(f"{disagreeing} of {instances} instances disagree with their history.")
        self.stdout.write(f"{instances} instances agree with their history.")
