"""Activities: who takes part is asked when a phase begins, and is frozen; plugins then are tasks like any other."""

import pytest

from tests.builders import (
    CANCEL,
    RESUME,
    ROLL_BACK,
    SUSPEND,
    Story,
    activity,
    completed,
    definition_of,
    excluded,
    failed,
    given,
    human,
    operator_skips,
    plugin,
    replayed,
    retry,
    service,
    stage,
    stage_replayed,
    step,
    undo,
    undone,
    workflow,
)
from workflows.definitions.growing import grown
from workflows.engine.plugins import Phase

SCAN, FRAUD, PRICE = plugin(service("scan")), plugin(service("fraud")), plugin(service("price"))
STAMP, FILE, NEWS = plugin(service("stamp")), plugin(service("file")), plugin(service("news"), optional=True)
ALL = {"pre": [SCAN, STAMP], "parallel": [FRAUD, PRICE, NEWS], "post": [FILE]}
CLAIM = workflow(stage("FIRST", service("in")), activity(), stage("LAST", service("out")))


def story(plugins=ALL, template=None, *commands, **how) -> Story:
    return given(template or CLAIM, completed("FIRST/in"), *commands, plugins=plugins, **how)


def done(name: str):
    return completed(f"PROCESS/{name}")


def phases(one: Story) -> list[str]:
    return [event.data["phase"] for _, event in one.log if event.name == "PhaseStarted"]


def test_nobody_is_asked_before_the_stage_begins():
    one = given(CLAIM, plugins=ALL)

    assert one.world.asked == []
    assert one.states == {"in": "SCHEDULED", "out": "PENDING"}


def test_pre_goes_one_after_the_other_then_all_together_then_post_one_after_the_other():
    one = story({**ALL, "post": [FILE, plugin(service("tell"))]})
    assert one.messages()[1:] == ["StartTask scan#1"]

    one.when(done("scan"))
    assert one.messages()[2:] == ["StartTask stamp#1"]
    one.when(done("stamp"))
    assert one.messages()[3:] == ["StartTask fraud#1", "StartTask price#1", "StartTask news#1"]
    for name in ("news", "price"):
        one.when(done(name))
    assert phases(one) == ["pre", "parallel"]
    one.when(done("fraud"))
    assert one.messages()[6:] == ["StartTask file#1"]
    one.when(done("file"))
    assert one.messages()[7:] == ["StartTask tell#1"]
    one.when(done("tell"))

    assert phases(one) == ["pre", "parallel", "post"]
    assert one.stages == {"FIRST": "COMPLETED", "PROCESS": "COMPLETED", "LAST": "ACTIVE"}
    assert one.messages()[8:] == ["StartTask out#1"]


def test_a_stage_without_anybody_is_over_at_once_and_what_follows_follows_once():
    one = story({})

    assert phases(one) == ["pre", "parallel", "post"]
    assert one.stages["PROCESS"] == "COMPLETED"
    assert one.messages() == ["StartTask in#1", "StartTask out#1"]


def test_a_workflow_of_an_activity_alone_begins_with_it():
    one = Story(workflow(activity()), plugins={"post": [FILE]})

    assert one.states == {"file": "SCHEDULED"}
    one.when(done("file"))
    assert one.state == "COMPLETED"


def test_the_world_is_told_what_the_instance_is():
    shared = activity(activity="document-processing")
    template = workflow(
        stage("FIRST", service("in")), shared, search={"line": "/line", "amount": "/amount", "no": "/no"}
    )

    one = story(ALL, template, context={"line": "home", "amount": 1, "secret": "x"})

    told = {"line": "home", "amount": 1, "workflow_name": "Workflow", "component_name": "COMPONENT"}
    assert one.world.asked == [("document-processing", Phase.PRE, told)]


def test_what_a_plugin_puts_out_counts_for_who_takes_part_in_the_next_phase():
    template = {**CLAIM, "search": {"line": "/line"}}
    one = story({"pre": [SCAN]}, template)

    one.when(completed("PROCESS/scan", output={"line": "auto"}))

    assert [attributes.get("line") for _, _, attributes in one.world.asked] == [None, "auto", "auto"]


