"""Hands what has changed to the websockets of this process.

See Note [One member per process] and Note [Hints and looks].
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer

from workflows.live import broadcasting, standing
from workflows.live.clients import Client, Names, Send, Subscription
from workflows.live.groups import EVERYTHING, GROUP, Kind, Topic
from workflows.live.identity import Validity, Who, in_thread, still_valid
from workflows.live.messages import ChangedHumanTask, ChangedInstance, merged, unpacked
from workflows.live.sending import Sending
from workflows.live.visibility import Visibility
from workflows.models import Person

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.5
"""How often it is asked whether clients are still signed in, and whether a hint was lost."""
ALONE_SECONDS = 0.5
"""How often it is asked what was missed where no hints come from other processes, or have ceased to come."""
FAR_SECONDS = 10.0
"""How often a look goes far back. See Note [Hints and looks]."""
MOST_MISSED = 200
PAGE = 1_000
MOST_REMEMBERED = 10_000

LISTS = (Topic(Kind.INSTANCES), Topic(Kind.OVERVIEW))
INBOX = Topic(Kind.INBOX)

SIGNED_OUT = 4401
OTHER_RIGHTS = 4403

# Note [One member per process]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
# Only the hub is a member of the channel layer's group, not each websocket: a burst then costs one message per process
# in place of one per client (the layer in memory copies each, and drops what a busy consumer has not fetched). From
# there it is plain function calls; each client holds at most one waiting frame per topic.

# Note [Hints and looks]
# ~~~~~~~~~~~~~~~~~~~~~~
# A channel layer may lose messages, may be down, and the one in memory does not reach other processes. So the hub looks
# at the newest rows now and then, and tells of what it was not told: late, but always.
#
# A row bears the moment at which its transaction began, and may be seen only later: most after milliseconds, some
# after the longest that a transaction may take, when its process or its way to the database was held up. So most looks
# go back a little before the newest moment known, and every few seconds one goes back further than any transaction.


Row = tuple[uuid.UUID, int, int]
"""Where an instance stands: its id, its last sequence, the number of its moment."""


class Hub:
    """All websockets of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._sending = Sending(loop)
        self._visibility = Visibility(loop, self._tell_assignees)
        self._clients: set[Client] = set()
        self._by_topic: dict[Topic, set[Client]] = defaultdict(set)
        self._tasks: list[asyncio.Task[None]] = []
        self._joined = asyncio.Event()
        self._told: OrderedDict[uuid.UUID, int] = OrderedDict()
        self._newest: int | None = None
        self._looked_far_back = loop.time()
        self._missed_something = False

    # --- clients come and go ---

    def enter(self, who: Who, send: Send) -> Client:
        """This will count a client in."""
        if not self._clients:
            broadcasting.serve(self._loop)
            self._tasks = [self._loop.create_task(self._listen()), self._loop.create_task(self._look_now_and_then())]
        client = Client(who, send, self._sending.mark)
        self._clients.add(client)
        return client

    async def leave(self, client: Client) -> None:
        """This will count a client out; with the last one the hub ends, and leaves nothing running on the loop."""
        for topic in list(client.subscriptions):
            self.unsubscribe(client, topic)
        self._clients.discard(client)
        self._sending.forget(client)
        if not self._clients:
            broadcasting.forget(self._loop)
            # From here on whoever comes gets another hub.
            _hubs.pop(self._loop, None)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._visibility.end()
            await self._sending.end()

    def subscribe(self, client: Client, topic: Topic) -> Subscription:
        """This will let a client follow a topic; what happens from now on is kept for it."""
        subscription = client.subscriptions[topic] = Subscription(topic)
        self._by_topic[topic].add(client)
        return subscription

    def unsubscribe(self, client: Client, topic: Topic) -> None:
        """This will let a client follow a topic no more."""
        client.subscriptions.pop(topic, None)
        client.waiting.pop(topic, None)
        followers = self._by_topic.get(topic)
        if followers is not None:
            followers.discard(client)
            if not followers:
                del self._by_topic[topic]

    async def ready(self) -> None:
        """This will wait a little until changes arrive; without a channel layer the looks have to do."""
        try:
            async with asyncio.timeout(1.0):
                await self._joined.wait()
        except TimeoutError:
            return

    # --- changes come in ---

    async def _listen(self) -> None:
        while True:
            try:
                layer = get_channel_layer()
                channel = await layer.new_channel()
                await layer.group_add(GROUP, channel)
                self._joined.set()
                try:
                    while True:
                        message = await layer.receive(channel)
                        self.deliver(list(unpacked(message)))
                        if (at := message.get("everything")) is not None:
                            self.tell_everybody(at)
                finally:
                    self._joined.clear()
                    await asyncio.shield(_forget_channel(layer, channel))
            except asyncio.CancelledError:
                raise
            except Exception as error:
                # Who subscribes need not wait for it: the looks have to do.
                self._joined.set()
                logger.warning("live updates are late: the channel layer does not answer (%r)", error)
                await asyncio.sleep(1)

    def deliver(self, changes: Sequence[ChangedInstance]) -> None:
        """This will hand changes to all who follow them. No query, no waiting."""
        changes = merged(changes)
        if not changes:
            return
        assignees = False
        for change in changes:
            self._remember(change)
            topic = Topic(Kind.INSTANCE, change.id)
            names = EVERYTHING if change.missed else change.tasks
            for client in self._followers(topic):
                if client.person.reads_everything:
                    client.changed(topic, change.last_sequence, names, heard=change.heard)
                else:
                    assignees = True
        at = max(change.at for change in changes)
        ids = tuple(str(change.id) for change in changes)
        for topic in LISTS:
            for client in self._followers(topic):
                if client.person.reads_everything:
                    client.changed(topic, at, ids)
                else:
                    assignees = True
        self._tell_inboxes(at, [human for change in changes for human in change.human_tasks])
        self._visibility.outdated(changes)
        if assignees:
            self._visibility.pass_on(changes)

    def tell_everybody(self, at: int) -> None:
        """This will have every list looked at anew: the engine was paused, or goes on."""
        for topic in (*LISTS, INBOX):
            for client in self._followers(topic):
                client.changed(topic, at, EVERYTHING)

    def _tell_inboxes(self, at: int, people: Sequence[ChangedHumanTask]) -> None:
        if not people:
            return
        everybodys = tuple(human.id for human in people)
        shared = _Shared()
        for client in self._followers(INBOX):
            person = client.person
            if person.is_operator or person.is_auditor:
                client.changed(INBOX, at, everybodys)
            elif not person.is_api_client:
                own = shared.names(person, lambda who: (human.id for human in people if human.concerns(who)))
                if own:
                    client.changed(INBOX, at, own)

    def _tell_assignees(self, changes: Sequence[ChangedInstance], asked: bool) -> None:
        """Tell of changes whose viewers are known; `asked`: they may be others than before."""
        viewers = {change.id: self._visibility.viewers(change.id) for change in changes}
        for change in changes:
            topic = Topic(Kind.INSTANCE, change.id)
            names = EVERYTHING if change.missed else change.tasks
            for client in list(self._followers(topic)):
                if client.person.reads_everything:
                    continue
                if not asked or viewers[change.id].include(client.person):
                    client.changed(topic, change.last_sequence, names, heard=change.heard)
                else:
                    # Work was given to somebody else, and with it the instance.
                    self.unsubscribe(client, topic)
                    client.say(not_found(topic))
        shared = _Shared()
        numbers = {str(change.id): change.at for change in changes}

        def seen(who: Person) -> Iterable[str]:
            return (str(change.id) for change in changes if viewers[change.id].include(who))

        for topic in LISTS:
            for client in self._followers(topic):
                if not client.person.reads_everything and (own := shared.names(client.person, seen)):
                    client.changed(topic, max(numbers[name] for name in own), own)

    def _followers(self, topic: Topic) -> Collection[Client]:
        return self._by_topic.get(topic, ())

    def _remember(self, change: ChangedInstance) -> None:
        self._told[change.id] = max(change.last_sequence, self._told.pop(change.id, 0))
        if len(self._told) > MOST_REMEMBERED:
            self._told.popitem(last=False)
        if self._newest is not None:
            self._newest = max(self._newest, change.at)

    # --- looks ---

    async def _look_now_and_then(self) -> None:
        looked_at_clients = self._loop.time()
        while True:
            try:
                if self._newest is None:
                    self._newest = await in_thread(standing.newest_number)
                await asyncio.sleep(min(LOOK_SECONDS, ALONE_SECONDS) if self._alone() else LOOK_SECONDS)
                if self._loop.time() - looked_at_clients >= LOOK_SECONDS:
                    await self._look_at_clients()
                    looked_at_clients = self._loop.time()
                await self._look_for_missed()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.warning("live updates are late: the database does not answer (%r)", error)
                await asyncio.sleep(LOOK_SECONDS)

    def _alone(self) -> bool:
        """Whether no hint comes from other processes: by design, or because the last look found what none told of."""
        return self._missed_something or isinstance(get_channel_layer(), InMemoryChannelLayer)

    async def _look_at_clients(self) -> None:
        clients = list(self._clients)
        now = await in_thread(partial(still_valid, [client.who for client in clients]))
        for client in clients:
            match now[client.who]:
                case Validity.SIGNED_OUT:
                    client.close(SIGNED_OUT)
                case Validity.OTHER_RIGHTS:
                    # Whoever comes back is looked at anew, and subscribes with the rights of now.
                    client.close(OTHER_RIGHTS)

    async def _look_for_missed(self) -> None:
        if self._newest is None:
            return
        far = self._loop.time() - self._looked_far_back >= FAR_SECONDS
        missed = await self._missed_since(self._newest - (_LONGEST_COMMIT if far else _OVERLAP))
        if far:
            self._looked_far_back = self._loop.time()
        self._missed_something = bool(missed)
        if len(missed) > MOST_MISSED:
            await self._tell_everything()
        elif missed:
            self._tell_missed(missed)

    async def _missed_since(self, since: int) -> list[Row]:
        """What was updated since then and was not told; when it is more than can be named, not all of it."""
        missed: list[Row] = []
        while len(missed) <= MOST_MISSED:
            rows = await in_thread(partial(standing.updated_after, since, most=PAGE))
            missed += [row for row in rows if self._told.get(row[0], 0) < row[1]]
            if rows:
                self._newest = max(self._newest or 0, rows[-1][2])
            if len(rows) < PAGE:
                break
            # Once more those of the page's last moment, as the next page may go on with them.
            since = max(rows[-1][2] - 1, since + 1)
        return missed

    def _tell_missed(self, missed: Sequence[Row]) -> None:
        self.deliver([ChangedInstance(id=pk, at=at, last_sequence=last, missed=True) for pk, last, at in missed])
        number = max(at for _, _, at in missed)
        for client in self._followers(INBOX):
            client.changed(INBOX, number, EVERYTHING)

    async def _tell_everything(self) -> None:
        """Too much was missed to name it: whoever follows a list fetches it; followed instances are looked at."""
        number = await in_thread(standing.newest_number)
        self._newest = number
        for topic in (*LISTS, INBOX):
            for client in self._followers(topic):
                client.changed(topic, number, EVERYTHING)
        ids = [topic.instance_id for topic in self._by_topic if topic.instance_id is not None]
        for start in range(0, len(ids), MOST_MISSED):
            part = ids[start : start + MOST_MISSED]
            rows = await in_thread(partial(standing.sequences_of, part))
            if missed := [row for row in rows if self._told.get(row[0], 0) < row[1]]:
                self._tell_missed(missed)


