"""Journeys of activities through the one door; each ends with every history folded and compared with its rows."""

import pytest

from tasks_ui.queries.reading import read
from tests.builders import (
    ROLL_BACK,
    activity,
    completed,
    decided,
    excluded,
    failed,
    human,
    operator_retries,
    plugin,
    retry,
    service,
    stage,
    stage_replayed,
    started,
    step,
    undo,
    workflow,
)
from workflows.engine.commands import StartWorkflow
from workflows.models import HandledMessage, LoggedEvent, PluginRun, TaskInstance, TaskProgress
from workflows.runtime import listeners, traffic
from workflows.runtime.inbound import UnreadableEvent
from workflows.runtime.loading import definition_of, snapshots
from workflows.runtime.replay import check_history, followed

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

CLAIM = workflow(
    stage("FIRST", service("in")), activity(activity="rate"), stage("LAST", service("out")),
    search={"line": "/line", "amount": "/amount"},
)  # fmt: skip


def done(name: str):
    return completed(f"PROCESS/{name}")


@pytest.fixture
def site(door, plant):
    """A site on which instances have come to the activity."""

    def begin(planted, template=CLAIM, *, context=None):
        plant.planted = planted
        one = door(template)
        one.start(context=context)
        one.ask(completed("FIRST/in"))
        return one

    return begin


def of_stage(site, name="PROCESS"):
    return next(stage for stage in site.json()["stages"] if stage["stage_name"] == name)


def events(site, name):
    return list(LoggedEvent.objects.filter(instance=site.instance(), event=name).values_list("data", flat=True))


def test_case_36_pre_goes_in_the_order_that_was_asked_for_and_the_rest_waits(site):
    one = site({"pre": [plugin(service("m2")), plugin(service("m1"))], "parallel": [plugin(service("a"))]})
    assert one.messages()[1:] == ["StartTask m2#1"]

    one.ask(done("m2"))
    assert one.messages()[2:] == ["StartTask m1#1"]
    one.ask(done("m1"))
    assert one.messages()[3:] == ["StartTask a#1"]
    one.ask(done("a"))

    assert one.messages()[4:] == ["StartTask out#1"]


def test_case_37_an_optional_error_is_a_warning_and_ends_nothing(site):
    one = site({
        "parallel": [plugin(service("m")), plugin(service("o"), optional=True)], "post": [plugin(service("p"))],
    })  # fmt: skip

    one.ask(failed("PROCESS/o"))
    assert (one.state(), one.states()["m"]) == ("RUNNING", "SCHEDULED")
    assert "p" not in one.states()
    one.ask(done("m"))

    assert one.messages()[-1] == "StartTask p#1"


def test_case_38_a_phase_does_not_end_before_its_optional_ones_are_over(site):
    slow = plugin(service("o", timeout_seconds=30), optional=True)
    one = site({"parallel": [plugin(service("m")), slow], "post": [plugin(service("p"))]})

    one.ask(done("m"))
    one.ask(started("PROCESS/o"))
    assert "p" not in one.states()
    one.later(31)

    assert one.states() == {"in": "COMPLETED", "out": "PENDING", "m": "COMPLETED", "o": "FAILED", "p": "SCHEDULED"}


def test_case_39_a_mandatory_one_that_is_kept_out_is_not_applicable(site, plant):
    one = site({"parallel": [excluded("p", system="AUTO")]}, context={"line": "home", "amount": 1})

    told = {"line": "home", "amount": 1, "workflow_name": "Workflow", "component_name": "COMPONENT"}
    assert plant.asked == [("rate", phase, told) for phase in ("pre", "parallel", "post")]
    assert one.states() == {"in": "COMPLETED", "out": "SCHEDULED"}
    (parallel,) = [data for data in events(one, "PhaseStarted") if data["phase"] == "parallel"]
    assert parallel["excluded"] == [{"mandatory": True, "labels": {"system": "AUTO"}, "names": ["p"]}]
    assert not PluginRun.objects.exists()


def test_case_40_without_anybody_the_stage_is_over_at_once_and_what_follows_is_sent_once(site):
    one = site({})

    assert of_stage(one)["state"] == "COMPLETED"
    assert one.messages() == ["StartTask in#1", "StartTask out#1"]


