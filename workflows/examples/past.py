"""A believable past for an empty database: some hours of work, done through the door within seconds.

Time is given to every command, so the past can be walked through from hour to hour: what falls due next is done next,
all that falls into the same few minutes in one go.
"""

from __future__ import annotations

import datetime as dt
import heapq
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from workflows.engine.commands import CancelWorkflow, Command, SuspendWorkflow
from workflows.examples import people, traffic
from workflows.examples.people import COLLEAGUES, Colleague
from workflows.examples.services import ACTOR, SERVICES, WORKER_ID, reply_to
from workflows.messaging.port import Handler, Outgoing
from workflows.messaging.relay import relay_once
from workflows.models import HumanTask, WorkflowInstance
from workflows.runtime import deadlines, leasing
from workflows.runtime.asking import Asked
from workflows.runtime.handling import handle
from workflows.runtime.inbound import read_event

HOURS = 9
INSTANCES = 40
STEP = dt.timedelta(minutes=4)
REACTION = dt.timedelta(seconds=2)
LEFT_OPEN = 0.15
"""The share of human tasks that nobody of the past does: they wait for visitors."""
FRESH = dt.timedelta(minutes=60)
"""… and so does what has come in since."""
SLOWNESS = 60
"""A second of a simulated service is a minute of the past."""


class _Ear:
    """A bus on which the services of the past hear that they are called."""

    name = "past"
    has_everything = False

    def __init__(self) -> None:
        self.called: set[str] = set()

    def publish(self, messages: Sequence[Outgoing]) -> list[str | None]:
        self.called |= {message.queue for message in messages}
        return [None] * len(messages)

    def consume(self, handle: Handler, *, queues: Sequence[str], max_messages: int, timeout: float) -> int:
        return 0

    def tend(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(order=True)
class _Act:
    """Something that somebody does at a moment of the past; None when it turns out that there is nothing to do."""

    at: dt.datetime
    number: int
    instance: Any = field(compare=False)
    ask: Callable[[dt.datetime], Asked | None] = field(compare=False)


class Past:
    """Lives through the hours before `now`. `versions` are those of the installed examples."""

    def __init__(
        self, *, now: dt.datetime, versions: Mapping[str, int], stopping: Callable[[], bool], seed: str = "hail"
    ) -> None:
        self._now = now
        self._versions = versions
        self._stopping = stopping
        self._seed = seed
        self._rng = random.Random(seed)  # noqa: S311 (dice for a demo)
        self._acts: list[_Act] = []
        self._numbers = count()
        self._ear = _Ear()
        self._seen: set[Any] = set()

    def live_through(self) -> None:
        """This will do it all; what is not done by now goes on in the present."""
        self._plan_starts()
        while self._acts and not self._stopping():
            at = self._acts[0].at
            if at >= self._now:
                return
            self._do(self._due(at), at)
            due = deadlines.next_due()
            if due is not None and due <= at:
                deadlines.fire_due(at)
            self._listen(at)

    def _plan_starts(self) -> None:
        begin = self._now - dt.timedelta(hours=HOURS)
        last = dict.fromkeys(traffic.STARTS, 1_000)
        for index in range(INSTANCES):
            # More and more of them: most of the early ones have ended by now.
            share = (index / INSTANCES) ** 0.7
            name = traffic.any_example(self._rng)
            last[name] += 1
            at = begin + share * (self._now - begin)
            self._plan(at, ("start", index), partial(self._start, name, last[name]))
        # Whoever looks at the demo first finds pizzas at the door.
        for minutes in (48, 36, 24):
            last["pizza"] += 1
            at = self._now - dt.timedelta(minutes=minutes)
            self._plan(at, ("start", -minutes), partial(self._start, "pizza", last["pizza"]))

    def _start(self, name: str, number: int, at: dt.datetime) -> Asked:
        return traffic.start(name, number=number, today=at.date(), version=self._versions[name])

    def _plan(self, at: dt.datetime, instance: Any, ask: Callable[[dt.datetime], Asked | None]) -> None:
        heapq.heappush(self._acts, _Act(at, next(self._numbers), instance, ask))

    def _due(self, at: dt.datetime) -> list[Asked]:
        """What falls into one step; of each instance one act, so that its events have moments of their own."""
        asked, busy, later = [], set(), []
        while self._acts and self._acts[0].at <= min(at + STEP, self._now):
            act = heapq.heappop(self._acts)
            if act.instance in busy:
                later.append(act)
            elif (one := act.ask(at)) is not None:
                busy.add(act.instance)
                asked.append(one)
        for act in later:
            act.at = max(act.at, at + dt.timedelta(seconds=20))
            heapq.heappush(self._acts, act)
        return asked

    def _do(self, asked: Sequence[Asked], at: dt.datetime) -> None:
        if not asked:
            return
        answers = handle(*asked, at=at)
        touched = {answer.instance.id for answer in answers if answer.instance is not None}
        tasks = HumanTask.objects.open().filter(instance__in=touched).exclude(pk__in=self._seen)
        for task in tasks.select_related("instance"):
            self._seen.add(task.pk)
            self._plan_decision(task, at)

    def _listen(self, at: dt.datetime) -> None:
        while relay_once(self._ear, at):
            pass
        called, self._ear.called = self._ear.called & SERVICES.keys(), set()
        for queue in sorted(called):
            # A short lease: what is not done by now is free for the services of the present.
            begin = min(at + REACTION, self._now)
            tasks = leasing.lease(queue, worker_id=WORKER_ID, max_tasks=100, lease_seconds=1, actor=ACTOR, at=begin)
            for payload in tasks:
                if payload["message_id"] in self._seen:
                    continue  # It is at work on this already, longer than its lease.
                self._seen.add(payload["message_id"])
                reply = reply_to(payload, SERVICES[queue])
                done = at + dt.timedelta(seconds=reply.after * SLOWNESS)
                self._plan(done, payload["instance_id"], partial(_say, reply.message))

    def _plan_decision(self, task: HumanTask, at: dt.datetime) -> None:
        colleague = COLLEAGUES.get(task.assigned_to or "")
        # Dice of its own for each task: nothing then depends on the order in which they are found.
        dice = random.Random(f"{self._seed}/{task.instance.business_ref_no}/{task.task_name}/{task.attempt}")  # noqa: S311
        if colleague is None or dice.random() < LEFT_OPEN or at > self._now - FRESH:
            return
        when = at + dt.timedelta(minutes=dice.uniform(6, 75))
        self._plan(when, str(task.instance_id), partial(_decide, task, colleague))


def _say(message: Mapping[str, Any], at: dt.datetime) -> Asked:
    return read_event(message, actor=ACTOR)


def _decide(task: HumanTask, colleague: Colleague, at: dt.datetime) -> Asked:
    return people.decide(task, colleague, today=at.date())


def leave_marks(*, now: dt.datetime) -> None:
    """This will suspend one running instance and cancel another, as an operator may have done."""
    running = list(WorkflowInstance.objects.filter(state="RUNNING").order_by("created_at")[:6])
    commands: list[Command] = [
        SuspendWorkflow(reason="The customer has asked us to wait."),
        CancelWorkflow(reason="Ordered twice."),
    ]
    for instance, command in zip(running[2:], commands, strict=False):
        handle(Asked(command=command, target=instance.pk, actor=traffic.OPERATOR), at=now)
