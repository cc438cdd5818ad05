"""How the site writes its log: one line per happening, quiet by default, JSON on request."""

from typing import Any

import structlog


def logging_config(*, level: str, form: str) -> dict[str, Any]:
    """Make the LOGGING setting. `form` is `json` for machines, anything else for people."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    ending: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if form == "json"
        # Plain: a fancier one prints the values of variables, and with them secrets.
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
                "foreign_pre_chain": shared,
            },
        },
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
            "daphne": {"level": "WARNING"},
            "asyncio": {"level": "WARNING"},
        },
    }
