"""Golden histories: event logs as they were once written, each with the instance that they amount to.

`WRITE_GOLDEN=1` with tests/model/test_golden.py writes those that are missing, through the one door, from their seeds.
Those that are there are never written again: what they amount to must not change.
"""

from __future__ import annotations

import datetime as dt
import json
import random
from pathlib import Path
from typing import Any

from tests import builders as b
from tests import moves
from tests.model import bridge
from tests.model.explore import TEMPLATES
from tests.runtime.door import Door
from workflows.definitions.schema import WorkflowDefinition
from workflows.engine import commands as c
from workflows.engine import evolve
from workflows.engine.codec import Reader
from workflows.engine.events import Event
from workflows.engine.snapshot import Snapshot
from workflows.models import LoggedEvent
from workflows.runtime import plugins
from workflows.runtime.replay import state_at

FOLDER = Path(__file__).parent / "golden"
SEEDS = range(58)

_OUTCOMES = [{"name": "approve"}, {"name": "reject", "effect": "fail"}]
_EVERYTHING = b.workflow(
    b.stage(
        "GATHER",
        b.service("first", business_status="GATHERED", **b.undo(retry={"max_attempts": 2, "delay_seconds": 5})),
        b.step("wait", timeout_seconds=300, compensate={"step": "steps.unwait"}),
        b.service("optional", when={"==": [{"var": "amount"}, 1]}, on_failure="continue"),
    ),
    b.stage("EMPTY"),
    b.stage(
        "DECIDE",
        b.human("look", outcomes=_OUTCOMES, compensate={"assigned_to": "finance"}),
        b.human(
            "sign", "look", four_eyes=True, task_queue="notify",
            outcomes=[*_OUTCOMES, {"name": "back", "effect": "return", "return_to": "look"}],
        ),
    ),
    b.stage("SHIP", b.service("ship", business_status="SHIPPED", on_failure="rollback", **b.retry(3, 10), **b.undo())),
    timeout_seconds=20_000,
)  # fmt: skip
_PLUGINS = {
    "pre": [b.plugin(b.service("scan", **b.undo())), b.plugin(b.service("guess", **b.retry(2, 5)), optional=True)],
    "parallel": [b.plugin(b.service("fraud"), system="CORE"), b.plugin(b.human("look")), b.excluded("auto")],
    "post": [b.plugin(b.service("file", timeout_seconds=300, **b.undo()))],
}
_ACTIVITY = b.workflow(
    b.stage("FIRST", b.service("in")), b.activity("PROCESS", activity="rate"), b.stage("LAST", b.service("out"))
)
_TEMPLATES = [_EVERYTHING, *TEMPLATES.values()]


def path_of(seed: int) -> Path:
    """Say where the history of a seed is kept."""
    return FOLDER / f"history-{seed:02}.json"


def write(seed: int) -> dict[str, Any]:
    """Live through an instance behind the one door, and give its history."""
    luck = random.Random(seed)
    template = _ACTIVITY if seed >= 50 else _TEMPLATES[0 if seed % 2 else seed // 2 % len(_TEMPLATES)]
    door = Door(template, component=f"GOLDEN {seed}")
    plugins.ask_with(lambda activity, phase, attributes: b.expected_of(_PLUGINS, phase))
    door.start(by=luck.choice(["ada", "fred"]), context={"amount": luck.randint(0, 2)})
    for _ in range(luck.randint(8, 32)):
        instance = door.instance()
        definition, now = state_at(instance)
        fitting = moves.fitting(definition, now)
        match luck.randint(0, 9):
            case 0:
                door.later(luck.choice([5, 40, 400, 8_000]))
            case 1:
                task, undoing = luck.choice(definition.tasks), now.state == "ROLLING_BACK"
                attempt = None if undoing else luck.choice([1, 2, None])
                door.ask(c.FailTask(task.stage_name, task.task_name, attempt, compensation=undoing))
            case 2 if people := [t for t in definition.tasks if t.kind == "HUMAN"]:
                task = luck.choice(people)
                door.ask(c.CommentTask(task.stage_name, task.task_name, **moves.PEOPLE["fred"], comment="hm"))
            case 3 if people := [t for t in definition.tasks if t.kind == "HUMAN"]:
                task = luck.choice(people)
                for kind in (c.ClaimTask, c.ReleaseTask):
                    door.ask(kind(task.stage_name, task.task_name, **moves.PEOPLE["fred"]))
            case _ if fitting:
                door.ask(luck.choice(fitting))
    names = ("occurred_at", "event", "shape", "stage_name", "task_name", "attempt", "data")
    rows = LoggedEvent.objects.filter(instance=door.instance()).order_by("sequence").values(*names)
    history = [{**row, "occurred_at": row["occurred_at"].isoformat()} for row in rows]
    golden = {"template": template, "history": history}
    definition, events = read(golden)
    ends = sorted({len(events) // 2, len(events)})
    golden["amounts_to"] = {str(end): amount(definition, fold(definition, events[:end])) for end in ends}
    return golden


def dump(golden: dict[str, Any]) -> str:
    """Write a history down, an event to a line."""
    lines = ",\n".join(f"  {json.dumps(event, sort_keys=True)}" for event in golden["history"])
    amounts = ",\n".join(
        f"  {json.dumps(end)}: {json.dumps(it, sort_keys=True)}" for end, it in golden["amounts_to"].items()
    )
    template = json.dumps(golden["template"], sort_keys=True)
    return f'{{"template": {template},\n "history": [\n{lines}\n ],\n "amounts_to": {{\n{amounts}\n }}}}\n'


def read(golden: dict[str, Any]) -> tuple[WorkflowDefinition, list[tuple[dt.datetime, Event]]]:
    """Read a history as the runtime reads its log."""
    definition = b.definition_of(golden["template"])
    reader, names = Reader(definition), ("event", "shape", "stage_name", "task_name", "attempt")
    events = [
        (dt.datetime.fromisoformat(row["occurred_at"]), reader.read(*(row[name] for name in names), row["data"] or {}))
        for row in golden["history"]
    ]
    return definition, events


def fold(definition: WorkflowDefinition, events: list[tuple[dt.datetime, Event]]) -> Snapshot:
    """Fold a history."""
    now = evolve.fold(definition, events, instance_id="I")
    assert now is not None
    return now


def amount(definition: WorkflowDefinition, now: Snapshot) -> dict[str, Any]:
    """Show an instance in the form in which golden ones are kept: plain JSON, as anybody can see it from outside."""
    seen = bridge.seen_in_the_engine(definition, now)
    seen["tasks"] = {"/".join(key): task for key, task in seen["tasks"].items()}
    seen |= {"last_sequence": now.last_sequence, "health": now.health, "finished_at": bridge.seconds(now.finished_at)}
    plain: dict[str, Any] = json.loads(json.dumps(seen))
    return plain
