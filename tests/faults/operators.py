"""Operators: they do to instances what the plan says, and repair what has failed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from tests.faults.client import Answer, Client
from tests.faults.people import Driver
from tests.faults.shapes import COMPONENT, Plan

NEEDS_SOMEBODY = "FAILED,ROLLBACK_FAILED,SUSPENDED"


class Operator(Driver):
    """Olivia: acts on the plan, and looks after what needs somebody."""

    pause = 0.3

    def __init__(
        self, plan: Plan, client: Client, *, begun: float, stop: threading.Event, republish: Callable[[], None]
    ) -> None:
        super().__init__("operator", stop)
        self._republish = republish
        self._client = client
        self._plan = plan
        self._begun = begun
        self._rng = random.Random(f"{plan.seed}/operator")
        self._planned = sorted(
            ((start.at + after, act, start.reference) for start in plan.starts for after, act in start.acts),
            reverse=True,
        )
        self._later: list[tuple[float, str, Mapping[str, Any]]] = []
        self.calm = False
        self.last_look: list[Mapping[str, Any]] | None = None

    def round(self) -> None:
        """Do what is due, then look around."""
        now = time.monotonic() - self._begun
        while self._planned and self._planned[-1][0] <= now and not self._stopping.is_set():
            _, act, reference = self._planned.pop()
            if not self.calm and (instance := self._find(reference)):
                self._do(act, instance)
        if self.calm or self._rng.random() < 0.3:
            self._repair()
        elif self._rng.random() < 0.05:
            # A new version, under those who run on the old one.
            self._republish()

    def _find(self, reference: str) -> Mapping[str, Any] | None:
        found = self._client.get(f"/api/v1/instances/?business_ref_no={quote(reference)}&component_name={COMPONENT}")
        return self._whole(found["results"][0]["id"]) if found and found["results"] else None

    def _whole(self, instance_id: str) -> Mapping[str, Any] | None:
        return self._client.get(f"/api/v1/instances/{instance_id}/")

    def _do(self, act: str, instance: Mapping[str, Any]) -> None:
        tasks = list(_tasks(instance))
        live = [one for one in tasks if one[1]["state"] in ("SCHEDULED", "STARTED", "WAITING")]
        done = [one for one in tasks if one[1]["state"] in ("COMPLETED", "SKIPPED")]
        match act:
            case "suspend" | "cancel" | "rollback":
                self._on_instance(instance, act)
            case "replay_stage":
                reached = [one["stage_name"] for one in instance["stages"] if one["state"] in ("COMPLETED", "ACTIVE")]
                if reached:
                    self._on_stage(instance, self._rng.choice(reached))
            case "replay_task" if done:
                self._on_task(instance, "replay", *self._rng.choice(done))
            case "nudge" if live:
                self._on_task(instance, "retry", *self._rng.choice(live))
            case "skip" | "complete" | "fail" if live:
                self._on_task(instance, act, *self._rng.choice(live))

    def _repair(self) -> None:
        listed = self._client.get(f"/api/v1/instances/?state={NEEDS_SOMEBODY}&component_name={COMPONENT}&limit=100")
        if listed is None:
            return
        self.last_look = listed["results"]
        for one in self.last_look:
            start = self._plan.by_reference.get(one["business_ref_no"])
            if self._stopping.is_set() or (start is not None and start.left):
                continue
            if self.calm or self._rng.random() < 0.3:
                instance = self._whole(one["id"])
                if instance is not None:
                    self._mend(instance)

    def _mend(self, instance: Mapping[str, Any]) -> None:
        match instance["state"]:
            case "SUSPENDED":
                self._on_instance(instance, "resume")
            case "ROLLBACK_FAILED":
                for stage, task in _tasks(instance):
                    if task["state"] == "COMPENSATION_FAILED":
                        self._on_task(instance, self._rng.choice(["retry", "complete", "skip"]), stage, task)
            case "FAILED":
                failed = [one for one in _tasks(instance) if one[1]["state"] == "FAILED"]
                if not failed:
                    # Its own limit has passed.
                    self._on_instance(instance, "resume")
                elif not self.calm and self._rng.random() < 0.15:
                    self._on_instance(instance, "rollback")
                for stage, task in failed:
                    self._on_task(instance, self._rng.choice(["retry", "skip", "complete"]), stage, task)

    def _on_instance(self, instance: Mapping[str, Any], action: str) -> Answer:
        return self._ask(instance, f"{action}/", action)

    def _on_stage(self, instance: Mapping[str, Any], stage: str) -> Answer:
        return self._ask(instance, f"stages/{quote(stage)}/replay/", "replay", stage_name=stage)

    def _on_task(self, instance: Mapping[str, Any], action: str, stage: str, task: Mapping[str, Any]) -> Answer:
        path = f"tasks/{quote(stage)}/{quote(task['task_name'])}/{action}/"
        return self._ask(instance, path, action, stage_name=stage, task_name=task["task_name"])

    def _ask(self, instance: Mapping[str, Any], path: str, action: str, **where: str) -> Answer:
        body: dict[str, Any] = {"reason": "drawn"}
        if action == "complete":
            body["output"] = {"by_hand": True}
        return self._client.ask(
            f"/api/v1/instances/{instance['id']}/{path}",
            body,
            kind="act",
            key=instance["id"],
            request={"by": "olivia", "action": action, **where, **body},
        )


def _tasks(instance: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for stage in instance["stages"]:
        for task in stage["tasks"]:
            yield stage["stage_name"], task
