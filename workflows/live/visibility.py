"""Finds out, for all assignees together, which changed instances they may see. See Note [Whose business it is]."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from workflows.live import standing
from workflows.live.identity import in_thread
from workflows.live.messages import ChangedInstance, merged
from workflows.live.standing import Viewers

logger = logging.getLogger(__name__)

MOST_REMEMBERED = 10_000
MOST_AT_ONCE = 500
AGAIN_SECONDS = 1.0

# Note [Whose business it is]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~~
# An assignee sees the instances whose human tasks are, or were, theirs. That changes only when a human task changes, so
# the people of an instance are remembered until then. What is not known is asked once for all clients and for all
# changes that came in while the last question was under way: the number of queries follows neither the clients nor the
# commits.


class Visibility:
    """Who may see what; `tell` is called with changes whose viewers are known, and whether they were asked anew."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tell: Callable[[Sequence[ChangedInstance], bool], None]
    ) -> None:
        self._loop = loop
        self._tell = tell
        self._known: OrderedDict[uuid.UUID, Viewers] = OrderedDict()
        self._waiting: list[ChangedInstance] = []
        self._asked: frozenset[uuid.UUID] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def viewers(self, instance_id: uuid.UUID) -> Viewers:
        """This will give the people of an instance that was told of."""
        return self._known[instance_id]

    def outdated(self, changes: Iterable[ChangedInstance]) -> None:
        """This will forget the people of instances whose human tasks have changed."""
        for change in changes:
            if change.may_concern_others:
                self._known.pop(change.id, None)

    def pass_on(self, changes: Sequence[ChangedInstance]) -> None:
        """This will have the changes told: now where the viewers are known, else as soon as they are."""
        # A later change must not overtake an earlier one of the same instance.
        asked = self._asked | {change.id for change in self._waiting}
        clear = [change for change in changes if change.id in self._known and change.id not in asked]
        if clear:
            self._tell(clear, False)
        if len(clear) < len(changes):
            told = {change.id for change in clear}
            self._waiting += [change for change in changes if change.id not in told]
            if self._task is None:
                self._task = self._loop.create_task(self._ask())

    async def end(self) -> None:
        """This will ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _ask(self) -> None:
        while self._waiting:
            changes = merged(self._waiting)
            self._waiting = []
            self._asked = frozenset(change.id for change in changes)
            try:
                for start in range(0, len(changes), MOST_AT_ONCE):
                    await self._ask_for(changes[start : start + MOST_AT_ONCE])
            except Exception:
                logger.exception("live updates were lost")
            self._asked = frozenset()
        self._task = None

    async def _ask_for(self, changes: Sequence[ChangedInstance]) -> None:
        ids = [change.id for change in changes]
        while True:
            try:
                found = await in_thread(lambda: standing.viewers_of(ids))
                break
            except Exception as error:
                logger.warning("live updates are late: the database does not answer (%r)", error)
                await asyncio.sleep(AGAIN_SECONDS)
        # Of what has changed once more meanwhile the answer may be an old one: told now, and asked for again.
        again = {change.id for change in self._waiting}
        for instance_id, viewers in found.items():
            self._known[instance_id] = viewers
        self._tell(changes, True)
        for instance_id in again:
            self._known.pop(instance_id, None)
        while len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