def test_case_41_what_was_done_is_kept_and_what_failed_is_done_again(site):
    one = site({"parallel": [plugin(service("m1")), plugin(service("m2"))]})
    one.ask(done("m1"))
    one.ask(failed("PROCESS/m2"))
    assert one.state() == "FAILED"

    one.ask(operator_retries("PROCESS/m2"))

    assert one.messages()[-1] == "StartTask m2#2"
    assert one.messages().count("StartTask m1#1") == 1
    again = one.start(context={"line": "other"})
    assert again.outcome == "duplicate"
    assert one.states()["m1"] == "COMPLETED"


def test_case_42_a_message_that_comes_twice_does_the_work_once(site):
    one = site({"pre": [plugin(service("m"))]})

    said = {"event_name": "TaskCompleted", "stage_name": "PROCESS", "task_name": "m", "event_id": "1"}
    assert [one.say(said).outcome for _ in range(2)] == ["applied", "duplicate"]
    assert one.say({**said, "event_id": "2"}).outcome == "duplicate"

    assert one.messages()[-1] == "StartTask out#1"


def test_case_43_who_has_gone_meanwhile_is_still_waited_for_and_is_not_in_the_next_run(site, plant):
    one = site({"parallel": [plugin(service("m")), plugin(service("gone"))]})

    plant.planted = {"parallel": [plugin(service("m"))]}
    one.ask(done("m"))
    assert of_stage(one)["state"] == "ACTIVE"
    one.ask(done("gone"))
    assert of_stage(one)["state"] == "COMPLETED"
    one.start("NEXT")
    one.ask(completed("FIRST/in"), ref="NEXT")

    assert set(one.states("NEXT")) == {"in", "out", "m"}


def test_all_kinds_of_plugins_are_tasks_with_rows_messages_and_inboxes(site):
    one = site({"parallel": [
        plugin(service("machine"), system="CORE", regulation="R-1"), plugin(human("look")), plugin(step("count")),
    ]})  # fmt: skip

    rows = TaskInstance.objects.filter(instance=one.instance(), stage_name="PROCESS").order_by("position")
    assert [(row.task_name, row.position, row.stage_position, row.queue) for row in rows] == [
        ("machine", 2, 1, "machine_queue"), ("look", 3, 1, ""), ("count", 4, 1, "@steps"),
    ]  # fmt: skip
    runs = PluginRun.objects.order_by("position").values_list("phase", "name", "position", "system", "regulation")
    assert list(runs) == [
        ("parallel", "machine", 2, "CORE", "R-1"),
        ("parallel", "look", 3, "", ""),
        ("parallel", "count", 4, "", ""),
    ]
    one.ask(decided("PROCESS/look", attempt=1))
    assert one.human("look").state == "COMPLETED"
    (leased,) = one.lease("machine_queue")
    assert (leased["activity"], leased["phase"]) == ("rate", "parallel")


def test_a_plugin_is_undone_like_any_task(site):
    one = site({"pre": [plugin(service("book", **undo("unbook")))], "parallel": [plugin(service("a"))]})
    one.ask(done("book"))

    one.ask(ROLL_BACK)
    assert one.messages()[-2:] == ["CancelTask a#1", "CompensateTask book#1"]
    one.ask(completed("PROCESS/book", compensation=True))

    assert one.state() == "ROLLED_BACK"


def test_a_stage_that_runs_again_has_the_plugins_that_it_had(site, plant):
    one = site({"pre": [plugin(service("m"))]})
    one.ask(done("m"))

    plant.planted = {"parallel": [plugin(service("new"))]}
    one.ask(stage_replayed("PROCESS"))
    one.ask(done("m"))

    assert one.states() == {"in": "COMPLETED", "out": "SCHEDULED", "m": "COMPLETED"}
    assert PluginRun.objects.count() == 1
    assert [data.get("again", False) for data in events(one, "PhaseStarted")] == [False] * 3 + [True] * 3


def test_who_knows_an_older_snapshot_learns_of_the_plugins_from_the_log(site):
    one = site({"pre": [plugin(service("a")), plugin(service("b"))], "post": [plugin(service("c"))]})
    old = snapshots.get(one.instance().pk)
    one.ask(done("a"))

    for known in (None, old):
        snapshots.forget()
        if known is not None:
            snapshots.put([(one.instance().pk, known)])
        one.ask(started("PROCESS/b"))
    one.ask(done("b"))
    snapshots.forget()
    snapshots.put([(one.instance().pk, old)])
    one.ask(done("c"))

    assert one.states()["out"] == "SCHEDULED"


