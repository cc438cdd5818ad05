"""Everything that a verdict rests on, and what a violation looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.facts import Facts, Instance
from tests.faults.folding import Folded, fold
from tests.faults.records import Delivery, Effect, Operation


class Violation(NamedTuple):
    """Something that must never be: the invariant, where, and what."""

    invariant: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.where}: {self.text}"


class Depth(NamedTuple):
    """What a queue of the broker holds."""

    ready: int
    unacknowledged: int = 0


class Sample(NamedTuple):
    """What a process used of something before the run, and when it was over and calm."""

    name: str
    before: float
    after: float
    slack: float = 0.0


@dataclass
class Evidence:
    """What a run has left behind.

    `operations`, `effects`, `deliveries`: None means that nobody kept a record, so that the invariants about them say
    nothing. `depths` None: no broker, a message is in its queue as soon as it is written down. `calm`: the faults are
    over and everything had its time. `anchors` were taken while it ran (`facts.anchor`). `logs` are what processes
    have printed, `expected` patterns of the last lines of tracebacks that the faults explain. `frames` is what sockets
    received: dicts with socket, topic, sequence, allowed. `secrets` were planted and must not be found. `counts` are
    numbers of instances by state that the site shows. `deleted`: when queues were deleted, by name (from, to): RabbitMQ
    confirms what it routes to a queue that is being deleted, and drops it.
    """

    facts: Facts
    operations: Sequence[Operation] | None = None
    effects: Sequence[Effect] | None = None
    deliveries: Sequence[Delivery] | None = None
    depths: Mapping[str, Depth] | None = None
    calm: bool = True
    anchors: Sequence[Mapping[str, Any]] = ()
    logs: Sequence[Path] = ()
    expected: Sequence[str] = ()
    frames: Sequence[Mapping[str, Any]] = ()
    secrets: Sequence[str] = ()
    counts: Mapping[str, int] | None = None
    deleted: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    lease_limit_seconds: float = 3600
    overdue_seconds: float = 5
    disagreements: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def folded(self) -> dict[str, Folded]:
        """Every history, folded."""
        return {key: fold(self.facts, one) for key, one in self.facts.instances.items()}

    def pairs(self) -> list[tuple[Instance, Folded]]:
        """Give every instance with its folded history."""
        return [(one, self.folded[key]) for key, one in self.facts.instances.items()]

    def objections(self, invariant: str) -> list[Violation]:
        """Give what the fold found wrong of this kind."""
        return [
            Violation(invariant, key, text)
            for key, folded in self.folded.items()
            for number, text in folded.objections
            if number == invariant
        ]
