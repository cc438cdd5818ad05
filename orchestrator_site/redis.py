"""How the site uses Redis: for what may be lost. Without it pages are a little late, and each process counts alone."""

import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

logger = logging.getLogger("workflows.redis")

REST_SECONDS = 5.0
"""So long Redis is left alone after it has failed: a page must not wait for it again and again."""


def channel_layer(url: str, *, prefix: str) -> dict[str, Any]:
    """Make the CHANNEL_LAYERS entry: publish and subscribe, nothing is kept."""
    host: dict[str, Any] = {
        "address": url,
        # Unsized, the client library stops at 100 connections: a storm of page loads would fail half way.
        "max_connections": 1000,
        "socket_connect_timeout": 2,
        # Its own default tries again for many seconds, while everything else waits.
        "retry": AsyncRetry(ConstantBackoff(0.1), 1),
        # A server that is gone without a word is noticed: somebody speaks, and an answer is missed.
        "health_check_interval": 10,
    }
    if not url.startswith("unix:"):
        host |= {"socket_keepalive": True, "socket_keepalive_options": _noticing(10)}
    return {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [host], "prefix": prefix},
    }


def cache(url: str, *, prefix: str) -> dict[str, Any]:
    """Make the CACHES entry."""
    return {
        "BACKEND": "orchestrator_site.redis.RedisOrMemory",
        "LOCATION": url,
        "KEY_PREFIX": prefix,
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1, "retry": Retry(ConstantBackoff(0.05), 1)},
    }


def _noticing(seconds: int) -> dict[int, int]:
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    return {} if option is None else {option: seconds * 1000}


class RedisOrMemory(RedisCache):
    """Redis; while it does not answer, the memory of this process.

    What is in here counts wrong passwords. A Redis that is down must keep nobody out, and must let nobody try for ever.
    """

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._own = LocMemCache(f"beside {params.get('KEY_PREFIX')}", {**params, "OPTIONS": {}})
        self._alone_until = 0.0

    def _either(self, shared: Callable[..., Any], own: Callable[..., Any], *values: Any, **named: Any) -> Any:
        if time.monotonic() >= self._alone_until:
            try:
                return shared(*values, **named)
            except (RedisError, OSError) as error:
                self._alone_until = time.monotonic() + REST_SECONDS
                logger.warning("Redis does not answer; this process counts alone for a while (%r)", error)
        return own(*values, **named)

    def add(self, *values: Any, **named: Any) -> Any:
        """Set what is not there."""
        return self._either(super().add, self._own.add, *values, **named)

    def get(self, *values: Any, **named: Any) -> Any:
        """Read."""
        return self._either(super().get, self._own.get, *values, **named)

    def set(self, *values: Any, **named: Any) -> Any:
        """Write."""
        return self._either(super().set, self._own.set, *values, **named)

    def touch(self, *values: Any, **named: Any) -> Any:
        """Prolong."""
        return self._either(super().touch, self._own.touch, *values, **named)

    def delete(self, *values: Any, **named: Any) -> Any:
        """Remove."""
        return self._either(super().delete, self._own.delete, *values, **named)

    def get_many(self, *values: Any, **named: Any) -> Any:
        """Read several."""
        return self._either(super().get_many, self._own.get_many, *values, **named)

    def has_key(self, *values: Any, **named: Any) -> Any:
        """Tell whether it is there."""
        return self._either(super().has_key, self._own.has_key, *values, **named)

    def incr(self, *values: Any, **named: Any) -> Any:
        """Count up; raises ValueError where nothing is."""
        return self._either(super().incr, self._own.incr, *values, **named)

    def set_many(self, *values: Any, **named: Any) -> Any:
        """Write several."""
        return self._either(super().set_many, self._own.set_many, *values, **named)

    def delete_many(self, *values: Any, **named: Any) -> Any:
        """Remove several."""
        return self._either(super().delete_many, self._own.delete_many, *values, **named)

    def clear(self, *values: Any, **named: Any) -> Any:
        """Remove all."""
        return self._either(super().clear, self._own.clear, *values, **named)