def test_many_begin_in_one_transaction_and_each_has_its_own(door, plant):
    plant.planted = {"pre": [plugin(service("m"))]}
    one = door(workflow(activity()))

    answers = one.batch(*(one.asked(StartWorkflow(f"R{n}"), ref=f"R{n}", actor="ada") for n in range(5)))

    assert all(answer.created for answer in answers)
    assert TaskInstance.objects.filter(task_name="m").count() == 5
    assert PluginRun.objects.count() == 5


def test_a_plugin_without_its_row_is_noticed(site):
    one = site({"pre": [plugin(service("m"))], "parallel": [excluded("x")]})
    instance = one.instance()

    PluginRun.objects.filter(name="m").update(mandatory=False)
    assert check_history(instance) == ["plugin PROCESS/m: its row is missing, or says something else"]
    PluginRun.objects.update(mandatory=True)
    kept = PluginRun.objects.get()
    PluginRun.objects.create(
        instance=instance, phase="pre", name="y", position=9, mandatory=True, frozen_at=kept.frozen_at
    )

    assert check_history(instance) == ["1 plugins take part in no phase"]
    PluginRun.objects.filter(name="y").delete()


def test_the_instance_as_it_was_has_the_plugins_that_it_had(site):
    one = site({"pre": [plugin(service("a"))], "parallel": [plugin(service("b"))]})
    before = one.instance().last_sequence
    one.ask(done("a"))

    then = next(stage for stage in one.json(at=before)["stages"] if stage["stage_name"] == "PROCESS")

    assert [task["task_name"] for task in then["tasks"]] == ["a"]
    assert [task["task_name"] for task in of_stage(one)["tasks"]] == ["a", "b"]


def shown(site, phase):
    """The phase as the API shows it, its plugins by name."""
    one = next(one for one in of_stage(site)["phases"] if one["phase"] == phase)
    return one["state"], one["warning"], {plugin["name"]: plugin for plugin in one["plugins"]}


def test_a_phase_and_its_plugins_are_shown_as_they_stand(site):
    one = site({
        "pre": [plugin(service("scan"), system="OCR", regulation="R-7")],
        "parallel": [plugin(service("m")), plugin(service("o"), optional=True), excluded("auto")],
    })  # fmt: skip
    assert (of_stage(one)["kind"], of_stage(one)["activity"]) == ("activity", "rate")
    assert shown(one, "pre") == ("IN_PROGRESS", False, {"scan": {
        "name": "scan", "mandatory": True, "state": "IN_PROGRESS", "message": "", "percent": None,
        "system": "OCR", "regulation": "R-7", "task_name": "scan",
    }})  # fmt: skip
    assert shown(one, "parallel") == ("NOT_STARTED", False, {})

    one.ask(done("scan"))
    one.ask(failed("PROCESS/o", code="no news"))
    state, warning, plugins = shown(one, "parallel")
    assert (state, warning, of_stage(one)["warning"]) == ("IN_PROGRESS", True, True)
    assert {name: it["state"] for name, it in plugins.items()} == {
        "m": "IN_PROGRESS", "o": "ERROR", "auto": "NOT_APPLICABLE",
    }  # fmt: skip
    assert (plugins["o"]["message"], plugins["auto"]["task_name"]) == ("no news", None)
    one.ask(done("m"))
    assert [phase["state"] for phase in of_stage(one)["phases"]] == ["COMPLETE"] * 3
    assert of_stage(one)["warning"] is True


def test_when_only_optional_ones_are_at_work_the_mandatory_are_completed(site):
    one = site({"parallel": [plugin(service("m")), plugin(service("o"), optional=True)]})

    one.ask(done("m"))
    assert shown(one, "parallel")[0] == "MANDATORY_COMPLETED"
    one.ask(done("o"))

    assert shown(one, "parallel")[0] == "COMPLETE"


def test_a_mandatory_error_is_an_error_of_the_phase(site):
    one = site({"parallel": [plugin(service("m")), plugin(service("other"))]})

    one.ask(failed("PROCESS/m"))

    assert shown(one, "parallel")[:2] == ("ERROR", False)


def test_progress_is_shown_told_and_no_event(site):
    heard = []
    stop = listeners.subscribe(lambda committed: heard.extend(committed.changes))
    one = site({"pre": [plugin(service("scan", **retry(2)))]})
    said = {"event_name": "TaskStarted", "stage_name": "PROCESS", "task_name": "scan"}
    one.say({**said, "progress": {"percent": 10, "message": "page 1"}})
    number = one.instance().last_sequence
    heard.clear()

    assert one.say({**said, "progress": {"percent": 40.5, "message": "page 4"}}).outcome == "applied"
    stop()

    assert one.instance().last_sequence == number
    assert [(change.tasks, change.events, change.heard) for change in heard] == [(("PROCESS/scan",), (), True)]
    (scan,) = shown(one, "pre")[2].values()
    assert (scan["state"], scan["percent"], scan["message"]) == ("IN_PROGRESS", 40.5, "page 4")
    assert of_stage(one)["tasks"][0]["progress"] == {"percent": 40.5, "message": "page 4"}
    assert TaskProgress.objects.count() == 1
    one.say({**said, "event_id": "h-1", "progress": {"percent": 40.5, "message": "page 4"}})
    assert not HandledMessage.objects.filter(event_id="h-1").exists()
    one.ask(failed("PROCESS/scan"))
    one.say(said)
    (scan,) = shown(one, "pre")[2].values()
    assert (scan["percent"], scan["message"]) == (None, "")


def test_nobody_says_how_far_an_attempt_is_that_is_over(site):
    one = site({"pre": [plugin(service("scan", **retry(2)))]})
    one.ask(failed("PROCESS/scan"))

    late = started("PROCESS/scan", attempt=1, progress={"percent": 99, "message": ""})

    assert one.ask(late).code == "stale_attempt"
    assert TaskProgress.objects.count() == 0


@pytest.mark.parametrize(
    ("progress", "pointer"),
    [
        ({"percent": 101}, "/progress/percent"),
        ({"percent": -0.1}, "/progress/percent"),
        ({"percent": True}, "/progress/percent"),
        ({"percent": "40"}, "/progress/percent"),
        ({"message": 4}, "/progress/message"),
        ({"message": "x" * 501}, "/progress/message"),
        (40, "/progress"),
    ],
)
def test_progress_that_says_nothing_is_refused_where_it_is_wrong(site, progress, pointer):
    one = site({"pre": [plugin(service("scan"))]})

    with pytest.raises(UnreadableEvent) as refused:
        one.say({"event_name": "TaskStarted", "stage_name": "PROCESS", "task_name": "scan", "progress": progress})

    assert [error["pointer"] for error in refused.value.errors] == [pointer]
    assert one.states()["scan"] == "SCHEDULED"


def test_the_undoing_of_a_plugin_tells_how_far_it_is(site):
    one = site({"pre": [plugin(service("book", **undo("unbook")))], "parallel": [plugin(service("a"))]})
    one.ask(done("book"))
    one.ask(ROLL_BACK)

    one.ask(started("PROCESS/book", compensation=True, progress={"percent": 50, "message": "half"}))

    assert of_stage(one)["tasks"][0]["progress"] == {"percent": 50, "message": "half"}
    one.ask(completed("PROCESS/book", compensation=True))
    assert "progress" not in of_stage(one)["tasks"][0]


def test_a_phase_that_begins_while_a_page_is_read_does_no_harm(site):
    one = site({"pre": [plugin(service("a"))], "parallel": [plugin(service("b"))]})
    old = one.instance()
    one.ask(done("a"))

    shown = read(old, now=one.at)

    assert [task.title for task in shown.tasks] == ["In", "A", "B", "Out"]
    assert len(followed(old, 3).tasks) == 4
    assert followed(old, 1) is definition_of(old.template_id)


def test_what_plugins_answer_counts_for_their_own_queues(site):
    one = site({"pre": [plugin(service("a", **undo("unbook")))], "parallel": [plugin(service("b"))]})
    one.ask(started("PROCESS/a", worker="w-1"))
    one.ask(done("a"))
    one.ask(ROLL_BACK)
    one.ask(completed("PROCESS/a", compensation=True))

    moving = traffic.read(at=one.at)

    out = {queue: moving.of(queue).out_long > 0 for queue in ("in_queue", "a_queue", "b_queue", "unbook")}
    assert out == {"in_queue": True, "a_queue": True, "b_queue": False, "unbook": True}
    assert moving.of("out_queue").out_long == 0
    assert moving.seen["a_queue"].by == "bot"
