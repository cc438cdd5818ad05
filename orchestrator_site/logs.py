"""How the site writes its log: one line per happening, quiet by default, JSON on request."""

import logging
import time
from typing import Any

from orchestrator_site.lean import without


class Line(logging.Formatter):
    """Writes one happening as one line. `form` is `json` for machines, anything else for people."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self._form = form
        self._formatter: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        """This will give the line."""
        if self._formatter is None:
            self._formatter = _formatter(self._form)
        return self._formatter.format(record)


class Seldom(logging.Filter):
    """Lets one record a minute through, without its traceback: for a library that repeats itself."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether it is time for one."""
        if record.levelno < logging.WARNING:
            return True
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + 60
        if record.exc_info and record.exc_info[1] is not None:
            record.msg, record.args = "%s (%r)", (record.getMessage(), record.exc_info[1])
            record.exc_info = None
        return True


def logging_config(*, level: str, form: str) -> dict[str, Any]:
    """Make the LOGGING setting. `form` is `json` for machines, anything else for people."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "orchestrator_site.logs.Line", "form": form}},
        "filters": {"seldom": {"()": "orchestrator_site.logs.Seldom"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Ours say what a person in charge wants to know, whatever the libraries are set to.
            "workflows": {"level": level, "propagate": True},
            # Django brings handlers of its own for these; one line per happening is enough.
            "django": {"handlers": [], "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
            # 4xx answers are the caller's affair and are counted, not logged one by one.
            "django.request": {"handlers": [], "level": "ERROR", "propagate": True},
            # A stranger who tries host names is answered with 400; a traceback for each would drown the rest.
            "django.security.DisallowedHost": {"handlers": [], "propagate": False},
            # It says the same, with a traceback, every second for as long as Redis is away.
            "channels_redis.pubsub": {"filters": ["seldom"]},
            "daphne": {"level": "WARNING"},
            "asyncio": {"level": "WARNING"},
        },
    }


def _formatter(form: str) -> logging.Formatter:
    structlog = _structlog()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    ending: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if form == "json"
        # Plain: a fancier one prints the values of variables, and with them secrets.
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    return structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending], foreign_pre_chain=shared
    )


def _structlog() -> Any:
    # Not before the first line, and without what it would bring along for features that nobody uses here: memory for
    # which a worker has no use.
    with without("greenlet", "rich", "twisted"):
        import structlog
    return structlog
