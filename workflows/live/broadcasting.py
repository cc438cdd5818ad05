"""Tells all processes, after a commit, what it has changed.

See Note [One loop owns the channel layer].
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time

from channels.layers import InMemoryChannelLayer, get_channel_layer

from workflows.live import messages
from workflows.live.groups import GROUP
from workflows.runtime.listeners import Committed

logger = logging.getLogger(__name__)

GATHER = 0.02
"""Seconds after a message in which further commits are gathered for the next one."""
MOST_IN_A_MESSAGE = 500
MOST_WAITING = 5_000
SEND_SECONDS = 5

# Note [One loop owns the channel layer]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
# Commits happen in threads. The channel layer in memory is made of asyncio queues: put into from a foreign loop, they
# are noticed when their own loop happens to wake, up to a second later. So each process has one loop that sends: the
# one that serves its websockets, or, where there are none, a loop in a thread of its own. Commits only leave a note
# for that loop, and notes left while it is busy travel together.


class _Notes:
    """What commits have left to be sent, and the loop that sends it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Committed] = []
        self._sending = False
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._own_thread: threading.Thread | None = None
        self._ended = False
        self._silent_until = 0.0

    def serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """This will name a loop that serves websockets."""
        with self._lock:
            self._loops.append(loop)

    def forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """This will say that the loop serves websockets no more."""
        with self._lock:
            self._loops.remove(loop)

    def leave(self, committed: Committed) -> None:
        """This will have the changes of a commit sent soon. Quick, from any thread."""
        with self._lock:
            loop = self._loops[-1] if self._loops else self._background_loop()
            if loop is None or self._ended:
                return
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(committed)
            if self._sending:
                return
            self._sending = True
        try:
            loop.call_soon_threadsafe(lambda: loop.create_task(self._send()))
        except RuntimeError:
            # The loop has ended with its server.
            self._drop()

    def _background_loop(self) -> asyncio.AbstractEventLoop | None:
        if isinstance(get_channel_layer(), InMemoryChannelLayer):
            return None  # The websockets could only be in this process, and there are none.
        if self._own_loop is None:
            self._own_loop = asyncio.new_event_loop()
            self._own_thread = threading.Thread(target=_run, args=(self._own_loop,), name="live", daemon=True)
            self._own_thread.start()
        return self._own_loop

    def end(self) -> None:
        """This will send nothing any more, and end the loop in a thread if there is one. For the end of a process."""
        with self._lock:
            self._ended = True
            loop, thread = self._own_loop, self._own_thread
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(SEND_SECONDS + 1)

    async def _send(self) -> None:
        try:
            while taken := self._take():
                changes = messages.merged(change for one in taken for change in messages.changes_of(one))
                everything = messages.moment_of_everything(taken)
                for start in range(0, max(len(changes), 1), MOST_IN_A_MESSAGE):
                    part = changes[start : start + MOST_IN_A_MESSAGE]
                    message = {"type": "live.changed", "changes": messages.packed(part), "everything": everything}
                    async with asyncio.timeout(SEND_SECONDS):
                        await get_channel_layer().group_send(GROUP, message)
                await asyncio.sleep(GATHER)
        except Exception as error:
            self._drop()
            if time.monotonic() >= self._silent_until:
                self._silent_until = time.monotonic() + 60
                # A hint is lost, not a fact: each process that holds websockets looks into the database by itself.
                logger.warning("live updates are late: the channel layer does not answer (%r)", error)
        except asyncio.CancelledError:
            self._drop()
            raise

    def _take(self) -> list[Committed]:
        with self._lock:
            taken, self._waiting = self._waiting, []
            if not taken:
                self._sending = False
        return taken

    def _drop(self) -> None:
        with self._lock:
            self._waiting, self._sending = [], False


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    end_tasks(loop)


def end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """This will cancel what still runs on a loop that has stopped, and close it.

    Python may crash when it finds unfinished tasks at its own end.
    """

    async def cancel() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2)

    loop.run_until_complete(cancel())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


_notes = _Notes()
serve = _notes.serve
forget = _notes.forget
end = _notes.end


def broadcast(committed: Committed) -> None:
    """This will tell all who follow what has changed. A listener: called after each commit, in its thread."""
    if committed.changes or committed.everything:
        _notes.leave(committed)
