"""The workflows app."""

import os

from django.apps import AppConfig


class WorkflowsConfig(AppConfig):
    """Register the models and connect the listeners; nothing is started here, threads belong to the commands."""

    name = "workflows"
    label = "workflows"
    verbose_name = "Workflows"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """This will have every process tell of its commits, whichever command or server it is."""
        # Only now: what is wired together imports the models.
        from workflows import failpoints, wiring
        from workflows.conf import settings

        failpoints.arm(os.environ.get("FAILPOINTS"), allowed=settings.FAILPOINTS)
        wiring.connect()