class _Shared:
    """Names that many clients are told, as one tuple: made once for each person, kept once for each content."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, frozenset[str]], Names] = {}
        self._same: dict[Names, Names] = {}

    def names(self, person: Person, make: Callable[[Person], Iterable[str]]) -> Names:
        """This will give what the person is told."""
        key = (person.username, person.groups)
        if key not in self._of:
            names = tuple(make(person))
            self._of[key] = self._same.setdefault(names, names)
        return self._of[key]


_OVERLAP = 2_000_000
"""Microseconds that a look goes back: a commit may become visible later than one whose moment is newer."""
_LONGEST_COMMIT = 60_000_000
"""The same for the looks that go far back: no transaction is left open for longer (`DATABASE_IDLE_TIMEOUT_MS`)."""

_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}


def hub() -> Hub:
    """This will give the hub of the running loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub(loop)
    return _hubs[loop]


def not_found(topic: Topic) -> dict[str, Any]:
    """This will make the error frame of an instance that is none, or that this client may not see."""
    return {"topic": str(topic), "error": "not_found", "detail": "There is no such instance, or you may not see it."}


async def _forget_channel(layer: Any, channel: str) -> None:
    try:
        async with asyncio.timeout(2):
            await layer.group_discard(GROUP, channel)
    except Exception as error:
        logger.info("the channel layer did not answer at the end: %r", error)
