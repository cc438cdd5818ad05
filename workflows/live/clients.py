"""One websocket as the hub sees it: who it is, what it follows, and what waits to be sent to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workflows.live.groups import Kind, Topic
from workflows.live.identity import Who
from workflows.models import Person

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Names = tuple[str, ...]
"""What has changed, as a frame names it. One tuple is shared by all clients that are told the same."""


@dataclass(eq=False, slots=True)
class Subscription:
    """What one client follows. Until it knows where the topic stands, changes are kept in `early`."""

    topic: Topic
    sequence: int | None = None
    early: list[tuple[int, Names]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Client:
    """One websocket. `mark` is called when something waits to be sent; the second argument: whether it is an answer."""

    who: Who
    send: Send
    mark: Callable[[Client, bool], None]
    subscriptions: dict[Topic, Subscription] = field(default_factory=dict)
    answers: list[Mapping[str, Any]] = field(default_factory=list)
    waiting: dict[Topic, tuple[int, list[Names]]] = field(default_factory=dict)
    closing: int | None = None
    ended: bool = False

    @property
    def person(self) -> Person:
        """This will give whom it belongs to."""
        return self.who.person

    def say(self, frame: Mapping[str, Any]) -> None:
        """This will send a frame that answers something."""
        self.answers.append(frame)
        self.mark(self, True)

    def close(self, code: int) -> None:
        """This will end the connection after what waits has been sent."""
        if self.closing is None:
            self.closing = code
        self.mark(self, True)

    def stands(self, subscription: Subscription, sequence: int, changed: Sequence[str]) -> None:
        """This will tell where a topic stands, and then what came in meanwhile."""
        subscription.sequence = sequence
        self.say({"topic": str(subscription.topic), "sequence": sequence, "changed": list(changed)})
        early, subscription.early = subscription.early, []
        for number, names in early:
            self.changed(subscription.topic, number, names)

    def changed(self, topic: Topic, sequence: int, names: Names, *, heard: bool = False) -> None:
        """This will tell that something of a topic has changed; what waits already travels in the same frame.

        What was only `heard` has no sequence of its own: it is told although that is known.
        """
        subscription = self.subscriptions.get(topic)
        if subscription is None:
            return
        if subscription.sequence is None:
            subscription.early.append((sequence, names))
            return
        if sequence <= subscription.sequence:
            if topic.kind == Kind.INSTANCE and not heard:
                return  # Known already.
            # Moments are taken before the commit: two commits may arrive the other way round. Numbers never fall.
            sequence = subscription.sequence
        subscription.sequence = sequence
        waiting = self.waiting.get(topic)
        if waiting is None:
            self.waiting[topic] = (sequence, [names])
        else:
            waiting[1].append(names)
            self.waiting[topic] = (sequence, waiting[1])
        self.mark(self, False)
