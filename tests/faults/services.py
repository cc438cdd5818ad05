"""Fake services: they take work, do their effect into the ledger, and answer as well or as badly as the seed wants."""

from __future__ import annotations

import heapq
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.behaviour import Behaviour, Payload, answers, drawn
from tests.faults.client import Client
from tests.faults.records import Ledger

LEASE_SECONDS = 5
_PATIENCE = 6.0
"""How long a service tries to report; the time-out of the attempt, or the end of the lease, does the rest."""


@dataclass
class Work:
    """One delivery of one message, as a service has it in hand."""

    payload: Payload
    message_id: str
    behaviour: Behaviour
    body: bytes
    received: float
    acknowledge: Callable[[], None] = lambda: None


class Memory:
    """What services know of messages they have seen: somebody who died of one does not die of it again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[str] = set()

    def first_time(self, message_id: str) -> bool:
        """Tell whether this message is new."""
        with self._lock:
            new = message_id not in self._seen
            self._seen.add(message_id)
            return new


class Desk:
    """What a service does with its work, whichever way that comes. One thread each."""

    def __init__(self, queue: str, *, idempotent: bool, ledger: Path, seed: int, memory: Memory) -> None:
        self.queue = queue
        self._idempotent = idempotent
        self._ledger = Ledger(ledger)
        self._seed = seed
        self._memory = memory
        self._hand: list[tuple[float, int, Work]] = []
        self._numbers = itertools.count()

    def take(
        self, body: bytes, payload: Payload, *, redelivered: bool = False, **how: Callable[[], None]
    ) -> Work | None:
        """Take a delivery in hand; it is answered when its time has come. None where there is nothing to answer."""
        message_id = str(payload["message_id"])
        received = self._ledger.received(self.queue, body, message_id=message_id, redelivered=redelivered)
        if payload["event_name"] not in ("StartTask", "CompensateTask"):
            return None
        behaviour = drawn(seed=self._seed, reference=str(payload["business_ref_no"]), payload=payload)
        if behaviour.name.startswith("die") and not self._memory.first_time(message_id):
            behaviour = Behaviour("succeed")
        work = Work(payload, message_id, behaviour, body, received, **how)
        heapq.heappush(self._hand, (time.monotonic() + behaviour.think, next(self._numbers), work))
        return work

    def saw(self, body: bytes, payload: Payload, *, redelivered: bool) -> None:
        """Write down that a message came by."""
        self._ledger.received(self.queue, body, message_id=str(payload["message_id"]), redelivered=redelivered)

    @property
    def next_at(self) -> float | None:
        """Tell when the next answer is due (monotonic)."""
        return self._hand[0][0] if self._hand else None

    @property
    def in_hand(self) -> int:
        """Count what is in hand."""
        return len(self._hand)

    def due(self) -> list[Work]:
        """Give the work whose thinking is over."""
        found = []
        while self._hand and self._hand[0][0] <= time.monotonic():
            found.append(heapq.heappop(self._hand)[2])
        return found

    def forget(self) -> None:
        """Lose what is in hand, as somebody does who dies."""
        self._hand.clear()

    def affect(self, work: Work) -> None:
        """Do to the world what the work is about."""
        if not work.behaviour.effect or work.behaviour.name == "die_before":
            return
        payload = work.payload
        parts = [str(payload["instance_id"]), payload["stage_name"], payload["task_name"], payload["event_name"]]
        if not self._idempotent:
            parts.append(str(payload["attempt"]))
        self._ledger.effect(
            self.queue,
            work.body,
            message_id=work.message_id,
            idempotency_key="/".join(parts),
            idempotent=self._idempotent,
            received=work.received,
        )

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()


class HttpService(threading.Thread):
    """The service behind one queue, without a broker: it leases, and hands results in."""

    def __init__(self, desk: Callable[[], Desk], client: Client, *, queue: str, stop: threading.Event) -> None:
        super().__init__(name=f"service-{queue}", daemon=True)
        self._make_desk = desk
        self._client = client
        self._queue = queue
        self._stopping = stop
        self._worker = f"service-{queue}"
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Serve until told to stop."""
        try:
            self._desk = self._make_desk()
            while not self._stopping.is_set():
                self._round()
            self._desk.close()
        except BaseException as error:
            self.failure = error
            raise

    def _round(self) -> None:
        desk = self._desk
        if desk.in_hand < 40:
            wait = 1 if desk.in_hand == 0 else 0
            if not self._lease(wait) and desk.next_at is not None:
                time.sleep(min(0.3, max(0.0, desk.next_at - time.monotonic())))
        self._answer(desk.due())

    def _lease(self, wait: int) -> bool:
        answer = self._client.ask(
            f"/api/v1/queues/{self._queue}/lease/",
            {"worker_id": self._worker, "max_tasks": 20, "lease_seconds": LEASE_SECONDS, "wait_seconds": wait},
            kind="lease",
            key=self._queue,
            request={"worker_id": self._worker},
        )
        if not answer.ok:
            self._stopping.wait(0.3)
            return False
        for leased in answer.body["tasks"]:
            payload = {key: value for key, value in leased.items() if key not in ("lease_id", "lease_until")}
            # The bytes that would have travelled: the lease is written around the same message.
            body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
            work = self._desk.take(body, payload)
            if work is not None and work.behaviour.name not in ("before_ack", "old_format"):
                work.payload = {**payload, "_lease": leased["lease_id"]}
        return bool(answer.body["tasks"])

    def _answer(self, due: list[Work]) -> None:
        batch: list[dict[str, Any]] = []
        for work in due:
            self._desk.affect(work)
            said = answers(work.behaviour, work.payload)
            # One in three names its lease.
            lease = work.payload.get("_lease")
            named = lease is not None and random.Random(work.message_id).random() < 0.3
            simple = len(said) == 1 and isinstance(said[0], dict) and not named
            for one in said:
                if isinstance(one, bytes):
                    self._client.ask(
                        "/api/v1/events/", kind="event", key="", request={"raw": one.decode()[:200]}, raw=one
                    )
                elif simple:
                    batch.append(one)
                else:
                    self._report({**one, "lease_id": lease} if named else one)
        if len(batch) == 1:
            self._report(batch[0])
        elif batch:
            self._report_all(batch)

    def _report(self, message: Mapping[str, Any]) -> None:
        report(self._client, message, stop=self._stopping)

    def _report_all(self, batch: list[dict[str, Any]]) -> None:
        # Tried once in one go; whatever is not known is then reported alone.
        for message, answer in zip(batch, self._client.send_events(batch), strict=True):
            if answer.unknown:
                self._report(message)


def report(client: Client, message: Mapping[str, Any], *, stop: threading.Event) -> None:
    """Hand a result in until there is a definite answer, or patience is over."""
    end = time.monotonic() + _PATIENCE
    shown = message if len(str(message.get("output", ""))) < 2_000 else {**message, "output": "(long)"}
    while True:
        answer = client.ask(
            "/api/v1/events/", message, kind="event", key=str(message.get("event_id", "")), request=shown
        )
        if not answer.unknown or time.monotonic() > end or stop.wait(0.25):
            return


__all__ = ["Desk", "HttpService", "Memory", "Work", "report"]
