"""Registering and deregistering plugins: what takes effect when, who may, and what is kept of it."""

import datetime as dt
import threading

import pytest
from django.db import DatabaseError, connection, transaction

from workflows.activities.plugin import InvalidPlugin
from workflows.activities.registry import expected_plugins
from workflows.engine.plugins import Phase
from workflows.models import Activity, ActivityRecord, Plugin
from workflows.runtime import listeners, registering
from workflows.runtime.registering import Became, deregister, register

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
AT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def put(name, phase="parallel", *, activity="intake", by="olga", at=AT, **more):
    way = {} if {"url", "step", "assigned_to"} & more.keys() else {"task_queue": f"{name}_queue"}
    known = {key: more.pop(key) for key in ("reason", "replace", "only_own", "seen") if key in more}
    return register(activity, {"name": name, "phase": phase, **way, **more}, by=by, at=at, **known)


def look(phase=Phase.PARALLEL, activity="intake", **attributes):
    return expected_plugins(activity, phase, attributes)


def names(said):
    return [one.name for one in said.plugins], [one.name for one in said.excluded]


def test_nobody_takes_part_where_nobody_is_registered():
    assert names(look()) == ([], [])
    put("scan", "pre")
    assert names(look()) == ([], [])
    assert names(look(Phase.PRE)) == (["scan"], [])
    assert names(look(activity="other")) == ([], [])


def test_a_registration_holds_for_whoever_asks_afterwards():
    assert put("scan").became is Became.REGISTERED
    assert names(look()) == (["scan"], [])
    put("ocr", before=["scan"])
    assert names(look()) == (["ocr", "scan"], [])
    assert put("ocr", timeout_seconds=5).became is Became.CHANGED
    assert [(one.name, one.task["timeout_seconds"]) for one in look().plugins] == [("scan", 3600), ("ocr", 5)]
    deregister("intake", "scan", by="olga", at=AT)
    assert names(look()) == (["ocr"], [])
    assert put("scan", at=AT + dt.timedelta(hours=1)).became is Became.REGISTERED
    assert names(look()) == (["ocr", "scan"], [])


def test_who_is_filtered_out_is_named_with_its_labels():
    put("tax", filter={"country": ["IT"]}, regulation="VAT", mandatory=False)
    put("scan")
    put("big", filter={"amount": [{"numeric": [">=", 100]}]})

    assert names(look(country="IT", amount=5)) == (["tax", "scan"], ["big"])
    said = look(amount=100)
    assert names(said) == (["scan", "big"], ["tax"])
    assert (said.excluded[0].mandatory, said.excluded[0].labels) == (False, {"regulation": "VAT"})


def test_every_change_is_a_line_of_history():
    put("scan", reason="new scanner")
    put("scan")
    put("scan", system="SCAN-2", by="otto")
    deregister("intake", "scan", by="olga", reason="sold", at=AT)

    lines = list(ActivityRecord.objects.order_by("revision"))

    assert [(one.revision, one.kind, one.plugin, one.actor, one.reason) for one in lines] == [
        (1, "REGISTERED", "scan", "olga", "new scanner"),
        (2, "CHANGED", "scan", "otto", ""),
        (3, "DEREGISTERED", "scan", "olga", "sold"),
    ]
    assert [(one.before is None, one.after is None) for one in lines] == [(True, False), (False, False), (False, True)]
    assert (lines[1].before["system"], lines[1].after["system"]) == ("", "SCAN-2")
    assert lines[2].before == lines[1].after


def test_history_cannot_be_rewritten():
    put("scan")
    for move in (lambda: ActivityRecord.objects.update(actor="nobody"), lambda: ActivityRecord.objects.all().delete()):
        with pytest.raises(DatabaseError, match="the history of activities is append-only"), transaction.atomic():
            move()
    assert ActivityRecord.objects.get().actor == "olga"


def test_faults_change_nothing():
    put("a", before=["b"])
    before = list(Activity.objects.values())
    for wrong in ({"after": ["b", "a"]}, {"before": ["a"]}):
        with pytest.raises(InvalidPlugin):
            put("b", **wrong)
    with pytest.raises(InvalidPlugin) as raised:
        register("x" * 201, {"name": "a"}, by="olga")
    assert [(one.pointer, one.code) for one in raised.value.problems] == [
        ("", "bad_name"), ("", "required"), ("/phase", "required"),
    ]  # fmt: skip
    assert list(Activity.objects.values()) == before
    assert Plugin.objects.count() == ActivityRecord.objects.count() == 1


