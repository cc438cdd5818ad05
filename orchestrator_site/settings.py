"""The settings of the site, all of them, from the environment.

Importing this module asks no server and needs no secret, so that the type checker and the migrations can.
A server that starts without SECRET_KEY is refused by its entry point: see `security.require_secret_key`.
"""

import os
import sys
from logging.config import dictConfig
from pathlib import Path
from typing import Any

from orchestrator_site import environment
from orchestrator_site.logs import logging_config
from orchestrator_site.security import demo_secret_key
from workflows.conf import USUALLY_MASKED

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = BASE_DIR / os.environ.get("DATA_DIR", "var")

# The demo is this same site with the comforts of one machine. `manage.py demo` sets the variable.
DEMO = environment.flag("ORCHESTRATOR_DEMO")
DEBUG = environment.flag("DEBUG")

# --- Who may talk to us ------------------------------------------------------------------------------------------

# Empty means: not set. Django then refuses whatever needs it, the servers refuse to start.
SECRET_KEY = os.environ.get("SECRET_KEY", "") or (demo_secret_key(data_dir=DATA_DIR) if DEMO else "")
SECRET_KEY_FALLBACKS = environment.words("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = environment.words("ALLOWED_HOSTS", default="localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = environment.words("CSRF_TRUSTED_ORIGINS")

LOGIN_URL = "/signin/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/signin/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# HTTPS=1 where people reach the site through TLS. Off by default, else a first start on plain http would answer
# nothing but redirects to a port that nobody serves.
HTTPS = environment.flag("HTTPS")
# The prefix makes browsers insist on what we promise: secure, this host only, every path.
SESSION_COOKIE_NAME = "__Host-orchestrator_session" if HTTPS else "orchestrator_session"
SESSION_COOKIE_AGE = 12 * 60 * 60
SESSION_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "__Host-orchestrator_csrf" if HTTPS else "orchestrator_csrf"
CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = HTTPS
# Monitors ask from inside, past the proxy that speaks TLS.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = environment.number("HSTS_SECONDS", default=31_536_000 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Only behind a proxy that always overwrites X-Forwarded-Proto: anybody can send that header.
TRUST_PROXY_HEADERS = environment.flag("TRUST_PROXY_HEADERS")
if TRUST_PROXY_HEADERS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- What it is made of ------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "orchestrator_site.apps.Daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "orchestrator_site.apps.RestFramework",
    "drf_spectacular",
    "django_htmx",
    "workflows",
    "tasks_ui",
]
# It serves no pages: what is only for them would be most of its memory.
WORKER = sys.argv[1:2] == ["run_worker"]
if WORKER:
    INSTALLED_APPS = ["orchestrator_site.worker_apps.Auth", "orchestrator_site.worker_apps.ContentTypes", "workflows"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "orchestrator_site.security.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "orchestrator_site.urls"
ASGI_APPLICATION = "orchestrator_site.asgi.application"
WSGI_APPLICATION = "orchestrator_site.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Where things are kept ---------------------------------------------------------------------------------------

DATABASE_URL = environment.text("DATABASE_URL")
if DATABASE_URL is None:
    DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
# No ATOMIC_REQUESTS: with IMMEDIATE each page would take the write lock. The door opens its own transactions.
DATABASES = {
    "default": environment.database(
        DATABASE_URL or f"sqlite:///{DATA_DIR / 'orchestrator.sqlite3'}",
        base_dir=BASE_DIR,
        pool_size=environment.number("DATABASE_POOL_SIZE", default=20),
        # A session that is stuck with a lock costs the others an error that they survive, not their lives.
        # A migration may take its time.
        session={}
        if "migrate" in sys.argv
        else {
            # The door's statements are prepared and simple: planning them again each time costs more than they do.
            "plan_cache_mode": "force_generic_plan",
            # As on a disk without a head. A plan is kept for as long as the tables' statistics: at the default of 4 the
            # plans of a young database read its small tables from end to end, and still do so when they have grown.
            "random_page_cost": "1.1",
            "jit": "off",
            "lock_timeout": environment.number("DATABASE_LOCK_TIMEOUT_MS", default=10_000),
            "statement_timeout": environment.number("DATABASE_STATEMENT_TIMEOUT_MS", default=30_000),
            "idle_in_transaction_session_timeout": environment.number("DATABASE_IDLE_TIMEOUT_MS", default=60_000),
        },
    ),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# None = the embedded queue, in the database.
BROKER_URL = environment.text("BROKER_URL")
INBOUND_QUEUE = os.environ.get("INBOUND_QUEUE", "workflow_manager")
# What new queues are: `quorum` where RabbitMQ has them, or `classic`. A queue that exists stays as it is.
QUEUE_KIND = os.environ.get("QUEUE_KIND", "quorum")

# Modules whose in-process steps this site may run, by dotted name.
STEP_MODULES = [
    *environment.words("STEP_MODULES"),
    *(["workflows.examples.flows", "workflows.examples.nodes"] if DEMO else []),
]
STEP_OBSERVERS = environment.words("STEP_OBSERVERS")
STEP_OUTPUT_BYTES = environment.number("STEP_OUTPUT_BYTES", default=262_144)
# How others reach this site, for the addresses that it gives away: https://flows.example.org
PUBLIC_URL = os.environ.get("PUBLIC_URL", "")
# Hosts that plugins may name to be called; none listed: all but this machine and its link. See runtime/addresses.
PLUGIN_HOSTS = environment.words("PLUGIN_HOSTS")
PLUGIN_CALL_SECONDS = environment.number("PLUGIN_CALL_SECONDS", default=30, least=1)

# None = in this process only.
REDIS_URL = environment.text("REDIS_URL")
REDIS_PREFIX = os.environ.get("REDIS_PREFIX", "orchestrator")
CHANNEL_LAYERS: dict[str, dict[str, Any]]
# Counts wrong passwords; shared where there is something to share it through.
CACHES: dict[str, dict[str, Any]]
if REDIS_URL:
    from orchestrator_site import redis

    CHANNEL_LAYERS = {"default": redis.channel_layer(REDIS_URL, prefix=REDIS_PREFIX, only_sends=WORKER)}
    CACHES = {"default": redis.cache(REDIS_URL, prefix=REDIS_PREFIX)}
else:
    # The default capacity of 100 loses frames in a burst.
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1000}}}
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
_static_root = DATA_DIR / "staticfiles"
# The demo serves the files from where they are. Elsewhere `manage.py collectstatic` makes compressed files whose names
# carry their hash; until it has been run, the files are served from where they are as well.
STATIC_MANIFEST = not DEMO and ("collectstatic" in sys.argv or (_static_root / "staticfiles.json").exists())
# None where nothing has been collected, else the file server warns of a folder that is not there.
STATIC_ROOT = _static_root if STATIC_MANIFEST else None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if STATIC_MANIFEST
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not STATIC_MANIFEST
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_ALLOW_ALL_ORIGINS = False
# A browser keeps what has no hash in its name for a minute only: an upgrade is seen at once.
WHITENOISE_MAX_AGE = 60

