"""What a plugin may say, what it then is, and in which order plugins run."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.activities.ordering import faults_of_order, in_order
from workflows.activities.plugin import expected, filled, problems_of
from workflows.definitions.shape import check_shape

SCAN = {"name": "scan", "phase": "pre", "task_queue": "scan_queue"}


def faults(**more):
    said = {key: value for key, value in {**SCAN, **more}.items() if value != "-"}
    return {problem.pointer: problem.code for problem in problems_of(said, activity="intake")}


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, {}),
        ({"task_queue": "-", "url": "https://checks.example.com:8443/a?b=c"}, {}),
        ({"task_queue": "-", "step": "shop.steps.check", "filter": {"amount": [{"numeric": [">", 5]}]}}, {}),
        ({"task_queue": "-", "assigned_to": "finance", "title": "Look at it"}, {}),
        ({"secret": None, "url": None, "filter": None}, {}),
        ({"name": "-", "phase": "-"}, {"/name": "required", "/phase": "required"}),
        ({"name": "a/b"}, {"/name": "bad_name"}),
        ({"name": "x" * 81}, {"/name": "bad_value"}),
        ({"phase": "later"}, {"/phase": "bad_value"}),
        ({"task_queue": "-"}, {"": "required"}),
        ({"url": "https://a.example"}, {"/url": "bad_value"}),
        ({"task_queue": "@http/x/y"}, {"/task_queue": "bad_value"}),
        ({"task_queue": "@steps"}, {"/task_queue": "bad_value"}),
        ({"secret": "s"}, {"/secret": "bad_value"}),
        ({"mandatry": False}, {"/mandatry": "unknown_key"}),
        ({"mandatory": "no"}, {"/mandatory": "wrong_type"}),
        ({"mandatory": False, "on_failure": "halt"}, {"/on_failure": "bad_value"}),
        ({"before": ["a", 3]}, {"/before/1": "wrong_type"}),
        ({"filter": {"amount": [{"numeric": [">"]}]}}, {"/filter/amount/0/numeric": "bad_value"}),
        ({"retry": {"max_attempts": 0}, "timeout_seconds": 0}, {"/retry/max_attempts": "bad_value", "/timeout_seconds": "bad_value"}),
        ({"system": "x" * 201}, {"/system": "bad_value"}),
        *[
            ({"task_queue": "-", "url": url}, {"/url": "bad_value"})
            for url in (
                "ftp://a.example", "https://", "//a.example", "https://me:pw@a.example/", "https://a.example/#b",
                "https://a.example:0/", "https://a.example:99999/", "https://a b/", "https://bücher.example/", "x",
                "http://[::1", "https://a.example/\n",
            )
        ],
    ],
)  # fmt: skip
def test_every_fault_has_its_place(more, found):
    assert faults(**more) == found


def test_what_is_no_object_is_said_so():
    assert [problem.code for problem in problems_of([], activity="intake")] == ["wrong_type"]
    assert [problem.pointer for problem in problems_of(SCAN, activity="a/b")] == [""]


def test_it_becomes_a_task_as_a_template_has_it():
    ways = [{"task_queue": "q"}, {"url": "https://a.example"}, {"step": "a.b"}, {"assigned_to": "finance"}]
    tasks = []
    for number, way in enumerate(ways):
        said = {"name": f"p{number}", "phase": "post", "title": "T", "system": "CRM", **way}
        plugin = expected("intake", filled(said, signed=False))
        assert (plugin.name, plugin.mandatory, plugin.labels) == (f"p{number}", True, {"system": "CRM"})
        tasks.append(plugin.task)

    template = {
        "workflow_name": "W",
        "component_name": "C",
        "stages": [{"stage_name": "S", "stage_order": 1, "tasks": tasks}],
    }
    assert list(check_shape(template)) == []
    assert [task["task_type"] for task in tasks] == ["SERVICE", "SERVICE", "STEP", "HUMAN"]
    assert tasks[1]["task_queue"] == "@http/intake/p1"
    assert [task.get("timeout_seconds") for task in tasks] == [3600, 3600, 3600, None]
    optional = expected("intake", filled({**SCAN, "mandatory": False}, signed=False))
    assert (optional.mandatory, optional.task["on_failure"]) == (False, "continue")


# --- Order --------------------------------------------------------------------------------------------------------


def plugin(name, phase="pre", **more):
    return {"name": name, "phase": phase, "before": [], "after": [], **more}


def names(*plugins):
    return [one["name"] for one in in_order(plugins)]


def test_they_run_as_they_came_unless_they_say_otherwise():
    assert names(plugin("b"), plugin("a"), plugin("c")) == ["b", "a", "c"]
    assert names(plugin("b", after=["c"]), plugin("a"), plugin("c")) == ["a", "c", "b"]
    assert names(plugin("b"), plugin("a", before=["b"]), plugin("c")) == ["a", "b", "c"]
    assert names(plugin("z", "post"), plugin("y", "parallel"), plugin("x")) == ["x", "y", "z"]


def test_a_name_that_nobody_bears_waits_for_its_bearer():
    first = plugin("first", after=["later"])

    assert names(first, plugin("x")) == ["first", "x"]
    assert names(first, plugin("x"), plugin("later")) == ["x", "later", "first"]


@pytest.mark.parametrize(
    ("new", "others", "found"),
    [
        (plugin("a"), [plugin("b", after=["a"])], {}),
        (plugin("a", after=["a"]), [], {"/after/0": "cycle"}),
        (plugin("a", after=["x", "b"]), [plugin("b", after=["a"])], {"/after/1": "cycle"}),
        (plugin("a", before=["b"]), [plugin("b", before=["c"]), plugin("c", before=["a"])], {"/before/0": "cycle"}),
        (plugin("a"), [plugin("b", before=["a"], after=["a"])], {"/name": "cycle"}),
        (plugin("a", "pre", after=["b"]), [plugin("b", "post")], {"/after/0": "bad_value"}),
        (plugin("a", "post"), [plugin("b", "pre", after=["a"])], {"/phase": "bad_value"}),
        (plugin("a", "post", after=["b"]), [plugin("b", "pre")], {}),
        (plugin("a"), [plugin("a", after=["b"]), plugin("b", after=["a"])], {}),
    ],
)
def test_who_has_no_place_is_told_why(new, others, found):
    assert {one.pointer: one.code for one in faults_of_order(new, others)} == found


def test_the_circle_is_named():
    (fault,) = faults_of_order(plugin("a", before=["b"]), [plugin("b", before=["c"]), plugin("c", before=["a"])])

    assert "a → b → c → a" in fault.message


@given(st.integers(0, 2**32), st.integers(2, 12))
def test_every_plugin_that_was_let_in_has_its_place(seed, count):
    chance = random.Random(seed)
    there = []
    for number in range(count):
        said = plugin(
            f"p{number}",
            chance.choice(["pre", "parallel", "post"]),
            before=chance.sample([f"p{n}" for n in range(count)], chance.randint(0, 2)),
            after=chance.sample([f"p{n}" for n in range(count)], chance.randint(0, 2)),
        )
        if not list(faults_of_order(said, there)):
            there.append(said)

    found = names(*there)

    assert sorted(found) == sorted(one["name"] for one in there)
    place = {name: number for number, name in enumerate(found)}
    for one in there:
        assert all(place[one["name"]] < place[other] for other in one["before"] if other in place)
        assert all(place[one["name"]] > place[other] for other in one["after"] if other in place)
    phases = {one["name"]: ("pre", "parallel", "post").index(one["phase"]) for one in there}
    assert [phases[name] for name in found] == sorted(phases.values())