def test_a_secret_is_kept_and_shown_nowhere():
    put("scan", url="https://a.example/", secret="tell nobody")
    put("scan", url="https://b.example/")
    row = Plugin.objects.get()
    assert (row.secret, row.said["signed"]) == ("tell nobody", True)
    put("scan", url="https://b.example/", secret="")
    row.refresh_from_db()
    assert (row.secret, row.said["signed"]) == ("", False)
    put("scan", url="https://b.example/", secret="again")
    put("scan")
    assert Plugin.objects.get().secret == ""
    for record in ActivityRecord.objects.all():
        assert "tell nobody" not in str(record.before) + str(record.after)


def test_what_others_have_registered_is_theirs():
    put("scan", by="scanner")
    with pytest.raises(registering.NotYours, match="scanner"):
        put("scan", system="mine", by="thief", only_own=True)
    with pytest.raises(registering.NotYours):
        deregister("intake", "scan", by="thief", only_own=True)
    assert put("scan", system="SCAN", by="scanner", only_own=True).became is Became.CHANGED
    deregister("intake", "scan", by="scanner", only_own=True)
    put("scan", by="thief", only_own=True)


def test_the_revision_that_somebody_saw_has_to_be_the_newest():
    seen = put("scan").plugin.revision
    put("other")
    put("scan", system="S", seen=seen)
    with pytest.raises(registering.Moved):
        put("scan", system="T", seen=seen)
    with pytest.raises(registering.Moved):
        deregister("intake", "scan", by="olga", seen=seen)
    with pytest.raises(registering.NotRegistered):
        deregister("intake", "nobody", by="olga")
    with pytest.raises(registering.NotRegistered):
        deregister("nothing", "scan", by="olga")
    with pytest.raises(registering.AlreadyRegistered):
        put("scan", replace=False)
    assert put("scan", system="S", replace=False).became is Became.UNCHANGED


@pytest.mark.parametrize(
    ("listed", "url", "allowed"),
    [
        ([], "https://checks.example.com/", True),
        ([], "http://10.1.2.3:8080/", True),
        ([], "http://localhost/", False),
        ([], "http://127.0.0.1/", False),
        ([], "http://[::1]/", False),
        ([], "http://[::ffff:127.0.0.1]/", False),
        ([], "http://169.254.169.254/latest", False),
        ([], "http://0.0.0.0/", False),
        (["localhost"], "http://LOCALHOST:9/", True),
        (["localhost"], "https://checks.example.com/", False),
        ([".example.com"], "https://checks.example.com/", True),
        ([".example.com"], "https://badexample.com/", False),
        (["*"], "http://127.0.0.1/", True),
    ],
)
def test_only_some_hosts_are_called(settings, listed, url, allowed):
    settings.PLUGIN_HOSTS = listed
    if allowed:
        put("scan", url=url)
        return
    with pytest.raises(InvalidPlugin) as raised:
        put("scan", url=url)
    assert [(one.pointer, one.code) for one in raised.value.problems] == [("/url", "forbidden_address")]


@pytest.mark.django_db(transaction=True)
def test_two_who_register_at_once_are_both_registered():
    ready = threading.Barrier(4)

    def run(name):
        try:
            ready.wait(10)
            put(name)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[f"p{number}"]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(names(look())[0]) == ["p0", "p1", "p2", "p3"]
    assert sorted(ActivityRecord.objects.values_list("revision", flat=True)) == [1, 2, 3, 4]


def test_names_that_are_too_long_together_for_a_call():
    put("y" * 80, activity="x" * 100, url="https://a.example/")
    put("y" * 80, activity="x" * 200)
    with pytest.raises(InvalidPlugin) as raised:
        put("z" * 80, activity="x" * 120, url="https://a.example/")
    assert [(one.pointer, one.code) for one in raised.value.problems] == [("/name", "bad_value")]


def test_whoever_looks_on_is_told():
    heard = []
    unsubscribe = listeners.subscribe(heard.append)
    put("scan")
    put("scan")
    deregister("intake", "scan", by="olga")
    unsubscribe()

    assert [one.everything for one in heard] == [True, True]
