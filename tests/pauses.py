"""For tests that count what a view asks the database."""

import pytest

from workflows.runtime import pausing


@pytest.fixture(autouse=True)
def pause_is_asked_once(monkeypatch):
    """Whether everything is paused is asked anew four times a second, wherever that falls: no test counts on that."""
    monkeypatch.setattr(pausing.known, "fresh", 3600.0)
    pausing.known.forget()
    yield
    pausing.known.forget()
