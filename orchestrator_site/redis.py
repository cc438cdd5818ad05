"""How the site uses Redis: for what may be lost. Without it pages are a little late, and each process counts alone."""

import socket
from typing import Any

from orchestrator_site import lean, redis_sending


def channel_layer(url: str, *, prefix: str, only_sends: bool = False) -> dict[str, Any]:
    """Make the CHANNEL_LAYERS entry: publish and subscribe, nothing is kept. A process without pages only sends."""
    if only_sends and redis_sending.is_plain(url):
        return {
            "BACKEND": "orchestrator_site.redis_sending.SendingLayer",
            "CONFIG": {"url": url, "prefix": prefix},
        }
    # Not at the top: a worker, which only sends, would carry 7 MB of it for nothing.
    lean.load_channel_layer()
    from redis.asyncio.retry import Retry
    from redis.backoff import ConstantBackoff

    host: dict[str, Any] = {
        "address": url,
        # Unsized, the client library stops at 100 connections: a storm of page loads would fail half way.
        "max_connections": 1000,
        "socket_connect_timeout": 2,
        # Its own default tries again for many seconds, while everything else waits.
        "retry": Retry(ConstantBackoff(0.1), 1),
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
    """Make the CACHES entry. The library is loaded by whoever uses the cache."""
    return {
        "BACKEND": "orchestrator_site.redis_cache.RedisOrMemory",
        "LOCATION": url,
        "KEY_PREFIX": prefix,
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1},
    }


def _noticing(seconds: int) -> dict[int, int]:
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    return {} if option is None else {option: seconds * 1000}
