"""Snapshots: folded from the log, kept in a cache that may be forgotten or stale at any moment."""

import datetime as dt
import uuid

import pytest
from django.db import transaction

from tests.builders import completed, decided, failed, human, pending, retry, service, stage, workflow
from workflows.engine import evolve
from workflows.models import WorkflowInstance
from workflows.runtime import listeners, loading
from workflows.runtime.loading import SnapshotCache, snapshots
from workflows.runtime.replay import check_history, state_at

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

TIMED = workflow(
    stage("S", service("a", timeout_seconds=60, **retry(3, 10)), human("h", due_in_seconds=90)), timeout_seconds=1000
)


def cached(site):
    return snapshots.get(site.instance().pk)


def folded(site):
    snapshots.forget()
    return state_at(site.instance())[1]


def test_what_is_folded_from_the_log_is_what_was_decided(door):
    site = door(TIMED)
    site.start(context={"n": 1.5, "list": [1, None], "text": 'ü"\\'})
    site.ask(failed("a"))
    site.ask(decided("h", data={"x": 1}))

    decided_on = cached(site)

    assert folded(site) == decided_on
    assert decided_on.timeout_at.tzinfo is not None


def test_a_process_that_knows_nothing_goes_on_as_well(door):
    site = door(TIMED)
    site.start()
    snapshots.forget()
    assert site.later(60) == 1
    snapshots.forget()
    assert site.states()["a"] == "WAITING"
    snapshots.forget()
    assert site.later(10) == 1
    snapshots.forget()
    site.ask(completed("a"))
    snapshots.forget()
    site.ask(decided("h"))

    assert site.state() == "COMPLETED"
    assert cached(site) == folded(site)


def test_a_process_sees_what_others_did_since_it_last_looked(door):
    site = door(TIMED)
    site.start()
    ours = cached(site)
    site.ask(failed("a"))
    site.ask(pending("a"))
    theirs = cached(site)

    snapshots.forget()
    snapshots.put([(site.instance().pk, ours)])
    answer = site.ask(completed("a", attempt=2))

    assert answer.applied
    assert theirs.last_sequence > ours.last_sequence
    assert cached(site) == folded(site)


def test_only_what_others_added_is_folded(door, monkeypatch):
    site = door(TIMED)
    site.start()
    ours = cached(site)
    site.ask(failed("a"))
    snapshots.forget()
    snapshots.put([(site.instance().pk, ours)])
    with monkeypatch.context() as patch:
        patch.setattr(evolve, "fold", lambda *_, **__: pytest.fail("folded from the beginning"))

        assert site.ask(pending("a")).applied


def test_a_database_that_went_back_in_time_is_believed(door):
    site = door(TIMED)
    site.start()
    before = cached(site)
    future = before._replace(last_sequence=before.last_sequence + 2, business_status="never")
    snapshots.put([(site.instance().pk, future)])

    site.ask(failed("a"))  # its two events bring the log to where the snapshot was that never happened
    assert site.instance().last_sequence == future.last_sequence
    site.ask(pending("a"))

    assert site.instance().business_status is None
    assert cached(site) == folded(site)


def test_what_was_never_committed_is_not_kept(door):
    site = door(TIMED)
    site.start()
    before = cached(site)

    with transaction.atomic():
        site.ask(failed("a"))
        transaction.set_rollback(True)

    assert cached(site) == before
    assert site.ask(completed("a")).applied
    assert check_history(site.instance()) == []
    assert cached(site) == folded(site)


def test_listeners_are_told_when_the_outermost_transaction_has_committed(door):
    site = door(TIMED)
    site.start()
    told: list[listeners.Committed] = []
    unsubscribe = listeners.subscribe(told.append)
    try:
        with transaction.atomic():
            site.ask(failed("a"))
            transaction.set_rollback(True)
        assert told == []

        with transaction.atomic():
            site.ask(failed("a"))
            assert told == []
        assert [change.last_sequence for committed in told for change in committed.changes] == [
            site.instance().last_sequence
        ]
    finally:
        unsubscribe()


def test_the_cache_is_bounded_by_the_tasks_it_holds(door, settings):
    settings.SNAPSHOT_CACHE_TASKS = 50
    site = door(TIMED)
    for n in range(10):
        site.start(f"R{n}")

    assert 1 <= len(snapshots._kept) <= 5
    for n in range(10):
        assert site.ask(completed("a"), ref=f"R{n}").applied


def test_an_older_snapshot_never_replaces_a_newer_one(door):
    site = door(TIMED)
    site.start()
    old = cached(site)
    site.ask(failed("a"))
    new = cached(site)
    snapshots.put([(site.instance().pk, old)])

    assert cached(site) == new


def test_the_weight_of_the_cache_is_that_of_what_it_keeps(door):
    site = door(TIMED)
    site.start()
    cache = SnapshotCache()
    one = cached(site)
    key = site.instance().pk
    cache.put([(key, one), (key, one)])
    cache.put([(key, one._replace(last_sequence=1))])

    assert cache._weight == loading._weight(one)


def test_the_past_is_folded_up_to_each_event(door):
    site = door(TIMED)
    site.start()
    site.ask(failed("a"))
    site.ask(pending("a"))
    site.ask(completed("a", output={"n": 1}))
    instance = site.instance()

    states = [site.json(at=n)["state"] for n in range(1, instance.last_sequence + 1)]
    tasks = [site.json(at=n)["stages"][0]["tasks"][0]["state"] for n in range(1, instance.last_sequence + 1)]

    assert states == ["RUNNING"] * instance.last_sequence
    assert tasks == ["PENDING", "PENDING", "SCHEDULED", "SCHEDULED", "FAILED", "WAITING", "SCHEDULED", "COMPLETED"]
    assert [site.json(at=n)["last_sequence"] for n in (1, 5)] == [1, 5]
    assert site.json(at=instance.last_sequence) == site.json()
    assert site.json(at=5)["context"] == {}
    assert site.json()["context"] == {"n": 1}


def test_moments_of_the_past_are_those_of_the_past(door):
    site = door(TIMED)
    site.start()
    site.at += dt.timedelta(seconds=5)
    site.ask(completed("a"))

    assert site.json(at=3)["updated_at"] == "2026-01-01T12:00:00Z"
    assert site.json()["updated_at"] == "2026-01-01T12:00:05Z"


def test_an_instance_without_a_history_is_told(door):
    site = door(TIMED)
    site.start()
    row = WorkflowInstance(pk="00000000-0000-0000-0000-000000000001", template_id=site.instance().template_id)

    with pytest.raises(LookupError):
        state_at(row)


def test_of_instances_that_have_ended_few_are_kept(door, monkeypatch):
    monkeypatch.setattr(loading, "MOST_ENDED", 2)
    site = door(TIMED)
    site.start()
    one = cached(site)
    going = [(uuid.UUID(int=number), one) for number in range(3)]
    ended = [(uuid.UUID(int=number), one._replace(state="COMPLETED")) for number in range(10, 15)]
    cache = SnapshotCache()

    cache.put([*going, *ended])

    assert [key for key, _ in (*going, *ended) if cache.get(key)] == [key for key, _ in (*going, *ended[-2:])]
    assert cache._weight == 5 * loading._weight(one)
