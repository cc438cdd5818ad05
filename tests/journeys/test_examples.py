"""Every example workflow runs to its end, fails to its end and is undone to its end."""

import random

import pytest

from workflows.engine import commands as c
from workflows.engine.lifecycle import ENDED, LIVE
from workflows.examples.templates import NAMES, template
from workflows.runtime.loading import snapshots
from workflows.runtime.replay import check_history, state_at

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


def sample(schema):
    """Make up a value that fits a form schema."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type", "object"):
        case "object":
            return {name: sample(inner) for name, inner in schema.get("properties", {}).items()}
        case "array":
            return [sample(schema.get("items", {"type": "string"}))] * max(1, schema.get("minItems", 1))
        case "boolean":
            return True
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    known = {
        "date": "2026-01-01",
        "date-time": "2026-01-01T00:00:00Z",
        "email": "a@b.example",
        "uri": "https://x.example/",
    }
    text = known.get(schema.get("format"), schema.get("pattern", "A text that is long enough"))
    return text[: schema.get("maxLength", 200)]


@pytest.mark.parametrize("how", ["well", "badly", "undone"])
@pytest.mark.parametrize("example", NAMES)
def test_an_example_comes_to_its_end(door, example, how):
    read, chance = template(example), random.Random(7)
    site = door(read, component=read["component_name"])
    started = site.start(context=sample(read.get("context_schema", {})))
    assert started.created, started.errors
    begun_to_undo = False

    for turn in range(400):
        definition, now = state_at(site.instance())
        if now.state in ENDED:
            break
        site.later(3600 if turn % 5 == 4 else 1)
        if how == "undone" and turn == 6:
            begun_to_undo = site.ask(c.RollBackWorkflow("why")).applied
            continue
        for task in definition.tasks:
            state = state_at(site.instance())[1].tasks[task.position]
            name = (task.stage_name, task.task_name)
            fails = how == "badly" and chance.random() < 0.4
            match state.state:
                case "SCHEDULED" | "STARTED" | "WAITING" if state.state in LIVE or state.signal:
                    site.ask(c.FailTask(*name) if fails else c.CompleteTask(*name, output={}))
                case "FAILED" if not fails:
                    site.ask(c.RetryTask(*name, reason="why"))
                case "COMPENSATING" if state.compensation.state in LIVE:
                    site.ask((c.FailTask if fails else c.CompleteTask)(*name, compensation=True))
                case "COMPENSATION_FAILED":
                    site.ask(c.RetryTask(*name, reason="why"))
        snapshots.forget()
        assert check_history(site.instance()) == []

    assert site.state() in ("COMPLETED", "ROLLED_BACK"), site.states()
    assert how != "well" or site.state() == "COMPLETED"
    assert not begun_to_undo or site.state() == "ROLLED_BACK"
