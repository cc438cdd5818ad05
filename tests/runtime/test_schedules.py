"""Schedules: one start for each moment, whoever finds it due; what was missed follows the misfire rule."""

import datetime as dt

import pytest

from tests.builders import NOON, service, workflow
from tests.together import together
from workflows.models import ControlRecord, LoggedEvent, Schedule, WorkflowInstance
from workflows.runtime import pausing, schedules
from workflows.runtime.clock import Clock
from workflows.runtime.schedules import BadSchedule, Changed

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

MINUTE = dt.timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _fresh():
    pausing.known.forget()
    yield
    pausing.resume(by="tests")


def made(at=NOON, **more):
    values = {
        "name": "nightly", "component_name": "COMPONENT", "reference": "{name}-{moment}", "cron": "*/10 * * * *",
        "context": {"from": "schedule"}, **more,
    }  # fmt: skip
    return schedules.keep(Schedule(**values), by="olivia", at=at)


def references():
    return sorted(WorkflowInstance.objects.values_list("business_ref_no", flat=True))


def again(schedule):
    return Schedule.objects.get(pk=schedule.pk)


def test_a_schedule_starts_an_instance_at_its_moment(door):
    door(workflow(service("a")))
    schedule = made()
    assert schedule.next_at == NOON + 10 * MINUTE

    assert schedules.fire(NOON + 9 * MINUTE) == 0
    assert schedules.fire(NOON + 10 * MINUTE) == 1
    assert schedules.fire(NOON + 10 * MINUTE) == 0

    assert references() == ["nightly-20260101T121000Z"]
    instance = WorkflowInstance.objects.get()
    assert (instance.context, instance.started_by) == ({"from": "schedule"}, "schedule:nightly")
    now = again(schedule)
    assert (now.last_outcome, now.last_instance, now.last_at) == ("started", instance.pk, NOON + 10 * MINUTE)
    assert schedules.next_runs(now, most=2) == [NOON + 20 * MINUTE, NOON + 30 * MINUTE]


def test_three_workers_begin_each_moment_once(door):
    door(workflow(service("a")))
    schedule = made(cron="", interval_seconds=60)
    for n in range(1, 13):
        together(*[lambda at=NOON + n * MINUTE: schedules.fire(at)] * 3)

    assert references() == [f"nightly-20260101T12{n:02}00Z" for n in range(1, 13)]
    assert LoggedEvent.objects.filter(event="WorkflowStarted").count() == 12
    assert again(schedule).next_at == NOON + 13 * MINUTE


def test_a_worker_that_dies_after_the_start_costs_no_second_one(door, monkeypatch):
    door(workflow(service("a")))
    schedule = made()

    def die(name):
        if name == "schedule_started":
            raise SystemExit

    monkeypatch.setattr(schedules.failpoints, "hit", die)
    with pytest.raises(SystemExit):
        schedules.fire(NOON + 10 * MINUTE)
    monkeypatch.undo()
    assert again(schedule).next_at == NOON + 10 * MINUTE

    schedules.fire(NOON + 10 * MINUTE)

    assert references() == ["nightly-20260101T121000Z"]
    assert again(schedule).last_outcome == "duplicate"
    assert again(schedule).next_at == NOON + 20 * MINUTE


@pytest.mark.parametrize(
    ("misfire", "late", "expected", "outcome"),
    [
        ("skip", dt.timedelta(hours=2, minutes=5), [], "missed"),
        ("once", dt.timedelta(hours=2, minutes=5), ["nightly-20260101T140000Z"], "started"),
        ("skip", dt.timedelta(hours=2, seconds=30), ["nightly-20260101T140000Z"], "started"),
        ("once", dt.timedelta(days=90, minutes=5), ["nightly-20260401T120000Z"], "started"),
    ],
)
def test_what_was_missed(door, misfire, late, expected, outcome):
    door(workflow(service("a")))
    schedule = made(misfire=misfire)

    schedules.fire(NOON + late)

    assert references() == expected
    now = again(schedule)
    assert now.last_outcome == outcome
    assert now.next_at > NOON + late


def test_an_interval_keeps_its_beat_whatever_was_missed(door):
    door(workflow(service("a")))
    schedule = made(cron="", interval_seconds=700, misfire="once")

    schedules.fire(NOON + dt.timedelta(seconds=7_050))

    assert references() == ["nightly-20260101T135640Z"]
    assert again(schedule).next_at == NOON + dt.timedelta(seconds=7_700)


def test_while_the_engine_is_paused_no_schedule_goes_off(door):
    door(workflow(service("a")))
    schedule = made(misfire="once")
    pausing.pause(by="olivia", reason="r")

    assert schedules.fire(NOON + 10 * MINUTE) == 0
    assert again(schedule).next_at == NOON + 10 * MINUTE

    pausing.resume(by="olivia")
    assert schedules.fire(NOON + 35 * MINUTE) == 1
    assert references() == ["nightly-20260101T123000Z"]


def test_a_start_that_is_refused_is_told_and_does_not_hold_the_next_one_up(door):
    door(workflow(service("a")))
    bad = made(name="bad", component_name="NOTHING")
    made(name="good")

    assert schedules.fire(NOON + 10 * MINUTE) == 2

    assert references() == ["good-20260101T121000Z"]
    assert (again(bad).last_outcome, "NOTHING" in again(bad).last_said) == ("refused", True)
    assert again(bad).next_at == NOON + 20 * MINUTE


def test_the_clock_fires_them_and_sleeps_until_the_next(door):
    door(workflow(service("a")))
    made()
    clock = Clock(now=lambda: NOON + 10 * MINUTE)

    assert clock._work() == 0
    assert references() == ["nightly-20260101T121000Z"]
    assert clock._work() == 600


def test_switching_is_audited_and_makes_up_for_nothing(door):
    door(workflow(service("a")))
    schedule = made()

    schedules.switch(schedule.pk, on=False, by="olivia", reason="not needed", at=NOON)
    schedules.switch(schedule.pk, on=False, by="adam", at=NOON)
    assert schedules.fire(NOON + 60 * MINUTE) == 0
    on = schedules.switch(schedule.pk, on=True, by="adam", at=NOON + 65 * MINUTE)

    assert on.next_at == NOON + 70 * MINUTE
    said = ControlRecord.objects.filter(subject="nightly").order_by("id").values_list("action", "actor", "reason")
    assert list(said) == [
        ("SCHEDULE_ADDED", "olivia", ""), ("SCHEDULE_DISABLED", "olivia", "not needed"),
        ("SCHEDULE_ENABLED", "adam", ""),
    ]  # fmt: skip


def test_a_change_that_comes_second_is_told_so(door):
    door(workflow(service("a")))
    schedule = made()
    one, other = again(schedule), again(schedule)
    one.cron = "0 * * * *"
    schedules.keep(one, by="olivia", at=NOON)
    other.cron = "5 * * * *"

    with pytest.raises(Changed):
        schedules.keep(other, by="adam", at=NOON)

    assert again(schedule).cron == "0 * * * *"
    assert again(schedule).next_at == NOON + 60 * MINUTE


def test_a_change_between_the_look_and_the_start_is_kept(door):
    door(workflow(service("a")))
    schedule = made()
    seen = again(schedule)
    schedules.switch(schedule.pk, on=False, by="olivia", at=NOON)

    schedules._move_on(seen, next_at=NOON + 20 * MINUTE)

    assert again(schedule).next_at is None


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"cron": "nonsense"}, {"cron"}),
        ({"cron": "0 0 30 2 *"}, {"cron"}),
        ({"cron": ""}, {"cron"}),
        ({"interval_seconds": 60}, {"cron"}),
        ({"cron": "", "interval_seconds": 9}, {"interval_seconds"}),
        ({"time_zone": "Mars"}, {"time_zone"}),
        ({"reference": "nightly-{date}"}, {"reference"}),
        ({"reference": "nightly"}, {"reference"}),
        ({"reference": "{moment}-{what}"}, {"reference"}),
        ({"reference": "{moment} "}, {"reference"}),
        ({"misfire": "always", "context": []}, {"misfire", "context"}),
    ],
)
def test_what_is_no_schedule(db, values, fields):
    with pytest.raises(BadSchedule) as bad:
        made(**values)

    assert {fault.field for fault in bad.value.faults} == fields
    assert not Schedule.objects.exists()


def test_a_name_is_there_once(db):
    made()
    with pytest.raises(BadSchedule):
        made()


def test_a_reference_tells_the_day_of_its_zone(db):
    schedule = made(cron="30 0 * * *", time_zone="Europe/Berlin", reference="{name} {date} {time}")

    assert schedule.next_at == dt.datetime(2026, 1, 1, 23, 30, tzinfo=dt.UTC)
    assert schedules.reference_of(schedule, schedule.next_at) == "nightly 2026-01-02 0030"
