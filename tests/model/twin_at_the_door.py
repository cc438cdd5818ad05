"""One instance twice: behind the one door, with all its rows, and in the model."""

from __future__ import annotations

from typing import Any

from tests.model import bridge
from tests.model.twin import Told, Twins
from tests.runtime.door import Door
from workflows.engine import commands as c
from workflows.models import OutboxMessage
from workflows.runtime.asking import Outcome
from workflows.runtime.replay import state_at


class TwinsAtTheDoor(Twins):
    """The same with the whole runtime: rows, log, outbox, handled messages."""

    def begin(self, context: dict[str, Any], by: str) -> Told:
        """Start the real instance."""
        self.door = Door(component="COMPONENT")
        self.door.publish(self.template)
        self.sent = 0
        answer = self.door.start(by=by, context=context)
        assert answer.created
        return self._told(answer)

    def real(self, command: c.Command, event_id: str | None) -> Told:
        """Ask the real instance."""
        self.door.at = self.at
        return self._told(self.door.ask(command, event_id=event_id))

    def _told(self, answer: Any) -> Told:
        _, now = state_at(self.door.instance())
        said = str(answer.code or answer.outcome)
        if answer.outcome is Outcome.APPLIED and not answer.events:
            said = "nothing"
        # A refusal is written down, and so the instance is one event older; nothing else of it has changed.
        rows = list(OutboxMessage.objects.order_by("id")[self.sent :])
        self.sent += len(rows)
        messages = [bridge.message_of(row.payload, row.queue) for row in rows]
        return Told(said, answer.reason or "", now, messages)
