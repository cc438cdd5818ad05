"""One websocket: reads frames, refuses bad ones, sends what the hub hands over.

Closing codes: 1000 the client left; 4400 three bad frames; 4401 not signed in, or no longer; 4403 the person's rights
have changed (come back and subscribe anew); 4408 a frame was too large; 4429 too many frames; 4503 the database does
not answer (come back later).
A browser shows a code only of a connection that was accepted: whoever is not signed in is accepted, told, and closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from typing import Any

from django.db import DatabaseError

from workflows.definitions import strict_json
from workflows.definitions.strict_json import InvalidJson
from workflows.live import standing
from workflows.live.clients import Client, Send
from workflows.live.groups import Kind, NoSuchInstance, Topic, UnknownTopic, topic_of
from workflows.live.hub import SIGNED_OUT, Hub, hub, not_found
from workflows.live.identity import identify, in_thread
from workflows.models.fields import dump

logger = logging.getLogger(__name__)

MOST_BYTES = 16 * 1024
MOST_SUBSCRIPTIONS = 50
FRAMES_PER_SECOND = 10.0
FRAMES_AT_ONCE = 60.0
"""A page that comes back subscribes to everything it shows at once."""
MOST_BAD_FRAMES = 3
MOST_DEPTH = 8
LARGEST_NUMBER = 2**63 - 1

TOO_MANY_BAD_FRAMES = 4400
TOO_LARGE = 4408
TOO_FAST = 4429
UNAVAILABLE = 4503

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class BadFrame(Exception):
    """The frame cannot be understood. Send a JSON object with `action` and `topic`; see the contract."""

    def __init__(self, detail: str, *, topic: str | None = None) -> None:
        self.detail = detail
        self.topic = topic
        super().__init__(detail)


async def live(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """This will serve one websocket of `/ws/live/`."""
    await receive()
    try:
        who = await in_thread(partial(identify, scope))
    except DatabaseError as error:
        logger.warning("a websocket was turned away: the database does not answer (%r)", error)
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": UNAVAILABLE})
        return
    await send({"type": "websocket.accept"})
    if who is None:
        await _send_frame(send, {"error": "not_authenticated", "detail": "Sign in, or send a valid token."})
        await send({"type": "websocket.close", "code": SIGNED_OUT})
        return
    here = hub()
    client = here.enter(who, send)
    try:
        await _Reader(here, client).read(receive)
    finally:
        await here.leave(client)


async def _send_frame(send: Send, frame: Mapping[str, Any]) -> None:
    await send({"type": "websocket.send", "text": dump(frame)})


class _Reader:
    """Reads what a client says until it leaves."""

    def __init__(self, here: Hub, client: Client) -> None:
        self._hub = here
        self._client = client
        self._bad_frames = 0
        self._allowance = FRAMES_AT_ONCE
        self._counted_at = asyncio.get_running_loop().time()

    async def read(self, receive: Receive) -> None:
        """This will deal with frames one after the other."""
        while (message := await receive())["type"] != "websocket.disconnect":
            if self._client.closing is not None:
                continue  # It has been told to go; the disconnect is on its way.
            if not self._may_go_on():
                self._client.close(TOO_FAST)
            elif self._size_of(message) > MOST_BYTES:
                self._client.close(TOO_LARGE)
            else:
                await self._deal_with(message)

    def _may_go_on(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._allowance = min(FRAMES_AT_ONCE, self._allowance + (now - self._counted_at) * FRAMES_PER_SECOND)
        self._counted_at = now
        self._allowance -= 1
        return self._allowance >= 0

    @staticmethod
    def _size_of(message: Message) -> int:
        text = message.get("text")
        return len(message.get("bytes") or b"") if text is None else len(text.encode(errors="replace"))

    async def _deal_with(self, message: Message) -> None:
        try:
            action, topic, since = _read(message)
        except BadFrame as bad:
            frame = {"error": "bad_frame", "detail": bad.detail}
            self._client.say(frame if bad.topic is None else {"topic": bad.topic, **frame})
            self._bad_frames += 1
            if self._bad_frames >= MOST_BAD_FRAMES:
                self._client.close(TOO_MANY_BAD_FRAMES)
            return
        except NoSuchInstance as error:
            self._client.say({**not_found(Topic(Kind.INSTANCE)), "topic": f"instance:{error.args[0]}"})
            return
        if action == "unsubscribe":
            self._hub.unsubscribe(self._client, topic)
        else:
            await self._subscribe(topic, since)

    async def _subscribe(self, topic: Topic, since: int | None) -> None:
        client = self._client
        if topic not in client.subscriptions and len(client.subscriptions) >= MOST_SUBSCRIPTIONS:
            detail = f"You follow {MOST_SUBSCRIPTIONS} topics already; unsubscribe from one."
            client.say({"topic": str(topic), "error": "too_many_subscriptions", "detail": detail})
            return
        await self._hub.ready()
        # First follow, then look: what happens in between is kept, and nothing falls through.
        subscription = self._hub.subscribe(client, topic)
        try:
            stands = await in_thread(partial(standing.standing_of, topic, person=client.person, since=since))
        except DatabaseError as error:
            logger.warning("a websocket was turned away: the database does not answer (%r)", error)
            client.close(UNAVAILABLE)
            return
        if stands is None:
            self._hub.unsubscribe(client, topic)
            client.say(not_found(topic))
        else:
            client.stands(subscription, stands.sequence, stands.changed)


def _read(message: Message) -> tuple[str, Topic, int | None]:
    text = message.get("text")
    if text is None:
        raise BadFrame("Send text, not binary data.")
    try:
        frame = strict_json.parse(text.encode(errors="surrogatepass"), max_bytes=MOST_BYTES, max_depth=MOST_DEPTH)
    except InvalidJson as error:
        raise BadFrame(error.message) from None
    if not isinstance(frame, dict):
        raise BadFrame("Send a JSON object.")
    action, name, since = frame.get("action"), frame.get("topic"), frame.get("since")
    if action not in ("subscribe", "unsubscribe"):
        raise BadFrame("action is subscribe or unsubscribe.")
    if not isinstance(name, str):
        raise BadFrame("topic is a text.")
    shown = name if len(name) <= 100 else None
    if since is not None and not _is_sequence(since):
        raise BadFrame("since is a sequence that you were told.", topic=shown)
    try:
        return action, topic_of(name), since
    except UnknownTopic:
        raise BadFrame("topic is instance:ID, instances, inbox or overview.", topic=shown) from None


def _is_sequence(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER
