"""Cron expressions: what is read, what is refused, and what comes next when the clocks change."""

import datetime as dt
import zoneinfo
from itertools import pairwise

import pytest

from workflows.runtime.cron import BadCron, read_cron, read_zone

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def runs(text, zone, start, count=4):
    cron = read_cron(text, zone)
    found, at = [], dt.datetime.fromisoformat(start).replace(tzinfo=zone).astimezone(dt.UTC)
    for _ in range(count):
        at = cron.after(at)
        assert at.tzinfo is dt.UTC
        found.append(f"{at.astimezone(zone):%Y-%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("* * * * *", "2026-05-04T12:00:30", ["2026-05-04 12:01", "2026-05-04 12:02"]),
        ("*/20 * * * *", "2026-05-04T12:00", ["2026-05-04 12:20", "2026-05-04 12:40", "2026-05-04 13:00"]),
        ("30 2 * * *", "2026-05-04T02:30", ["2026-05-05 02:30", "2026-05-06 02:30"]),
        ("0 9-17/4 * * mon-fri", "2026-05-08T13:30", ["2026-05-08 17:00", "2026-05-11 09:00", "2026-05-11 13:00"]),
        ("15,45 0 1 jan,JUL *", "2026-05-04T00:00", ["2026-07-01 00:15", "2026-07-01 00:45", "2027-01-01 00:15"]),
        ("0 0 29 2 *", "2026-05-04T00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 13 * 5", "2026-11-07T00:00", ["2026-11-13 00:00", "2026-11-20 00:00", "2026-11-27 00:00"]),
        ("0 0 13 * */1", "2026-11-07T00:00", ["2026-11-13 00:00", "2026-12-13 00:00"]),
        ("0 12 * * 7", "2026-05-04T00:00", ["2026-05-10 12:00", "2026-05-17 12:00"]),
        ("5/25 0 * * *", "2026-05-04T00:00", ["2026-05-04 00:05", "2026-05-04 00:30", "2026-05-04 00:55"]),
        ("0 0 31 * *", "2026-03-31T00:00", ["2026-05-31 00:00", "2026-07-31 00:00"]),
    ],
)
def test_what_comes_next(text, start, expected):
    assert runs(text, dt.UTC, start, len(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8",
        "*/0 * * * *", "5-1 * * * *", "a * * * *", "1,,2 * * * *", "-1 * * * *", "*-5 * * * *", "1--2 * * * *",
        "0 0 30 2 *", "0 0 31 4,6,9,11 *", "@daily", "٣ * * * *", "1/ * * * *", "0 0 L * *", "* * * MON *",
    ],
)  # fmt: skip
def test_what_is_refused(text):
    with pytest.raises(BadCron):
        read_cron(text, dt.UTC)


def test_a_day_without_half_past_two_has_its_run_an_hour_later():
    assert runs("30 2 * * *", BERLIN, "2026-03-28T03:00", 2) == ["2026-03-29 03:30", "2026-03-30 02:30"]


def test_what_is_skipped_does_not_overtake_what_is_not():
    assert runs("0,59 2,3 * * *", BERLIN, "2026-03-29T00:00", 4) == [
        "2026-03-29 03:00", "2026-03-29 03:59", "2026-03-30 02:00", "2026-03-30 02:59",
    ]  # fmt: skip


def test_a_day_with_two_half_past_twos_has_one_run():
    assert runs("30 2 * * *", BERLIN, "2026-10-25T00:00", 2) == ["2026-10-25 02:30", "2026-10-26 02:30"]


def test_every_half_hour_goes_by_the_time_that_passes():
    cron, at = read_cron("*/30 * * * *", BERLIN), dt.datetime(2026, 10, 24, 23, 45, tzinfo=dt.UTC)
    found = [at := cron.after(at) for _ in range(8)]

    assert {later - sooner for sooner, later in pairwise(found)} == {dt.timedelta(minutes=30)}


def test_a_zone_is_one_that_is_known():
    assert read_zone("Europe/Berlin").key == "Europe/Berlin"
    for name in ("", "Berlin", "../etc/passwd", "Europe/\0", "/etc/localtime"):
        with pytest.raises(BadCron):
            read_zone(name)
