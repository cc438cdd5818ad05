"""How the environment's words become values."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"", "0", "false", "no", "off"}

# WAL lets readers go on while one writes. IMMEDIATE takes the write lock at the start: a transaction that reads first
# and writes later cannot be retried by SQLite, whatever the timeout. FULL keeps what was committed through a power cut.
_SQLITE_OPTIONS = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
    # Fewer, larger checkpoints: each one writes every changed page once, whatever its size.
    "PRAGMA wal_autocheckpoint=4000; PRAGMA cache_size=-16000;",
}


class BadEnvironment(ImproperlyConfigured):
    """A variable of the environment cannot be used. The text names it and says what it may hold."""


def flag(name: str, *, default: bool = False) -> bool:
    """Read a yes or no."""
    text = os.environ.get(name)
    if text is None:
        return default
    if text.strip().lower() in _TRUE:
        return True
    if text.strip().lower() in _FALSE:
        return False
    raise BadEnvironment(f"{name} is {text!r}. Set it to 1 or 0.")


def number(name: str, *, default: int, least: int = 0) -> int:
    """Read a whole number."""
    text = os.environ.get(name)
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise BadEnvironment(f"{name} is {text!r}. Set it to a whole number.") from None
    if value < least:
        raise BadEnvironment(f"{name} is {value}. The least that works is {least}.")
    return value


def words(name: str, *, default: str = "") -> list[str]:
    """Read a list separated by commas."""
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def text(name: str) -> str | None:
    """Read a text; an empty one counts as absent."""
    return os.environ.get(name) or None


def database(
    url: str, *, base_dir: Path, pool_size: int = 0, session: Mapping[str, int | str] | None = None
) -> dict[str, Any]:
    """Read a database address: `sqlite:///file`, `sqlite:////absolute/file` or `postgresql://user:password@host:port/name`.

    A socket folder is given as `postgresql://user@/name?host=/run/postgresql`. `session` are settings of
    PostgreSQL's sessions by name; what follows the `?` goes to the server too, and an `options` of its own replaces
    them.
    """
    parts = urlsplit(url)
    match parts.scheme:
        case "sqlite":
            return _sqlite(parts.path, base_dir=base_dir)
        case "postgresql" | "postgres":
            options: dict[str, Any] = dict(parse_qsl(parts.query))
            if session:
                options.setdefault("options", " ".join(f"-c {name}={value}" for name, value in session.items()))
            host = options.pop("host", None) or unquote(parts.hostname or "")
            return _postgresql(
                name=unquote(parts.path.lstrip("/")),
                user=unquote(parts.username or ""),
                password=unquote(parts.password or ""),
                host=host,
                port=parts.port,
                options=options,
                pool_size=pool_size,
            )
    raise BadEnvironment(
        f"DATABASE_URL starts with {parts.scheme + '://' if parts.scheme else 'no scheme'}. "
        "Use sqlite:///file or postgresql://user:password@host:port/name."
    )


def _sqlite(path: str, *, base_dir: Path) -> dict[str, Any]:
    name = unquote(path[1:])
    if not name:
        raise BadEnvironment("DATABASE_URL names no file. Use sqlite:///file, or sqlite:////absolute/file.")
    return {
        "ENGINE": "orchestrator_site.sqlite",
        "NAME": str(base_dir / name),
        "OPTIONS": dict(_SQLITE_OPTIONS),
    }


def _postgresql(
    *, name: str, user: str, password: str, host: str, port: int | None, options: Mapping[str, Any], pool_size: int
) -> dict[str, Any]:
    if not name:
        raise BadEnvironment("DATABASE_URL names no database. Use postgresql://user:password@host:port/name.")
    entry: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": user,
        "PASSWORD": password,
        "HOST": host,
        "PORT": str(port or ""),
        "OPTIONS": {"application_name": "orchestrator", "connect_timeout": "10", **options},
    }
    # After a restart of the server a kept connection is dead: ask before lending it.
    entry["CONN_HEALTH_CHECKS"] = True
    if pool_size:
        # A pool and persistent connections exclude each other: CONN_MAX_AGE stays 0.
        entry["OPTIONS"]["pool"] = {"min_size": 1, "max_size": pool_size, "timeout": 20}
    else:
        entry["CONN_MAX_AGE"] = 60
    return entry
