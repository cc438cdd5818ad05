"""Sends what waits for the websockets of one loop. See Note [One task sends]."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from autobahn.exception import Disconnected

from workflows.live.clients import Client, Names
from workflows.live.groups import EVERYTHING, MOST_NAMED, Topic
from workflows.models.fields import dump

logger = logging.getLogger(__name__)

PAUSE = 0.05
"""Seconds between two rounds: what happens meanwhile travels together."""
IN_A_ROW = 50
"""After so many clients the loop may do something else."""

# Note [One task sends]
# ~~~~~~~~~~~~~~~~~~~~~
# A commit concerns hundreds of websockets at once. A task for each would be woken, would sleep and would encode the
# same frame as all the others; one task that goes through them costs a fraction, and encodes each frame once. Going
# through them in turn is right because sending waits for nobody: Daphne hands what it is given to a buffer at once. A
# client that does not read answers no ping either, and is dropped with its buffer.
# Answers go out at once. Changes go out at once as well, and then not again before PAUSE.

Encoded = dict[tuple[Topic, int, tuple[int, ...]], tuple[str, list[Names]]]
"""Texts of frames by what is in them. Tuples of names are told apart by identity, and kept here so that it holds."""


class Sending:
    """The task that sends, and what it has to send."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answered: dict[Client, None] = {}
        self._changed: dict[Client, None] = {}
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._next = 0.0

    def mark(self, client: Client, answer: bool) -> None:
        """This will have sent to the client what waits for it: an answer at once, changes after the pause."""
        (self._answered if answer else self._changed)[client] = None
        if self._task is None:
            self._task = self._loop.create_task(self._run())
        elif answer:
            self._woken.set()

    def forget(self, client: Client) -> None:
        """This will send nothing more to the client."""
        client.ended = True
        self._answered.pop(client, None)
        self._changed.pop(client, None)

    async def end(self) -> None:
        """This will end the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while self._answered or self._changed:
            if self._answered:
                clients, self._answered = self._answered, {}
                for client in clients:
                    self._changed.pop(client, None)
                await self._send_all(clients)
                continue
            wait = self._next - self._loop.time()
            if wait > 0:
                self._woken.clear()
                try:
                    async with asyncio.timeout(wait):
                        await self._woken.wait()
                except TimeoutError:
                    pass
                continue
            clients, self._changed = self._changed, {}
            await self._send_all(clients)
            self._next = self._loop.time() + PAUSE
        self._task = None

    async def _send_all(self, clients: Iterable[Client]) -> None:
        encoded: Encoded = {}
        for number, client in enumerate(clients, 1):
            if not client.ended:
                try:
                    await _send(client, encoded)
                except Disconnected:
                    # It has left while a frame was on its way: there is nobody left to tell.
                    client.ended = True
                except Exception:
                    logger.exception("a websocket is not served any more")
                    client.ended = True
            if number % IN_A_ROW == 0:
                await asyncio.sleep(0)


async def _send(client: Client, encoded: Encoded) -> None:
    answers, client.answers = client.answers, []
    waiting, client.waiting = client.waiting, {}
    for frame in answers:
        await client.send({"type": "websocket.send", "text": dump(frame)})
    for topic, (sequence, names) in waiting.items():
        key = (topic, sequence, tuple(map(id, names)))
        known = encoded.get(key)
        if known is None:
            known = encoded[key] = (_text(topic, sequence, names), names)
        await client.send({"type": "websocket.send", "text": known[0]})
    if client.closing is not None:
        client.ended = True
        await client.send({"type": "websocket.close", "code": client.closing})


def _text(topic: Topic, sequence: int, names: Iterable[Names]) -> str:
    together = list(dict.fromkeys(name for some in names for name in some))
    if len(together) > MOST_NAMED or EVERYTHING[0] in together:
        together = list(EVERYTHING)
    return dump({"topic": str(topic), "sequence": sequence, "changed": together})
