"""Hands what has changed to the websockets of this process.

See Note [One member per process] and Note [Hints and looks].
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from channels.layers import get_channel_layer

from workflows.live import broadcasting, standing
from workflows.live.groups import EVERYTHING, GROUP, MOST_NAMED, Kind, Topic
from workflows.live.identity import Validity, Who, in_thread, still_valid
from workflows.live.messages import ChangedInstance, merged, unpacked
from workflows.models import Person

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.5
"""How often it is asked whether clients are still signed in, and whether a hint was lost."""
MOST_MISSED = 200
MOST_REMEMBERED = 10_000
PAUSE = 0.05
"""Seconds between two sendings to one client: what happens meanwhile travels together."""

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


@dataclass(eq=False)
class Subscription:
    """What one client follows. Until it knows where the topic stands, changes are kept in `early`."""

    topic: Topic
    sequence: int | None = None
    early: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)


@dataclass(eq=False)
class Client:
    """One websocket: who it is, what it follows, and what waits to be sent to it."""

    who: Who
    subscriptions: dict[Topic, Subscription] = field(default_factory=dict)
    frames: list[dict[str, Any]] = field(default_factory=list)
    waiting: dict[Topic, tuple[int, dict[str, None]]] = field(default_factory=dict)
    closing: int | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def person(self) -> Person:
        """This will give whom it belongs to."""
        return self.who.person

    def say(self, frame: dict[str, Any]) -> None:
        """This will send a frame that answers something."""
        self.frames.append(frame)
        self.woken.set()

    def close(self, code: int) -> None:
        """This will end the connection after what waits has been sent."""
        if self.closing is None:
            self.closing = code
        self.woken.set()

    def stands(self, subscription: Subscription, sequence: int, changed: Sequence[str]) -> None:
        """This will tell where a topic stands, and then what came in meanwhile."""
        subscription.sequence = sequence
        self.say({"topic": str(subscription.topic), "sequence": sequence, "changed": list(changed)})
        early, subscription.early = subscription.early, []
        for number, names in early:
            self.changed(subscription.topic, number, names)

    def changed(self, topic: Topic, sequence: int, names: Iterable[str]) -> None:
        """This will tell that something of a topic has changed; what waits already travels in the same frame."""
        subscription = self.subscriptions.get(topic)
        if subscription is None:
            return
        if subscription.sequence is None:
            subscription.early.append((sequence, tuple(names)))
            return
        if topic.kind == Kind.INSTANCE and sequence <= subscription.sequence:
            return  # Known already.
        # Moments are taken before the commit: two commits may arrive the other way round. Numbers never fall.
        subscription.sequence = max(subscription.sequence, sequence)
        _, gathered = self.waiting.get(topic, (0, {}))
        gathered.update(dict.fromkeys(names))
        self.waiting[topic] = (subscription.sequence, gathered)
        self.woken.set()

    def take(self) -> list[dict[str, Any]]:
        """This will give the frames that wait, answers first."""
        frames, self.frames = self.frames, []
        waiting, self.waiting = self.waiting, {}
        for topic, (sequence, names) in waiting.items():
            named = list(EVERYTHING) if len(names) > MOST_NAMED or EVERYTHING[0] in names else list(names)
            frames.append({"topic": str(topic), "sequence": sequence, "changed": named})
        return frames


class Hub:
    """All websockets of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._clients: set[Client] = set()
        self._by_topic: dict[Topic, set[Client]] = defaultdict(set)
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._joined = asyncio.Event()
        self._told: OrderedDict[uuid.UUID, int] = OrderedDict()
        self._newest: int | None = None
        self._visible: dict[int | None, dict[uuid.UUID, bool]] = defaultdict(dict)

    # --- clients come and go ---

    def enter(self, client: Client) -> None:
        """This will count a client in."""
        if not self._clients:
            broadcasting.serve(self._loop)
            self._tasks = [self._loop.create_task(self._listen()), self._loop.create_task(self._look_now_and_then())]
        self._clients.add(client)

    async def leave(self, client: Client) -> None:
        """This will count a client out; with the last one the hub ends, and leaves nothing running on the loop."""
        for topic in list(client.subscriptions):
            self.unsubscribe(client, topic)
        self._clients.discard(client)
        if not any(other.person.user_id == client.person.user_id for other in self._clients):
            self._visible.pop(client.person.user_id, None)
        if not self._clients:
            broadcasting.forget(self._loop)
            # From here on whoever comes gets another hub.
            _hubs.pop(self._loop, None)
            running = [*self._tasks, *self._background]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

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
                        self.deliver(list(unpacked(await layer.receive(channel))))
                finally:
                    self._joined.clear()
                    await asyncio.shield(_forget_channel(layer, channel))
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.warning("live updates are late: the channel layer does not answer (%r)", error)
                await asyncio.sleep(1)

    def deliver(self, changes: Sequence[ChangedInstance]) -> None:
        """This will hand changes to all who follow them. No query, no waiting."""
        changes = merged(changes)
        for change in changes:
            self._remember(change)
            for client in list(self._by_topic.get(Topic(Kind.INSTANCE, change.id), ())):
                self._instance_changed(client, change)
        if not changes:
            return
        at = max(change.at for change in changes)
        ids = tuple(str(change.id) for change in changes)
        people = [human for change in changes for human in change.human_tasks]
        for kind in (Kind.INSTANCES, Kind.OVERVIEW):
            for client in list(self._by_topic.get(Topic(kind), ())):
                if client.person.reads_everything:
                    client.changed(Topic(kind), at, ids)
                else:
                    self._list_changed(client, Topic(kind), changes)
        if people:
            everybodys = tuple(human.id for human in people)
            for client in list(self._by_topic.get(Topic(Kind.INBOX), ())):
                if client.person.is_operator or client.person.is_auditor:
                    client.changed(Topic(Kind.INBOX), at, everybodys)
                elif not client.person.is_api_client:
                    own = tuple(human.id for human in people if human.concerns(client.person))
                    if own:
                        client.changed(Topic(Kind.INBOX), at, own)

    def _remember(self, change: ChangedInstance) -> None:
        self._told[change.id] = max(change.last_sequence, self._told.pop(change.id, 0))
        if len(self._told) > MOST_REMEMBERED:
            self._told.popitem(last=False)
        if self._newest is not None:
            self._newest = max(self._newest, change.at)

    # --- what one client may see ---

    def _instance_changed(self, client: Client, change: ChangedInstance) -> None:
        topic = Topic(Kind.INSTANCE, change.id)
        if client.person.reads_everything or not change.may_concern_others or self._belongs(client, change):
            client.changed(topic, change.last_sequence, EVERYTHING if change.missed else change.tasks)
        else:
            # Work was given to somebody; perhaps this client may see the instance no more.
            self._do(self._ask_again(client, [change]))

    def _list_changed(self, client: Client, topic: Topic, changes: Sequence[ChangedInstance]) -> None:
        known = self._visible[client.person.user_id]
        seen, unclear = [], []
        for change in changes:
            if self._belongs(client, change):
                known[change.id] = True
            elif change.may_concern_others or change.id not in known:
                unclear.append(change)
                continue
            if known[change.id]:
                seen.append(change)
        if seen:
            client.changed(topic, max(change.at for change in seen), [str(change.id) for change in seen])
        if unclear:
            self._do(self._ask_again(client, unclear, topic))

    @staticmethod
    def _belongs(client: Client, change: ChangedInstance) -> bool:
        return any(human.belongs_to(client.person) for human in change.human_tasks)

    async def _ask_again(self, client: Client, changes: Sequence[ChangedInstance], topic: Topic | None = None) -> None:
        """Ask the database, away from the loop, what of these the client may see; then tell it."""
        ids = [change.id for change in changes]
        visible = await in_thread(partial(standing.visible_instances, client.person, ids))
        known = self._visible[client.person.user_id]
        if len(known) > MOST_REMEMBERED:
            known.clear()
        for change in changes:
            known[change.id] = change.id in visible
            own = Topic(Kind.INSTANCE, change.id)
            if change.id not in visible:
                if own in client.subscriptions:
                    self.unsubscribe(client, own)
                    client.say(not_found(own))
            elif topic is None:
                client.changed(own, change.last_sequence, EVERYTHING if change.missed else change.tasks)
        if topic is not None and visible:
            seen = [change for change in changes if change.id in visible]
            client.changed(topic, max(change.at for change in seen), [str(change.id) for change in seen])

    def _do(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a live update was lost", exc_info=task.exception())

    # --- looks ---

    async def _look_now_and_then(self) -> None:
        while True:
            try:
                if self._newest is None:
                    self._newest = await in_thread(standing.newest_number)
                await asyncio.sleep(LOOK_SECONDS)
                await self._look_at_clients()
                await self._look_for_missed()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.warning("live updates are late: the database does not answer (%r)", error)
                await asyncio.sleep(LOOK_SECONDS)

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
        rows = await in_thread(partial(standing.updated_after, self._newest - _OVERLAP, most=MOST_MISSED + 1))
        missed = [row for row in rows if self._told.get(row[0], 0) < row[1]]
        if len(rows) > MOST_MISSED and missed:
            self._newest = await in_thread(standing.newest_number)
            self._tell_everything(self._newest)
            return
        if missed:
            self.deliver([ChangedInstance(id=pk, at=at, last_sequence=last, missed=True) for pk, last, at in missed])
            number = max(at for _, _, at in missed)
            for client in list(self._by_topic.get(Topic(Kind.INBOX), ())):
                client.changed(Topic(Kind.INBOX), number, EVERYTHING)
        if rows:
            self._newest = max(self._newest, rows[-1][2])

    def _tell_everything(self, number: int) -> None:
        for topic, clients in list(self._by_topic.items()):
            for client in list(clients):
                if topic.kind == Kind.INSTANCE:
                    self._do(self._tell_standing(client, topic))
                else:
                    client.changed(topic, number, EVERYTHING)

    async def _tell_standing(self, client: Client, topic: Topic) -> None:
        stands = await in_thread(partial(standing.standing_of, topic, person=client.person, since=None))
        if stands is not None:
            client.changed(topic, stands.sequence, EVERYTHING)


_OVERLAP = 2_000_000
"""Microseconds that a look goes back: a commit may become visible later than one whose moment is newer."""

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
