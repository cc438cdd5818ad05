"""Two processes that start a workflow on one subscription in the same moment, again and again."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from pathlib import Path
from typing import Any

from django.db import connections

from tests.benchmarks.racing import race
from workflows.engine.commands import CancelWorkflow, StartWorkflow
from workflows.models import Subscription, WorkflowInstance
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.handling import handle

TITLES = ("Modify node", "Visit")


def run(keys: list[list[str]], folder: Path) -> Counter[str]:
    """Race for each pair of keys (the same subscription twice, or two that are related); count how rounds ended.

    The loser is told who holds it; before the next round the winner is cancelled, which puts it back in sync.
    """
    context = multiprocessing.get_context("fork")
    line = context.Barrier(2)

    def work(lane: Any, ready: Any) -> None:
        connections.close_all()
        (place,) = lane
        answers = []
        ready()
        for number, pair in enumerate(keys):
            context_said = {"subscription_id": pair[place], "name": f"{place}"}
            asked = Asked(
                StartWorkflow(f"RACE-{number}-{place}", context=context_said),
                Reference("NODES", f"RACE-{number}-{place}", TITLES[place]),
                actor=f"racer {place}",
            )
            line.wait(60)
            answer = handle(asked)[0]
            told = answer.details.get("holder", {}).get("business_ref_no")
            answers.append([answer.applied, answer.code, told])
            line.wait(60)
            if answer.instance is not None:
                handle(Asked(CancelWorkflow(reason="the race is over"), target=answer.instance.id, actor="racer"))
        (folder / f"{place}.json").write_text(json.dumps(answers))

    race(work, [[0], [1]])
    return Counter(_judged(keys, folder))


def _judged(keys: list[list[str]], folder: Path) -> list[str]:
    both = [json.loads((folder / f"{place}.json").read_text()) for place in (0, 1)]
    found = []
    for number in range(len(keys)):
        applied = [place for place in (0, 1) if both[place][number][0]]
        if len(applied) != 1:
            found.append(f"{len(applied)} hold it")
            continue
        _, code, told = both[1 - applied[0]][number]
        found.append(
            "one holds it" if (code, told) == ("subscription_held", f"RACE-{number}-{applied[0]}") else f"{code} {told}"
        )
    return found


def left_behind() -> tuple[int, int]:
    """Count the subscriptions that are still held, and the instances that have not ended."""
    return (
        Subscription.objects.exclude(holder=None).count(),
        WorkflowInstance.objects.exclude(state__in=("COMPLETED", "CANCELLED")).count(),
    )
