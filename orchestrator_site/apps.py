"""Apps of others, loaded without what this site has no use for."""

from rest_framework.apps import RestFrameworkConfig

from orchestrator_site import lean

# First of all: it chooses Twisted's reactor, and that must happen before anybody uses one.
lean.load_daphne()

from daphne.apps import DaphneConfig  # noqa: E402


class Daphne(DaphneConfig):  # type: ignore[misc]
    """Daphne."""


class RestFramework(RestFrameworkConfig):
    """The REST framework."""

    def ready(self) -> None:
        """Load it."""
        lean.load_rest_framework()
        super().ready()