# --- How it speaks -----------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True

LOG_LEVEL = os.environ.get("LOG_LEVEL", "WARNING").upper()
LOG_FORMAT = os.environ.get("LOG_FORMAT", "text")
LOGGING = logging_config(level=LOG_LEVEL, form=LOG_FORMAT)
if WORKER:
    # As Django does it, but without first making its own handlers, all of which ours replace: the one that would write
    # mails loads the pages of errors, and they the templates.
    LOGGING_CONFIG = None
    dictConfig(LOGGING)

# A worker counts only where somebody may ask it (`--port`): counting takes a library that nothing else there needs.
METRICS = not WORKER

# Keys whose values nobody is shown; named here, they come on top of the usual ones.
MASKED_KEYS = [*USUALLY_MASKED, *environment.words("MASKED_KEYS")]
# Spans of OpenTelemetry; where they go is said in the variables that all programs of OpenTelemetry know (OTEL_…).
TELEMETRY = environment.flag("TELEMETRY")

# --- Limits ------------------------------------------------------------------------------------------------------

MAX_BODY_BYTES = environment.number("MAX_BODY_BYTES", default=1024 * 1024, least=1024)
MAX_JSON_DEPTH = environment.number("MAX_JSON_DEPTH", default=64, least=8)
MAX_BATCH_EVENTS = environment.number("MAX_BATCH_EVENTS", default=1000, least=1)
MAX_PAGE = environment.number("MAX_PAGE", default=200, least=1)
PAGE = environment.number("PAGE", default=50, least=1)
COUNT_CAP = environment.number("COUNT_CAP", default=2_000, least=1)
IDEMPOTENCY_HOURS = environment.number("IDEMPOTENCY_HOURS", default=24, least=1)
HANDLE_BATCH = environment.number("HANDLE_BATCH", default=100, least=1)
SNAPSHOT_CACHE_TASKS = environment.number("SNAPSHOT_CACHE_TASKS", default=50_000, least=1)
# Django's own limits, kept in step.
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000

# --- The API -----------------------------------------------------------------------------------------------------

REST_FRAMEWORK: dict[str, Any] = {
    # The token comes first: the first one decides whether a stranger sees 401 or 403.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "workflows.api.authentication.BearerAuthentication",
        "workflows.api.authentication.SessionAuthentication",
    ],
    # Whoever writes a view says who may use it. The views of the API ask the table in `workflows.api.permissions`.
    "DEFAULT_PERMISSION_CLASSES": ["workflows.api.permissions.DenyAll"],
    "DEFAULT_PARSER_CLASSES": ["workflows.api.bodies.StrictJsonParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "workflows.api.description.CallSchema",
    "EXCEPTION_HANDLER": "workflows.api.base.framework_exception",
    "URL_FORMAT_OVERRIDE": None,
    "FORMAT_SUFFIX_KWARG": None,
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Workflow Orchestrator",
    "DESCRIPTION": "Start workflows, report results, act on what needs someone, and do people's tasks.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": "/api/v1/",
}
