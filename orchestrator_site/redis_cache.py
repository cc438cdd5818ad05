"""The cache in Redis, which does without it while it is away."""

import logging
import time
from collections.abc import Callable
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

logger = logging.getLogger("workflows.redis")

REST_SECONDS = 5.0
"""So long Redis is left alone after it has failed: a page must not wait for it again and again."""


class RedisOrMemory(RedisCache):
    """Redis; while it does not answer, the memory of this process.

    What is in here counts wrong passwords. A Redis that is down must keep nobody out, and must let nobody try for ever.
    """

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        # Its own default tries again for many seconds, while a page waits.
        options = {"retry": Retry(ConstantBackoff(0.05), 1), **params.get("OPTIONS", {})}
        super().__init__(server, {**params, "OPTIONS": options})
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
