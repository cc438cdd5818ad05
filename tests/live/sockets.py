"""Workflows that move and websockets that listen, for the tests of the live updates."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.db import connections

from workflows.engine.commands import BeginTask, CompleteTask, ReassignTask, StartWorkflow
from workflows.runtime.asking import Answer, Asked, Reference
from workflows.runtime.handling import handle


def start(reference: str, *, by: str = "bot") -> Answer:
    """Start an instance."""
    (answer,) = handle(Asked(command=StartWorkflow(reference), target=Reference("LIVE", reference, "Review"), actor=by))
    assert answer.applied
    return answer


def complete(reference: str, task: str) -> Answer:
    """Say that a service is done."""
    (answer,) = handle(Asked(command=CompleteTask("WORK", task), target=Reference("LIVE", reference), actor="bot"))
    assert answer.applied, answer
    return answer


def progress(reference: str, task: str, percent: float) -> None:
    """Say how far a service is."""
    command = BeginTask("WORK", task, progress={"percent": percent, "message": ""})
    (answer,) = handle(Asked(command=command, target=Reference("LIVE", reference), actor="bot"))
    assert answer.applied, answer


def reassign(reference: str, to: str) -> None:
    """Give the review to somebody else."""
    command = ReassignTask("WORK", "review", by="olga", operator=True, assigned_to=to, reason="away")
    (answer,) = handle(Asked(command=command, target=Reference("LIVE", reference), actor="olga"))
    assert answer.applied, answer


class Socket:
    """A websocket of a test."""

    def __init__(self, communicator: WebsocketCommunicator) -> None:
        self._communicator = communicator

    async def say(self, frame: Any) -> None:
        """Send a frame: a text as it is, anything else as JSON."""
        text = frame if isinstance(frame, str) else json.dumps(frame)
        await self._communicator.send_input({"type": "websocket.receive", "text": text})

    async def say_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        await self._communicator.send_to(bytes_data=data)

    async def hear(self, seconds: float = 5) -> dict[str, Any]:
        """Wait for a frame."""
        message = await self._communicator.receive_output(timeout=seconds)
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    async def hear_about(self, *wanted: str, topic: str, seconds: float = 5) -> dict[str, Any]:
        """Wait until all of these have been named for a topic; return the last frame."""
        missing = set(wanted)
        async with asyncio.timeout(seconds):
            while True:
                frame = await self.hear(seconds)
                if frame["topic"] == topic:
                    missing -= set(frame["changed"])
                if not missing:
                    return frame

    async def ask(self, topic: str, **more: Any) -> dict[str, Any]:
        """Subscribe and wait for the answer."""
        await self.say({"action": "subscribe", "topic": topic, **more})
        return await self.hear()

    async def code(self, seconds: float = 5) -> int:
        """Wait until the server closes; return the code."""
        async with asyncio.timeout(seconds):
            while True:
                message = await self._communicator.receive_output(timeout=seconds)
                if message["type"] == "websocket.close":
                    return message["code"]

    async def hears_nothing(self) -> bool:
        """Tell whether nothing has been said; ask another question first, whose answer shows that time has passed."""
        return await self._communicator.receive_nothing(timeout=0.3)


@contextlib.asynccontextmanager
async def websocket(token: str | None = None, *, path: str = "/ws/live/", **headers: str) -> AsyncIterator[Socket]:
    """Open a websocket of the whole site."""
    from orchestrator_site.asgi import application

    sent = {"host": "localhost", **headers}
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    communicator = WebsocketCommunicator(
        application, path, headers=[(name.encode(), value.encode()) for name, value in sent.items()]
    )
    connected, code = await communicator.connect(timeout=5)
    assert connected, code
    try:
        yield Socket(communicator)
    finally:
        await communicator.disconnect(timeout=5)


def threaded(function: Any) -> Any:
    """Run a function that asks the database in a thread, as a view would."""

    def run(*values: Any, **named: Any) -> Any:
        try:
            return function(*values, **named)
        finally:
            # The thread ends with the test's loop, and nobody else could close its connection.
            connections.close_all()

    return sync_to_async(run, thread_sensitive=False)
