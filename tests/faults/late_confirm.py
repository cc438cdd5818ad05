"""A duel with a broker: its confirm for one message comes while the next one waits for its own."""

from __future__ import annotations

import threading
import uuid
from typing import Any
from urllib.parse import urlsplit

import amqp
from django.conf import settings

from tests.proxy import Proxy
from workflows.messaging.adapters import amqp_sending
from workflows.messaging.port import BusDown, Outgoing
from workflows.wiring import open_bus


def late_confirm(broker: str) -> list[str]:
    """The broker's confirm for one message comes when the next one waits for its own (M10)."""
    parts = urlsplit(broker)
    free, full = (f"duel-{uuid.uuid4().hex}" for _ in range(2))
    direct = amqp.Connection(
        host=f"{parts.hostname}:{parts.port or 5672}", userid=parts.username, password=parts.password,
        virtual_host=parts.path[1:] or "/",
    )  # fmt: skip
    direct.connect()
    channel = direct.channel()
    channel.queue_declare(free, durable=True, auto_delete=False)
    channel.queue_declare(full, durable=True, auto_delete=False,
                          arguments={"x-max-length": 1, "x-overflow": "reject-publish"})  # fmt: skip
    problems: list[str] = []
    try:
        with Proxy((parts.hostname or "127.0.0.1", parts.port or 5672)) as proxy:
            settings.BROKER_URL = parts._replace(
                netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"
            ).geturl()
            bus = open_bus()
            if not _published(bus, Outgoing("1", full, b"{}")):
                problems.append("the queue took nothing")
            amqp_sending.CONFIRM_SECONDS = 1.0
            proxy.hold("down")
            if _published(bus, Outgoing("2", free, b"{}")):
                problems.append("a message without a confirm was called sent")
            amqp_sending.CONFIRM_SECONDS = 8.0
            # What was held flows while the next one waits for its own confirm.
            timer = threading.Timer(0.2, proxy.heal)
            timer.start()
            if _published(bus, Outgoing("3", full, b"{}")):
                problems.append("a message that the broker refused was called sent")
            timer.join()
            bus.close()
    finally:
        channel.queue_delete(free)
        channel.queue_delete(full)
        direct.close()
    return problems


def _published(bus: Any, message: Any) -> bool:
    try:
        return bool(bus.publish([message]) == [None])
    except BusDown:
        return False
