"""Make this process one of the site's. Imported before anything of the product."""

import os

import django
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
django.setup()

__all__ = ["settings"]
