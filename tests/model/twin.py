"""One instance twice: in the real thing and in the model. After every step both must look alike."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tests import moves
from tests.builders import NOON, People, definition_of
from tests.model import bridge, model
from workflows.engine import commands as c
from workflows.engine import decide as engine
from workflows.engine import outgoing
from workflows.engine.decision import Accepted
from workflows.engine.snapshot import Snapshot

_OF_OPERATORS = (c.SkipTask, c.CompleteTaskByHand, c.FailTaskByHand, c.ReplayTask)


class Disagreement(AssertionError):
    """The real thing and the model differ. Decide by the contract who is right, and write the case down as a test."""


class Told(NamedTuple):
    """What the real thing said, in the words of the model; why; how it is now; what it sends."""

    answer: str
    reason: str
    now: Snapshot
    messages: list[dict[str, Any]]


class Twins:
    """An instance in the pure engine and in the model, asked the same."""

    def __init__(
        self, template: Mapping[str, Any], *, context: Mapping[str, Any] | None = None, by: str = "ada", luck: float = 0
    ) -> None:
        self.template = dict(template)
        self.definition = definition_of(template)
        self.world = People(luck=luck)
        self.at = NOON
        self.log: list[str] = []
        told = self.begin(dict(context or {}), by)
        self.now = told.now
        start = {"do": "start", "context": dict(context or {}), "by": by}
        self.state, answer, sent = model.step(self.template, None, start, 0)
        self._compare("start", told, answer, sent)

    # --- the real thing ---

    def begin(self, context: dict[str, Any], by: str) -> Told:
        """Start the real instance."""
        begun = engine.start(
            self.definition,
            c.StartWorkflow(business_ref_no="REF", context=context),
            instance_id="I",
            started_by=by,
            version=1,
            at=self.at,
            world=self.world,
        )
        assert isinstance(begun, Accepted)
        return Told("applied", "", begun.snapshot, self._messages(begun))

    def real(self, command: c.Command, event_id: str | None) -> Told:
        """Ask the real instance."""
        decision = engine.decide(self.definition, self.now, command, at=self.at, world=self.world)
        said = bridge.answer_of(decision)
        if isinstance(decision, Accepted):
            return Told(said, "", decision.snapshot, self._messages(decision))
        return Told(said, decision.reason, self.now, [])

    def _messages(self, accepted: Accepted) -> list[dict[str, Any]]:
        sent = outgoing.messages(self.definition, accepted.snapshot, accepted.events)
        return [bridge.message_of(one.body, one.queue) for one in sent]

    # --- both ---

    def ask(self, command: c.Command, *, after: float = 0, event_id: str | None = None) -> str:
        """Ask both; it gives the answer that they agree on."""
        self.at += dt.timedelta(seconds=after)
        if isinstance(command, _OF_OPERATORS):
            command = dataclasses.replace(command, attempt=None, compensation=False)  # They name the task alone.
        if not bridge.is_modelled(command) or self._out_of_turn(command):
            return "not modelled"
        told = self.real(command, event_id)
        if told.answer in bridge.NOT_THE_MODELS:
            assert told.now == self.now
            return told.answer
        self.now = told.now
        ask = bridge.asked(self.definition, command) | ({"event_id": event_id} if event_id else {})
        self.state, answer, sent = model.step(self.template, self.state, ask, bridge.seconds(self.at))
        self._compare(command, told, answer, sent)
        return told.answer

    def _out_of_turn(self, command: c.Command) -> bool:
        """A step speaks only while it has its turn, and only about that; nothing from outside can say it."""
        if not isinstance(command, c.AwaitSignal):
            return False
        task = self.now.tasks[self.definition.task_positions[command.stage_name, command.task_name]]
        current = not command.compensation and command.attempt in (None, task.attempt)
        return not current or task.state != "STARTED" or self.now.state == "SUSPENDED"

    def ask_what_fits(self, luck: random.Random, times: int) -> None:
        """Ask several things in a row that suit the state, so that instances get somewhere."""
        for _ in range(times):
            if fitting := moves.fitting(self.definition, self.now):
                self.ask(luck.choice(fitting))

    def later(self, seconds: float) -> None:
        """Let time pass, and every clock go off that is due."""
        self.at += dt.timedelta(seconds=seconds)
        for command in self.due():
            self.ask(command)

    def due(self) -> list[c.Command]:
        """Give the clocks that are due."""
        due: list[c.Command] = []
        for position, task in enumerate(self.now.tasks):
            for one, compensation in ((task, False), (task.compensation, True)):
                if one is not None and one.timeout_at is not None and one.timeout_at <= self.at:
                    due.append(c.ElapseTaskTimeout(position, one.attempt, compensation))
                if one is not None and one.retry_at is not None and one.retry_at <= self.at:
                    due.append(c.ElapseRetry(position, one.attempt, compensation))
        if self.now.timeout_at is not None and self.now.timeout_at <= self.at:
            due.append(c.ElapseInstanceTimeout())
        return due

    def _compare(self, command: Any, told: Told, answer: str, sent: Iterable[dict[str, Any]]) -> None:
        self.log.append(f"{bridge.seconds(self.at):g} {command} -> {told.answer}")
        faults = []
        # A repeated heartbeat, a clock that went off for nothing: applied without an event is nothing at all.
        if told.answer != answer and {told.answer, answer} != {"nothing", "applied"}:
            faults.append(f"the engine answers {told.answer} ({told.reason}), the model {answer}")
        self.state, misses = bridge.settle_luck(self.state, self.definition, self.now)
        seen = bridge.seen_in_the_engine(self.definition, self.now), bridge.seen_in_the_model(self.state)
        faults += misses + bridge.differences(*seen)
        faults += bridge.differences(numbered(told.messages), numbered(sent), "message ")
        if faults:
            raise Disagreement("\n".join([*faults, "", "after:", *self.log[-12:], "", f"template: {self.template}"]))


def numbered(messages: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Give messages ready to be compared, one by one."""
    # What was withdrawn is known by stage, task and attempt; the rest of a CancelTask shows the moment after the input.
    free = ("context", "output", "undoes_attempt")
    return {
        number: {name: value for name, value in one.items() if one["event_name"] != "CancelTask" or name not in free}
        for number, one in enumerate(messages)
    }
