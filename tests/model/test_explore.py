"""The first thousands of states of every small template; all of them: `python -m tests.model.explore`."""

import pytest

from tests.model import explore, model
from tests.model.explore import TEMPLATES, Explorer
from tests.model.twin import Disagreement

MOST = 500


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_way_that_a_small_template_can_go(name):
    found = Explorer(TEMPLATES[name]).explore(MOST)

    assert found.states >= MOST
    assert set(found.ends) == set(model.ENDED)


# --- and it would notice ------------------------------------------------------------------------------------------


def _undo_the_oldest_first(monkeypatch):
    def oldest(left, key):
        return sorted(left, key=key)[0]

    monkeypatch.setattr(model, "max", oldest, raising=False)


def _join_over_any_parent(monkeypatch):
    monkeypatch.setattr(model, "all", any, raising=False)


def _take_a_result_after_the_end(monkeypatch):
    monkeypatch.setattr(model, "ENDED", ("ROLLED_BACK", "CANCELLED"))


def _try_once_more(monkeypatch):
    monkeypatch.setattr(model, "ONCE", {**model.ONCE, "max_attempts": 2})


def _leave_what_waits(monkeypatch):
    monkeypatch.setattr(model, "UNDER_WAY", ("SCHEDULED", "STARTED"))


def _forget_to_withdraw(monkeypatch):
    withdraw = model._Work.withdraw

    def quietly(work, key, job):
        sent = list(work.sent)
        withdraw(work, key, job)
        work.sent = sent

    monkeypatch.setattr(model._Work, "withdraw", quietly)


def _explore_all():
    for template in TEMPLATES.values():
        Explorer(template).explore(MOST)


@pytest.mark.parametrize(
    "plant",
    [
        _undo_the_oldest_first, _join_over_any_parent, _take_a_result_after_the_end, _try_once_more, _leave_what_waits,
        _forget_to_withdraw,
    ],
)  # fmt: skip
def test_a_difference_between_the_two_is_noticed(monkeypatch, plant):
    plant(monkeypatch)

    with pytest.raises(Disagreement):
        _explore_all()


@pytest.mark.parametrize("plant", [_undo_the_oldest_first, _join_over_any_parent, _forget_to_withdraw])
def test_what_must_hold_is_checked_without_the_engine_too(monkeypatch, plant):
    plant(monkeypatch)
    monkeypatch.setattr(Explorer, "_compare", lambda self, command, said, answer, decision, before, state, sent: state)

    with pytest.raises(AssertionError, match=r"^[SL]\d+"):
        _explore_all()


def test_the_rules_know_a_rollback_that_leaves_something(monkeypatch):
    template = TEMPLATES["a chain that rolls back"]
    state, _, _ = model.step(template, None, {"do": "start"}, 0)
    state, _, _ = model.step(template, state, {"do": "completed", "stage": "A", "task": "a"}, 0)
    state, _, _ = model.step(template, state, {"do": "rollback"}, 0)

    done = state["tasks"]["A", "a"]
    left = {**done, "state": "COMPLETED", "undo": {**done["undo"], "live": False}}
    assert done["state"] == "COMPENSATING"

    with pytest.raises(AssertionError, match="S15: rolled back"):
        explore.check_state(template, {**state, "state": "ROLLED_BACK", "tasks": {**state["tasks"], ("A", "a"): left}})
