"""Limits on the pages of the queues: set, seen and taken away by operators."""

import io

import pytest
from django.core.management import CommandError, call_command

from tests.builders import service, workflow
from workflows.models import ControlRecord, QueueLimit
from workflows.runtime import limits, pausing

pytestmark = pytest.mark.both_databases

TEMPLATE = workflow(service("pay", task_queue="pay/now"))
PATH = "/queues/pay/now/limits/"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(limits, "_wait", lambda longer: pausing.known.now())
    yield
    pausing.known.forget()
    pausing.known.limited = frozenset()


def test_an_operator_limits_a_queue_and_takes_it_back(browser_of, begin, sound):
    begin(TEMPLATE, "R-0")
    olivia = browser_of("olivia")
    assert "None: all its work is sent at once." in sound(olivia.get("/queues/pay/now/"))

    given = {"do": "set", "max_in_flight": "1", "max_per_second": "0.1", "reason": "The till is <slow>"}
    assert olivia.post(PATH, given).status_code == 302
    for number in range(3):
        begin(TEMPLATE, f"R-{number + 1}")

    html = sound(olivia.get("/queues/pay/now/"))
    assert "of at most 1" in html
    assert "one every 10 s" in html
    assert 'value="0.1"' in html
    assert "3 in line" in sound(olivia.get("/queues/"))
    assert "limited the queue" in sound(olivia.get("/engine/"))
    assert "The till is &lt;slow&gt;" in sound(olivia.get("/engine/"))

    assert olivia.post(PATH, {"do": "remove"}).status_code == 302
    assert not QueueLimit.objects.exists()
    assert "None: all its work is sent at once." in sound(olivia.get("/queues/pay/now/"))


def test_an_auditor_sees_the_limits_and_sets_none(browser_of, begin, sound):
    begin(TEMPLATE, "R-0")
    limits.put("pay/now", max_in_flight=7, max_per_second=None, by="olivia")

    html = sound(browser_of("adam").get("/queues/pay/now/"))
    assert "of at most 7" in html
    assert "Take the limits away" not in html
    for name in ("adam", "fred", "service-bot"):
        assert browser_of(name).post(PATH, {"do": "remove"}).status_code == 403
    assert browser_of("olivia").get(PATH).status_code == 405
    assert QueueLimit.objects.get().max_in_flight == 7


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"max_in_flight": "many"}, "This takes a whole number."),
        ({"max_per_second": "fast"}, "This takes a number."),
        ({"max_per_second": "nan"}, "This takes 1/86,400"),
        ({"max_in_flight": "0"}, "This takes 1 to 100,000."),
        ({}, "Say max_in_flight, max_per_second, or both."),
    ],
)
def test_what_makes_no_sense_is_said_and_kept_in_the_form(browser_of, begin, sound, typed, said):
    begin(TEMPLATE, "R-0")

    html = sound(browser_of("olivia").post(PATH, {"do": "set", **typed}), 400)

    assert said in html
    assert all(f'value="{value}"' in html for value in typed.values())
    assert not QueueLimit.objects.exists()
    assert browser_of("olivia").post("/queues/no/such/limits/", {"do": "set", "max_in_flight": "1"}).status_code == 404


def test_the_command_line_does_it_too(db):
    out = io.StringIO()
    call_command("limit_queue", "q", "--in-flight", "5", "--per-second", "2.5", "--reason", "slow", stdout=out)
    assert out.getvalue() == "Limited: q: 5 in flight, 2.5 a second\n"
    record = ControlRecord.objects.get()
    assert (record.actor, record.reason, record.subject) == ("manage.py", "slow", "q")

    for wrong in (["q"], ["q", "--in-flight", "0"], ["q", "--remove", "--in-flight", "1"], ["other", "--remove"]):
        with pytest.raises(CommandError):
            call_command("limit_queue", *wrong)
    call_command("limit_queue", "q", "--remove", stdout=out)
    assert not QueueLimit.objects.exists()