def test_who_comes_later_takes_part_in_phases_that_begin_later_only():
    one = story({"pre": [SCAN], "post": [FILE]})

    one.world.plugins = {"pre": [SCAN, STAMP], "parallel": [FRAUD], "post": []}
    one.when(done("scan"))
    one.when(done("fraud"))

    assert "stamp" not in one.states
    assert "file" not in one.states
    assert one.stages["LAST"] == "ACTIVE"


def test_who_is_kept_out_is_written_down_and_never_waited_for():
    one = story({"parallel": [excluded("auto", system="S"), FRAUD]})

    frozen = one.definition.stages[1].frozen("parallel")

    assert [(who.name, who.mandatory, who.labels) for who in frozen.excluded] == [("auto", True, {"system": "S"})]
    assert "auto" not in one.states
    one.when(done("fraud"))
    assert one.stages["PROCESS"] == "COMPLETED"


def test_an_optional_one_that_fails_holds_nobody_up_and_ends_nothing_before_its_time():
    one = story(ALL, None, done("scan"), done("stamp"))

    one.when(failed("PROCESS/news"))
    assert (one.state, phases(one), one.states["fraud"]) == ("RUNNING", ["pre", "parallel"], "SCHEDULED")
    one.when(done("fraud"))
    one.when(done("price"))

    assert phases(one) == ["pre", "parallel", "post"]


def test_a_phase_waits_for_its_optional_ones_too():
    one = story(ALL, None, done("scan"), done("stamp"), done("fraud"), done("price"))

    assert phases(one) == ["pre", "parallel"]
    one.when(failed("PROCESS/news"))
    assert phases(one) == ["pre", "parallel", "post"]


def test_an_optional_one_is_optional_whatever_its_task_says():
    one = story({"pre": [plugin(service("news", on_failure="rollback"), optional=True), SCAN]})

    one.when(failed("PROCESS/news"))

    assert one.state == "RUNNING"
    assert one.states["scan"] == "SCHEDULED"


def test_a_mandatory_one_that_fails_halts_and_goes_on_when_it_is_tried_again():
    one = story(ALL, None, failed("PROCESS/scan"))
    assert (one.state, one.states["stamp"]) == ("FAILED", "PENDING")

    one.when(operator_skips("PROCESS/scan"))

    assert (one.state, one.states["stamp"]) == ("RUNNING", "SCHEDULED")


@pytest.mark.parametrize("own", ["task", "workflow"])
def test_a_mandatory_one_follows_its_own_policy_else_the_workflows(own):
    says = {"on_failure": "rollback"}
    template = CLAIM if own == "task" else {**CLAIM, **says}

    one = story({"pre": [plugin(service("scan", **(says if own == "task" else {})))]}, template)
    one.when(failed("PROCESS/scan"))

    assert one.state == "ROLLED_BACK"


def test_plugins_have_retries_timeouts_and_all_kinds_of_tasks():
    one = story({"parallel": [
        plugin(service("slow", timeout_seconds=10, **retry(2))), plugin(human("look")), plugin(step("count")),
    ]})  # fmt: skip

    one.later(10)
    assert one["PROCESS/slow"].attempt == 2
    one.later(10)

    assert one.state == "FAILED"
    assert one["PROCESS/slow"].error["code"] == "timeout"
    assert (one["PROCESS/look"].assigned_to, one.states["count"]) == ("finance", "SCHEDULED")


def test_a_plugin_may_have_nothing_to_do():
    one = story({"pre": [plugin(service("scan", when={"==": [{"var": "paper"}, True]})), STAMP]})

    assert one.states["scan"] == "SKIPPED"
    assert one.states["stamp"] == "SCHEDULED"


def test_when_all_had_nothing_to_do_the_stage_is_skipped():
    one = story({"pre": [plugin(service("scan", when={"==": [{"var": "paper"}, True]}))]})

    assert one.stages["PROCESS"] == "SKIPPED"


def test_a_suspended_instance_begins_no_phase_before_it_resumes():
    one = story(ALL, None, done("scan"), SUSPEND, done("stamp"))
    assert phases(one) == ["pre"]

    one.when(RESUME)

    assert phases(one) == ["pre", "parallel"]
    assert one.states["fraud"] == "SCHEDULED"


