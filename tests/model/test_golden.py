"""Histories that were written once are folded to the same for ever (see histories.py)."""

import json
import os

import pytest

from tests import law
from tests.model import histories
from tests.runtime.door import settle_people
from workflows.engine import events, evolve
from workflows.runtime.loading import snapshots

WRITTEN = sorted(histories.FOLDER.glob("*.json"))


if "WRITE_GOLDEN" in os.environ:

    @pytest.mark.django_db
    def test_write_what_is_missing():
        settle_people()
        snapshots.forget()
        for seed in histories.SEEDS:
            if not histories.path_of(seed).exists():
                histories.path_of(seed).write_text(histories.dump(histories.write(seed)))


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_a_golden_history_amounts_to_what_it_always_did(path):
    golden = json.loads(path.read_text())
    definition, history = histories.read(golden)

    for end, expected in golden["amounts_to"].items():
        assert histories.amount(definition, histories.fold(definition, history[: int(end)])) == expected


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_every_part_of_a_golden_history_is_lawful(path):
    definition, history = histories.read(json.loads(path.read_text()))

    now = histories.fold(definition, history[:1])
    for number in range(1, len(history)):
        before, now = now, evolve.catch_up(definition, now, [history[number]])
        law.check_step(definition, before, history[number][1], now, said=history[:number])
    assert now == histories.fold(definition, history)


def test_the_golden_histories_know_every_event():
    """Whoever adds an event adds a history: SEEDS, and WRITE_GOLDEN=1."""
    kinds = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    told = {row["event"] for path in WRITTEN for row in json.loads(path.read_text())["history"]}

    assert len(WRITTEN) == len(histories.SEEDS)
    assert told == kinds
