"""A state changes by a legal move and by nothing else."""

import pytest
from django_fsm import TransitionNotAllowed

from tests.builders import NOON
from workflows.models import TaskInstance


def test_a_legal_move_changes_the_state():
    row = TaskInstance.at_hand({"state": "SCHEDULED"})

    row.mark_started(at=NOON, claimed_by="ada")

    assert (row.state, row.claimed_by) == ("STARTED", "ada")


def test_an_illegal_move_changes_nothing():
    row = TaskInstance.at_hand({"state": "COMPLETED", "claimed_by": None})

    with pytest.raises(TransitionNotAllowed):
        row.mark_started(at=NOON, claimed_by="ada")

    assert (row.state, row.claimed_by) == ("COMPLETED", None)


def test_a_move_that_fails_changes_no_state():
    row = TaskInstance.at_hand({"state": "SCHEDULED"})

    with pytest.raises(TypeError):
        row.mark_started()

    assert row.state == "SCHEDULED"


def test_nobody_writes_a_state():
    row = TaskInstance.at_hand({"state": "SCHEDULED"})

    with pytest.raises(AttributeError):
        row.state = "COMPLETED"