def test_what_plugins_did_is_undone_newest_first():
    one = story(
        {"pre": [plugin(service("scan", **undo("a")))], "parallel": [plugin(service("fraud", **undo("b")))], "post": [FILE]},
        None, done("scan"), done("fraud"), ROLL_BACK,
    )  # fmt: skip
    assert one.states["fraud"] == "COMPENSATING"

    one.when(undone("PROCESS/fraud"))
    one.when(undone("PROCESS/scan"))

    assert one.state == "ROLLED_BACK"
    assert phases(one) == ["pre", "parallel", "post"]


def test_a_cancelled_one_begins_nothing():
    one = story(ALL, None, CANCEL)

    assert phases(one) == ["pre"]
    assert one.states["stamp"] == "CANCELLED"


def test_a_stage_that_runs_again_runs_with_those_who_took_part():
    one = story({"pre": [SCAN], "parallel": [FRAUD]}, None, done("scan"), done("fraud"))

    one.world.plugins = {"pre": [STAMP]}
    one.when(stage_replayed("PROCESS"))
    assert (one.states["scan"], one.states["fraud"], one.states["out"]) == ("SCHEDULED", "PENDING", "PENDING")
    one.when(done("scan"))
    assert one.states["fraud"] == "SCHEDULED"
    one.when(done("fraud"))

    assert (one["PROCESS/scan"].attempt, one["PROCESS/fraud"].attempt) == (2, 2)
    assert "stamp" not in one.states
    assert one.stages == {"FIRST": "COMPLETED", "PROCESS": "COMPLETED", "LAST": "ACTIVE"}


def test_an_earlier_stage_that_runs_again_takes_the_plugins_back_with_it():
    one = story({"pre": [SCAN], "parallel": [FRAUD]}, None, done("scan"))

    one.when(stage_replayed("FIRST"))
    assert one.last("TaskReset").task_name == "fraud"
    one.when(completed("FIRST/in"))
    one.when(done("scan"))
    one.when(done("fraud"))

    assert one.stages["LAST"] == "ACTIVE"


def test_a_plugin_that_runs_again_takes_the_later_phases_with_it():
    one = story(ALL, None, *map(done, ("scan", "stamp", "fraud", "price")))

    one.when(replayed("PROCESS/stamp"))
    assert {name: one.states[name] for name in ("scan", "stamp", "fraud", "news")} == {
        "scan": "COMPLETED", "stamp": "SCHEDULED", "fraud": "PENDING", "news": "PENDING",
    }  # fmt: skip
    one.when(done("stamp"))

    assert (one.states["fraud"], one["PROCESS/fraud"].attempt) == ("SCHEDULED", 2)


def test_a_plugin_runs_again_in_the_phase_that_is_under_way():
    one = story(ALL, None, *map(done, ("scan", "stamp", "fraud", "price")))

    one.when(replayed("PROCESS/fraud"))

    assert (one.states["fraud"], one.states["news"], one.states["price"]) == ("SCHEDULED", "SCHEDULED", "COMPLETED")
    assert phases(one) == ["pre", "parallel"]


def test_an_activity_may_come_twice_and_a_plugin_in_two_phases():
    one = given(
        workflow(activity("A", activity="same"), activity("B", activity="same")),
        plugins={"pre": [SCAN], "post": [SCAN]},
    )

    for task in ("A/scan", "A/scan (2)", "B/scan", "B/scan (2)"):
        one.when(completed(task))

    assert one.state == "COMPLETED"
    assert [task.plugin.name for task in one.definition.tasks] == ["scan"] * 4


def test_who_does_the_work_is_told_which_activity_it_is_for():
    one = story({"pre": [plugin(service("scan", colour="red"))]})

    assert {key: one.sent[-1].body[key] for key in ("activity", "phase", "colour", "task_name")} == {
        "activity": "PROCESS", "phase": "pre", "colour": "red", "task_name": "scan",
    }  # fmt: skip


def test_instances_with_the_same_plugins_share_one_definition():
    base, scan = definition_of(CLAIM), {"name": "scan", "mandatory": True, "labels": {}, "task": service("scan")}

    one, other, without = (grown(base, 1, "pre", plugins=said, excluded=[]) for said in ([scan], [{**scan}], []))

    assert one is other
    assert one is not without
    assert len(without.tasks) == len(base.tasks)
