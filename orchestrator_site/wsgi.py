"""The site for a WSGI server: pages and API, without live updates."""

import os

from django.core.wsgi import get_wsgi_application

from orchestrator_site.security import require_secret_key

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator_site.settings")
require_secret_key()
application = get_wsgi_application()
