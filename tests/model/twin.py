"""One instance twice: in the pure engine and in the model. After every step both must look alike."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from tests.builders import NOON, People, definition_of
from tests.model import bridge, model
from workflows.engine import commands as c
from workflows.engine import decide as engine
from workflows.engine import outgoing
from workflows.engine.decision import Accepted
from workflows.engine.snapshot import Snapshot

_OF_OPERATORS = (c.SkipTask, c.CompleteTaskByHand, c.FailTaskByHand, c.ReplayTask)


class Disagreement(AssertionError):
    """Engine and model differ. Decide by the contract who is right, and write the case down as a test."""


class Twins:
    """An instance in both worlds, asked the same."""

    def __init__(
        self, template: Mapping[str, Any], *, context: Mapping[str, Any] | None = None, by: str = "ada", luck: float = 0
    ) -> None:
        self.template = dict(template)
        self.definition = definition_of(template)
        self.world = People(luck=luck)
        self.at = NOON
        self.told: list[str] = []
        begun = engine.start(
            self.definition,
            c.StartWorkflow(business_ref_no="REF", context=context or {}),
            instance_id="I",
            started_by=by,
            version=1,
            at=self.at,
            world=self.world,
        )
        assert isinstance(begun, Accepted)
        self.now: Snapshot = begun.snapshot
        ask = {"do": "start", "context": dict(context or {}), "by": by}
        state, answer, sent = model.step(self.template, None, ask, 0)
        assert state is not None
        self.state = state
        self._compare(c.StartWorkflow("REF"), "applied", answer, begun, sent)

    def ask(self, command: c.Command, *, after: float = 0) -> str:
        """Ask both; it gives the answer that they agree on."""
        self.at += dt.timedelta(seconds=after)
        if isinstance(command, _OF_OPERATORS):
            command = dataclasses.replace(command, attempt=None, compensation=False)  # They name the task alone.
        if not bridge.is_modelled(command) or self._out_of_turn(command):
            return "not modelled"
        decision = engine.decide(self.definition, self.now, command, at=self.at, world=self.world)
        said = bridge.answer_of(decision)
        if said in bridge.NOT_THE_MODELS:
            return said
        at = bridge.seconds(self.at)
        assert at is not None
        self.state, answer, sent = model.step(self.template, self.state, bridge.asked(self.definition, command), at)  # type: ignore[assignment]
        if isinstance(decision, Accepted):
            self.now = decision.snapshot
        self._compare(command, said, answer, decision, sent)
        return said

    def _out_of_turn(self, command: c.Command) -> bool:
        """A step speaks only while it has its turn, and only about that; nothing from outside can say it."""
        if not isinstance(command, c.AwaitSignal):
            return False
        task = self.now.tasks[self.definition.task_positions[command.stage_name, command.task_name]]
        return (
            command.compensation
            or command.attempt not in (None, task.attempt)
            or task.state != "STARTED"
            or self.now.state == "SUSPENDED"
        )

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

    def _compare(self, command: Any, said: str, answer: str, decision: Any, sent: tuple[dict[str, Any], ...]) -> None:
        self.told.append(f"{bridge.seconds(self.at):g} {command} -> {said}")
        self.state = bridge.settle_luck(self.state, self.definition, self.now)
        faults = []
        # A repeated heartbeat, a clock that went off for nothing: applied without an event is nothing at all.
        if said != answer and {said, answer} != {"nothing", "applied"}:
            faults.append(f"the engine answers {said} ({getattr(decision, 'reason', '')}), the model {answer}")
        seen = bridge.seen_in_the_engine(self.definition, self.now), bridge.seen_in_the_model(self.state)
        faults += bridge.differences(*seen)
        messages = []
        if isinstance(decision, Accepted):
            events = decision.events
            messages = [bridge.message_of(one) for one in outgoing.messages(self.definition, self.now, events)]
        faults += bridge.differences(_by_number(messages), _by_number(sent), "message ")
        if faults:
            raise Disagreement("\n".join([*faults, "", "after:", *self.told[-12:]]))


def _by_number(messages: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    # What was withdrawn is known by stage, task and attempt; the rest of a CancelTask shows the moment after the input.
    free = ("context", "output", "undoes_attempt")
    return {
        number: {name: value for name, value in one.items() if one["event_name"] != "CancelTask" or name not in free}
        for number, one in enumerate(messages)
    }
