"""Libraries that load more than this site has use for, loaded without it: a fifth of the memory of a web process.

Most look for other packages when they are imported, and can do without those that they do not find: Twisted for what
TLS takes (a proxy in front speaks it here), Autobahn for what WAMP takes, Channels' layer for what encrypts messages,
the REST framework for what draws browsable pages, for a client of tests (an installation for development has them), and
for kinds of fields that no model has.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Have modules not be found meanwhile, unless they are there already: Python takes None for "there is none"."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def load_daphne() -> None:
    """Load Daphne's server; chooses Twisted's reactor."""
    # The third makes haste with long texts from clients, of which there are none, and brings a parser of C.
    with without("OpenSSL", "cbor2", "_nvx_utf8validator", "click"):
        # Imported whether they are found or not: one brings `cryptography`, and both are for clients.
        load_when_used("autobahn.wamp.auth")
        load_when_used("hyperlink")
        import daphne.server  # noqa: F401


def load_rest_framework() -> None:
    """Load what of the REST framework looks for other packages."""
    with without("requests", "pygments", "yaml", "django.contrib.postgres"):
        import rest_framework.compat  # noqa: F401


def load_channel_layer() -> None:
    """Load Channels' layer for Redis, and the client library for it."""
    # The client measures itself with OpenTelemetry where that is installed; spans are our own affair.
    with without("cryptography.fernet", "opentelemetry"):
        import channels_redis.pubsub  # noqa: F401


def load_when_used(name: str) -> None:
    """Have a module that others import be loaded when something in it is first asked for."""
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    module.__class__ = _Later
    package, _, own = name.rpartition(".")
    if package:
        setattr(sys.modules[package], own, module)


class _Later(ModuleType):
    """A module that is not loaded yet: `importlib.util.LazyLoader` loads on `import`, this on the first name in it."""

    def __getattr__(self, name: str) -> Any:
        with _loading:
            spec = self.__spec__
            if self.__class__ is _Later and spec is not None and spec.loader is not None:
                self.__class__ = ModuleType  # type: ignore[assignment]
                spec.loader.exec_module(self)
        return getattr(self, name)


_loading = threading.RLock()
