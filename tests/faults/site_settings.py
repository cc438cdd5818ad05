"""The site's own settings, with failpoints allowed: what processes of a fault run are started with."""

from orchestrator_site.settings import *  # noqa: F403

FAILPOINTS = True
