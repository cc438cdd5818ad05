"""A row moves in one place, and nothing moves it round its state machine."""

import ast

from tests.tree import sources

# Where rows may be written in bulk: the rows themselves and what applies events to them.
MAY_WRITE_STATES = ("workflows/models/", "workflows/runtime/", "workflows/migrations/")
MAY_MARK = "workflows/runtime/appliers.py"
# Rows that are no part of an instance: a message on its way out, and one that could not be read. They have no history,
# so no event moves them; what carries them does.
MAY_MARK_TOO = {
    "mark_sent": ("workflows/runtime/", "workflows/messaging/"),
    "mark_unsent": ("workflows/runtime/", "workflows/messaging/"),
    "mark_resubmitted": ("workflows/runtime/", "workflows/messaging/"),
    **{
        f"mark_{status}": ("workflows/subscriptions/",)
        for status in ("provisioning", "active", "migrating", "disabled", "terminated")
    },
    "mark_discarded": ("workflows/runtime/", "workflows/messaging/"),
}


def calls(tree: ast.Module) -> list[tuple[ast.Call, str]]:
    return [
        (node, node.func.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]


def test_only_the_appliers_mark_a_row():
    found = [
        f"{path}:{call.lineno} {name}"
        for path, tree in sources()
        if path != MAY_MARK
        for call, name in calls(tree)
        if name.startswith("mark_") and not path.startswith(MAY_MARK_TOO.get(name, ("nowhere",)))
    ]

    assert found == []


def test_no_state_is_written_past_its_machine():
    found = [
        f"{path}:{call.lineno}"
        for path, tree in sources()
        if not path.startswith(MAY_WRITE_STATES)
        for call, name in calls(tree)
        if name in ("update", "bulk_update", "update_or_create")
        and (
            any(keyword.arg == "state" for keyword in call.keywords)
            or any(isinstance(node, ast.Constant) and node.value == "state" for node in ast.walk(call))
        )
    ]

    assert found == []


def test_no_signals_no_receivers():
    found = [
        f"{path}:{node.lineno}"
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module in ("django.dispatch", "django.db.models.signals", "django_fsm.signals")
    ]

    assert found == []
