"""Whoever starts instances, the people who decide, the operators who repair: all over HTTP."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.faults.client import Answer, Client
from tests.faults.shapes import COMPONENT, Plan, Start

_TRIES = 25
"""So often a start is tried whose outcome nobody knows; then it stays unknown."""
PEOPLE = ("fred", "fiona")


class Driver(threading.Thread):
    """A thread that does its round until it is told to stop. What it fails of is the harness's own fault."""

    pause = 0.2

    def __init__(self, name: str, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._stopping = stop
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Go round."""
        try:
            while not self._stopping.is_set():
                self.round()
                self._stopping.wait(self.pause)
        except BaseException as error:
            self.failure = error
            raise

    def round(self) -> None:
        """Do a piece of work."""
        raise NotImplementedError


class Starter(Driver):
    """Starts what the plan says, by the door it says, and tries again where nobody knows."""

    pause = 0.02

    def __init__(
        self,
        plan: Plan,
        client: Client,
        *,
        begun: float,
        stop: threading.Event,
        over_broker: Callable[[Start], Answer] | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__(f"starter-{part[0]}", stop)
        self._client = client
        self._over_broker = over_broker
        self._begun = begun
        number, of = part
        self._left = list(plan.starts[number::of])[::-1]
        self._again: list[tuple[float, int, Start]] = []
        self.started: dict[str, str] = {}

    @property
    def finished(self) -> bool:
        """Tell whether everything was started."""
        return not self._left and not self._again

    def round(self) -> None:
        """Start what is due."""
        now = time.monotonic() - self._begun
        while self._left and self._left[-1].at <= now:
            self._start(self._left.pop(), tries=0)
        due, self._again = [one for one in self._again if one[0] <= now], [one for one in self._again if one[0] > now]
        for _, tries, start in due:
            self._start(start, tries=tries)

    def _start(self, start: Start, *, tries: int) -> None:
        answer = self._ask(start, tries)
        now = time.monotonic() - self._begun
        if answer.unknown and tries < _TRIES:
            # Some are not repeated for long, and some clients never come back at all.
            if tries < 3 or not start.reference.endswith("7"):
                self._again.append((now + min(3.0, 0.3 * (tries + 1)), tries + 1, start))
        elif start.again and tries == 0:
            self._again.append((now + 0.1, _TRIES, start))

    def _ask(self, start: Start, tries: int) -> Answer:
        body = {
            "component_name": COMPONENT,
            "workflow_name": start.workflow,
            "business_ref_no": start.reference,
            "context": start.context,
        }
        if start.door == "amqp" and self._over_broker is not None:
            return self._over_broker(start)
        if start.door == "event":
            message = {**body, "event_name": "StartWorkflow", "event_id": f"{start.reference}/start"}
            return self._client.ask("/api/v1/events/", message, kind="start", key=start.reference, request=message)
        answer = self._client.ask(
            "/api/v1/instances/",
            body,
            kind="start",
            key=start.reference,
            request=body,
            # Who dies leaves a key behind that answers for two minutes: come again. A start needs none to count once.
            idempotency_key=f"{start.reference}/start" if tries < 5 and start.reference[-1] in "13" else None,
        )
        if answer.ok and isinstance(answer.body, dict):
            self.started[start.reference] = answer.body["id"]
        return answer


class Person(Driver):
    """Somebody of finance: claims, decides, gives back, passes on, and clicks twice."""

    pause = 0.25

    def __init__(self, name: str, client: Client, other: Client, operator: Client, *, seed: int, stop: threading.Event):
        super().__init__(name, stop)
        self._me = name
        self._client = client
        self._other = other
        self._operator = operator
        self._rng = random.Random(f"{seed}/{name}")
        self._seed = seed
        self._numbers = itertools.count()
        self.calm = False

    def round(self) -> None:
        """Look at the list, and do some of it."""
        for view in ("claimable", "mine"):
            listed = self._client.get(f"/api/v1/human-tasks/?view={view}&limit=30")
            tasks = [one for one in (listed or {}).get("results", ()) if one["component_name"] == COMPONENT]
            self._rng.shuffle(tasks)
            for task in tasks[:8]:
                if self._stopping.is_set():
                    return
                self._do(task)

    def _do(self, task: Mapping[str, Any]) -> None:
        roll = self._rng.random()
        if self.calm or roll < 0.55:
            self._decide(self._client, self._me, task, retries=3)
        elif roll < 0.65:
            self._act(self._client, task, "claim", {})
        elif roll < 0.72:
            if self._act(self._client, task, "claim", {}).ok:
                self._act(self._client, task, "release", {})
        elif roll < 0.77:
            to = self._rng.choice(["finance", "fred", "fiona"])
            self._act(self._operator, task, "reassign", {"assigned_to": to, "reason": "drawn"}, by="olivia")
        elif roll < 0.80:
            self._act(self._client, task, "comment", {"comment": "Hm."})
        elif roll < 0.90:
            self._click_twice(task)
        else:
            self._both_at_once(task)

    def _click_twice(self, task: Mapping[str, Any]) -> None:
        key = f"{self._me}/{next(self._numbers)}/{task['id']}"
        self._together(*[lambda: self._decide(self._client, self._me, task, idempotency_key=key)] * 2)

    def _both_at_once(self, task: Mapping[str, Any]) -> None:
        other = next(name for name in PEOPLE if name != self._me)
        self._together(
            lambda: self._decide(self._client, self._me, task, roll=0.1),
            lambda: self._decide(self._other, other, task, roll=0.95),
        )

    def _together(self, *asked: Callable[[], Any]) -> None:
        threads = [threading.Thread(target=one, daemon=True) for one in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _decide(
        self,
        client: Client,
        by: str,
        task: Mapping[str, Any],
        *,
        roll: float | None = None,
        idempotency_key: str | None = None,
        retries: int = 0,
    ) -> None:
        body = self._decision(task, roll)
        for _ in range(retries + 1):
            answer = self._act(client, task, "complete", body, by=by, idempotency_key=idempotency_key)
            if not answer.unknown or self._stopping.wait(0.3):
                return

    def _decision(self, task: Mapping[str, Any], roll: float | None) -> dict[str, Any]:
        # The same whoever decides, and whenever: the seed's, not the clock's.
        of_task = f"{self._seed}/{task['business_ref_no']}/{task['task_name']}/{task['attempt']}"
        rng = random.Random(of_task)
        roll = rng.random() if roll is None else roll
        if task["compensation"]:
            return {"data": {}}
        names = [one["name"] for one in task["outcomes"]]
        if "back" in names and roll < 0.15 and task["attempt"] == 1:
            return {"outcome": "back", "comment": "Look again.", "data": {}}
        if roll > 0.85 and not (task["workflow_name"] == "returning" and self.calm):
            return {"outcome": "reject", "comment": "Not this one.", "data": {}}
        return {"outcome": "approve", "data": {"amount": rng.randrange(1000)}}

    def _act(
        self,
        client: Client,
        task: Mapping[str, Any],
        action: str,
        body: Mapping[str, Any],
        *,
        by: str | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        request = {
            "by": by or self._me,
            "action": action,
            "instance_id": task["instance_id"],
            "stage_name": task["stage_name"],
            "task_name": task["task_name"],
            "attempt": task["attempt"],
            **body,
        }
        return client.ask(
            f"/api/v1/human-tasks/{task['id']}/{action}/",
            body,
            kind="decision" if action == "complete" else "human",
            key=task["id"],
            request=request,
            idempotency_key=idempotency_key,
        )
