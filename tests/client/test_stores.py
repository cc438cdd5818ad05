"""Answers that are kept."""

import sqlite3

import pytest

from workflows.client import MemoryAnswers, SqliteAnswers


@pytest.fixture(params=["memory", "sqlite"])
def answers(request, tmp_path):
    if request.param == "memory":
        yield MemoryAnswers()
        return
    store = SqliteAnswers(tmp_path / "answers.sqlite3")
    yield store
    store.close()


def test_an_answer_is_kept_by_its_attempt(answers):
    answers.put("i/S/t/do/1", {"event_id": "1", "output": {"é": [1, None]}})
    answers.put("i/S/t/do/2", {})

    assert answers.get("i/S/t/do/1") == {"event_id": "1", "output": {"é": [1, None]}}
    assert answers.get("i/S/t/do/2") == {}
    assert answers.get("i/S/t/undo/1") is None


def test_memory_keeps_the_newest():
    answers = MemoryAnswers(most=2)

    for number in range(3):
        answers.put(str(number), {"n": number})

    assert [answers.get(str(number)) for number in range(3)] == [None, {"n": 1}, {"n": 2}]


def test_memory_is_bounded_by_size_too():
    answers = MemoryAnswers(most_bytes=1_000)

    for number in range(10):
        answers.put(str(number), {"text": "x" * 400})
        answers.put(str(number), {"text": "y" * 400})

    assert [number for number in range(10) if answers.get(str(number))] == [8, 9]


def test_a_file_outlives_the_process_and_forgets_in_time(tmp_path):
    path = tmp_path / "answers.sqlite3"
    first = SqliteAnswers(path)
    first.put("old", {"n": 1})
    first.put("new", {"n": 2})
    first.close()
    with sqlite3.connect(path) as file:
        file.execute("UPDATE answers SET kept = kept - 8 * 86400 WHERE key = 'old'")
    file.close()

    second = SqliteAnswers(path, days=7)

    assert second.get("old") is None
    assert second.get("new") == {"n": 2}
    second.close()
