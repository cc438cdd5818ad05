"""Templates: right ones are read, wrong ones get every problem at its place."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.templates import json_values, templates
from workflows.definitions import shape
from workflows.definitions.parsing import parse_template, problems_of, read_definition
from workflows.definitions.problems import InvalidTemplate
from workflows.definitions.schema import CompensationDefinition, Effect, FailurePolicy, Outcome, RetryPolicy, TaskKind


def template(*tasks, **more):
    return {
        "workflow_name": "Deliver Pizza",
        "component_name": "ITALIAN",
        "stages": [{"stage_name": "ORDER", "stage_order": 1, "tasks": list(tasks)}],
        **more,
    }


def service(name="bake", **more):
    return {"task_name": name, "task_type": "SERVICE", "task_queue": "queue", **more}


def human(name="check", **more):
    return {"task_name": name, "task_type": "HUMAN", **more}


def faults(value):
    return [(problem.pointer, problem.code) for problem in problems_of(value)]


def hints(value, **more):
    return [(warning.pointer, warning.code) for warning in parse_template(value, **more).warnings]


TASK = "/stages/0/tasks/0"


# --- right ones ------------------------------------------------------------------------------------------------------


@given(templates())
def test_a_right_template_is_read_and_comes_back(value):
    before = json.dumps(value)

    parsed = parse_template(value)

    assert json.dumps(value) == before
    assert parsed.warnings == ()
    assert parsed.definition == read_definition(json.loads(before))
    assert parsed.definition.raw == value


@given(templates())
def test_positions_follow_the_order_of_stages_and_parents_and_children_mirror_each_other(value):
    definition = parse_template(value).definition

    orders = [stage.stage_order for stage in definition.stages]
    assert orders == sorted(orders)
    assert [task.position for task in definition.tasks] == list(range(len(definition.tasks)))
    for stage in definition.stages:
        source = next(one for one in value["stages"] if one["stage_name"] == stage.stage_name)
        listed = [task["task_name"] for task in source.get("tasks", [])]
        assert [task.task_name for task in definition.tasks_of(stage.position)] == listed
        for task in definition.tasks_of(stage.position):
            assert task.stage_position == stage.position
            assert all(task.position in definition.tasks[parent].children for parent in task.parents)
            assert all(task.position in definition.tasks[child].parents for child in task.children)
    for task in definition.tasks:
        for outcome in task.outcomes:
            if outcome.effect is Effect.RETURN:
                target = definition.tasks[outcome.return_position]
                assert target.kind is TaskKind.HUMAN
                assert outcome.return_to in (target.key, target.task_name)
                assert target.stage_position < task.stage_position or target.position in ancestors(definition, task)


def ancestors(definition, task):
    found, todo = set(), list(task.parents)
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += definition.tasks[one].parents
    return found


def test_a_task_says_everything():
    value = template(
        human(
            "check",
            assigned_to="finance",
            outcomes=[{"name": "yes"}, {"name": "no", "label": "No!", "effect": "fail"}],
            retry={"max_attempts": 2.0, "jitter": False},
            compensate={"task_queue": "undo", "retry": {"max_attempts": 3}, "timeout_seconds": 5, "reason_code": 7},
            on_failure="halt",
            when=False,
            step=3,
            tags=["hot"],
            parent_task=["bake"],
        ),
        service("bake"),
        {"task_name": "s", "task_type": "STEP", "step": "orders.reserve"},
        on_failure="rollback",
    )

    check, bake, step = parse_template(value).definition.tasks

    assert (check.parents, bake.children, check.key) == ((1,), (0,), "ORDER/check")
    assert check.outcomes == (Outcome("yes", "yes"), Outcome("no", "No!", Effect.FAIL))
    assert bake.offered_outcomes == (Outcome("complete", "Complete"),)
    assert check.retry == RetryPolicy(max_attempts=2, jitter=False)
    assert type(check.retry.max_attempts) is int
    assert check.compensate == CompensationDefinition(
        task_queue="undo", retry=RetryPolicy(max_attempts=3), timeout_seconds=5, extra={"reason_code": 7}
    )
    assert (check.on_failure, bake.on_failure) == (FailurePolicy.HALT, FailurePolicy.ROLLBACK)
    assert (check.has_when, check.when, bake.has_when) == (True, False, False)
    assert check.extra == {"step": 3, "tags": ["hot"]}
    assert (step.step, step.extra) == ("orders.reserve", {})


@pytest.mark.parametrize("name", ["__proto__", "constructor", "__class__", "漢字", "🍕", "a" * 200, "a.b", "a b"])
def test_odd_names_are_names(name):
    assert faults(template(service(name))) == []


def test_a_diamond_is_no_circle():
    value = template(
        service("a"),
        service("b", parent_task=["a"]),
        service("c", parent_task=["a"]),
        service("d", parent_task=["b", "c"]),
    )

    assert faults(value) == []


def test_twenty_thousand_tasks_in_a_stage_are_read():
    value = template(*(service(f"t{n}", parent_task=[f"t{n - 1}"] if n else []) for n in range(20_000)))

    assert len(parse_template(value).definition.tasks) == 20_000


def test_what_it_does_to_its_subscription():
    plain = parse_template(template(service("a"))).definition
    said = parse_template(template(service("a"), target="MODIFY", runs_out_of_sync=True, products=["node"])).definition

    assert (plain.target, plain.runs_out_of_sync, plain.products) == (None, False, ())
    assert (said.target, said.runs_out_of_sync, said.products) == ("MODIFY", True, ("node",))


# --- wrong ones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, [], "x", 0, True, [{}]])
def test_a_template_is_an_object(value):
    assert faults(value) == [("", "wrong_type")]


def test_every_problem_is_told_at_once_in_the_order_of_the_document():
    value = {
        "workflow_name": " Faulty",
        "timeout_seconds": True,
        "stages": [
            {
                "stage_name": "S",
                "stage_order": 1,
                "tasks": [
                    service("a", parent_task=["b"]),
                    service("b", parent_task=["a"]),
                    service("c", parent_task=["nobody", "a", "a", 7]),
                    {"task_name": "d", "task_type": "ROBOT", "task_queue": "q"},
                    {"task_name": "e", "task_type": "SERVICE"},
                    service("a"),
                    "x",
                ],
            },
            {"stage_name": "S", "stage_order": 1.0},
            7,
        ],
    }

    with pytest.raises(InvalidTemplate) as caught:
        parse_template(value)

    assert [(problem.pointer, problem.code) for problem in caught.value.problems] == [
        ("/component_name", "required"),
        ("/stages/0/tasks/1/parent_task/0", "cycle"),
        ("/stages/0/tasks/2/parent_task/0", "unknown_parent"),
        ("/stages/0/tasks/2/parent_task/2", "duplicate_parent"),
        ("/stages/0/tasks/2/parent_task/3", "wrong_type"),
        ("/stages/0/tasks/3/task_type", "unknown_task_type"),
        ("/stages/0/tasks/4/task_queue", "required"),
        ("/stages/0/tasks/5/task_name", "duplicate_task"),
        ("/stages/0/tasks/6", "wrong_type"),
        ("/stages/1/stage_name", "duplicate_stage"),
        ("/stages/1/stage_order", "duplicate_stage_order"),
        ("/stages/2", "wrong_type"),
        ("/timeout_seconds", "wrong_type"),
        ("/workflow_name", "bad_name"),
    ]
    assert "a → b → a" in caught.value.problems[1].message


@pytest.mark.parametrize(
    ("key", "bad", "code"),
    [
        ("workflow_name", 7, "wrong_type"),
        ("component_name", "", "bad_name"),
        ("stages", {}, "wrong_type"),
        ("stages", [], "bad_value"),
        ("stages", [7] * (shape.MAX_STAGES + 1), "bad_value"),
        ("on_failure", "retry", "bad_value"),
        ("on_failure", None, "wrong_type"),
        ("context_schema", [], "wrong_type"),
        ("context_schema", {"type": "x"}, "bad_schema"),
        *(("timeout_seconds", bad, "bad_value") for bad in (-1, 0, 1e12, 366 * 86400 + 1)),
        *(("timeout_seconds", bad, "wrong_type") for bad in ("5", True, None, [])),
        ("target", "modify", "bad_value"),
        ("target", None, "wrong_type"),
        ("runs_out_of_sync", "yes", "wrong_type"),
        ("products", "node", "wrong_type"),
    ],
)
def test_what_a_template_may_not_say(key, bad, code):
    pointers = {"context_schema": "/context_schema/type" if code == "bad_schema" else "/context_schema"}

    assert faults(template(**{key: bad})) == [(pointers.get(key, f"/{key}"), code)]


@pytest.mark.parametrize(
    "bad",
    ["", " a", "a ", "a\n", "a\0b", "a\u202eb", "a\u200bb", "a\u2028b", "a\x85b", "\ufeffa", "x" * 201, "x" * 10_000],
)
def test_bad_names(bad):
    value = template(service(bad), workflow_name=bad, component_name=bad)
    value["stages"][0]["stage_name"] = bad

    assert faults(value) == [
        (pointer, "bad_name")
        for pointer in ("/component_name", "/stages/0/stage_name", f"{TASK}/task_name", "/workflow_name")
    ]


@pytest.mark.parametrize("bad", ["a/b", "../../etc", "/"])
def test_a_slash_is_for_workflows_and_components_only(bad):
    value = template(service(bad), workflow_name=bad, component_name=bad)
    value["stages"][0]["stage_name"] = bad

    assert faults(value) == [("/stages/0/stage_name", "bad_name"), (f"{TASK}/task_name", "bad_name")]


@pytest.mark.parametrize(
    ("order", "code"),
    [("1", "wrong_type"), (True, "wrong_type"), (None, "wrong_type"), (float("inf"), "bad_value")],
)
def test_bad_orders(order, code):
    value = template()
    value["stages"][0]["stage_order"] = order

    assert faults(value) == [("/stages/0/stage_order", code)]


@pytest.mark.parametrize(
    ("more", "pointer", "code"),
    [
        ({"task_type": "service"}, "/task_type", "unknown_task_type"),
        ({"task_type": 7}, "/task_type", "wrong_type"),
        ({"task_type": ["SERVICE"]}, "/task_type", "wrong_type"),
        ({"parent_task": "bake"}, "/parent_task", "wrong_type"),
        ({"parent_task": None}, "/parent_task", "wrong_type"),
        ({"parent_task": [7]}, "/parent_task/0", "wrong_type"),
        ({"parent_task": ["x"]}, "/parent_task/0", "unknown_parent"),
        ({"parent_task": ["bake"]}, "/parent_task/0", "cycle"),
        ({"task_queue": ""}, "/task_queue", "bad_value"),
        ({"task_queue": " q"}, "/task_queue", "bad_value"),
        ({"task_queue": "q\n"}, "/task_queue", "bad_value"),
        ({"task_queue": "é" * 128}, "/task_queue", "bad_value"),
        ({"task_queue": "amq.rabbitmq.reply-to"}, "/task_queue", "bad_value"),
        ({"task_queue": None}, "/task_queue", "wrong_type"),
        ({"assigned_to": []}, "/assigned_to", "wrong_type"),
        ({"assigned_to": ""}, "/assigned_to", "bad_value"),
        ({"business_status": 7}, "/business_status", "wrong_type"),
        ({"title": 7}, "/title", "wrong_type"),
        ({"description": "x" * 20_001}, "/description", "bad_value"),
        ({"form": "x"}, "/form", "wrong_type"),
        ({"form": {"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}}, "/form/properties/a/pattern", "bad_schema"),
        ({"outcomes": {}}, "/outcomes", "wrong_type"),
        ({"outcomes": ["yes"]}, "/outcomes/0", "wrong_type"),
        ({"outcomes": [{}]}, "/outcomes/0/name", "required"),
        ({"outcomes": [{"name": ""}]}, "/outcomes/0/name", "bad_name"),
        ({"outcomes": [{"name": "a", "effect": "win"}]}, "/outcomes/0/effect", "bad_value"),
        ({"outcomes": [{"name": "a"}, {"name": "a"}]}, "/outcomes/1/name", "bad_value"),
        ({"outcomes": [{"name": "a", "effect": "return"}]}, "/outcomes/0/return_to", "required"),
        ({"outcomes": [{"name": "a", "return_to": "x"}]}, "/outcomes/0/return_to", "bad_value"),
        ({"outcomes": [{"name": "a", "effect": "return", "return_to": "x"}]}, "/outcomes/0/return_to", "unknown_return_to"),
        ({"due_in_seconds": -1}, "/due_in_seconds", "bad_value"),
        ({"escalate_to": 7}, "/escalate_to", "wrong_type"),
        ({"four_eyes": 1}, "/four_eyes", "wrong_type"),
        ({"quorum": 0}, "/quorum", "bad_value"),
        ({"quorum": "2"}, "/quorum", "wrong_type"),
        ({"retry": 3}, "/retry", "wrong_type"),
        ({"retry": {"max_attempts": 0}}, "/retry/max_attempts", "bad_value"),
        ({"retry": {"max_attempts": 1.5}}, "/retry/max_attempts", "wrong_type"),
        ({"retry": {"max_attempts": True}}, "/retry/max_attempts", "wrong_type"),
        ({"retry": {"max_attempts": 1e9}}, "/retry/max_attempts", "bad_value"),
        ({"retry": {"delay_seconds": -0.1}}, "/retry/delay_seconds", "bad_value"),
        ({"retry": {"delay_seconds": "1"}}, "/retry/delay_seconds", "wrong_type"),
        ({"retry": {"backoff": 0.5}}, "/retry/backoff", "bad_value"),
        ({"retry": {"max_delay_seconds": 1e12}}, "/retry/max_delay_seconds", "bad_value"),
        ({"retry": {"jitter": "yes"}}, "/retry/jitter", "wrong_type"),
        ({"timeout_seconds": 0}, "/timeout_seconds", "bad_value"),
        ({"timeout_seconds": False}, "/timeout_seconds", "wrong_type"),
        ({"on_failure": "explode"}, "/on_failure", "bad_value"),
        ({"compensate": "undo"}, "/compensate", "wrong_type"),
        ({"compensate": {}}, "/compensate", "required"),
        ({"compensate": {"task_queue": "q", "step": "a.b"}}, "/compensate", "bad_value"),
        ({"compensate": {"task_queue": ""}}, "/compensate/task_queue", "bad_value"),
        ({"compensate": {"step": "not dotted"}}, "/compensate/step", "bad_value"),
        ({"compensate": {"task_queue": "q", "retry": {"max_attempts": 0}}}, "/compensate/retry/max_attempts", "bad_value"),
        ({"compensate": {"task_queue": "q", "timeout_seconds": 0}}, "/compensate/timeout_seconds", "bad_value"),
        ({"compensate": {"task_queue": "q", "context": 1}}, "/compensate/context", "reserved_key"),
        ({"compensate": {"task_queue": "q", "task_name": 1}}, "/compensate/task_name", "reserved_key"),
        ({"when": "__import__('os').system('id')"}, "/when", "bad_condition"),
        ({"when": None}, "/when", "bad_condition"),
        ({"when": {"and": [{"==": [1]}]}}, "/when/and/0", "bad_condition"),
    ],
)  # fmt: skip
def test_what_a_task_may_not_say(more, pointer, code):
    assert faults(template({**service(), **more})) == [(TASK + pointer, code)]


@pytest.mark.parametrize("key", sorted(shape.ENVELOPE_KEYS - {"task_name", "task_type"}))
def test_an_extra_field_never_overwrites_the_envelope(key):
    assert faults(template(service(**{key: 1}))) == [(f"{TASK}/{key}", "reserved_key")]


def test_a_step_task_names_its_step():
    assert faults(template({"task_name": "s", "task_type": "STEP"})) == [(f"{TASK}/step", "required")]
    assert faults(template({"task_name": "s", "task_type": "STEP", "step": "a b"})) == [(f"{TASK}/step", "bad_value")]


def test_a_parent_of_another_stage_is_told_as_such():
    value = template(service("a"))
    value["stages"].append({"stage_name": "LATER", "stage_order": 2, "tasks": [service("b", parent_task=["a"])]})

    (problem,) = problems_of(value)

    assert (problem.pointer, problem.code) == ("/stages/1/tasks/0/parent_task/0", "unknown_parent")
    assert "ORDER" in problem.message


@pytest.mark.parametrize("length", [1, 2, 3, 100, 5_000])
def test_a_circle_is_told_once_with_its_path(length):
    value = template(service("other"), *(service(f"t{n}", parent_task=[f"t{(n + 1) % length}"]) for n in range(length)))

    (problem,) = problems_of(value)

    assert (problem.pointer, problem.code) == (f"/stages/0/tasks/{length}/parent_task/0", "cycle")
    assert "t0 → " in problem.message
    assert " → t0 " in problem.message
    assert len(problem.message) < 500


def test_each_entry_that_closes_a_circle_is_told():
    value = template(
        service("a", parent_task=["a", "b"]), service("b", parent_task=["c", "a"]), service("c", parent_task=["a"])
    )

    assert faults(value) == [
        (f"{TASK}/parent_task/0", "cycle"),
        ("/stages/0/tasks/1/parent_task/1", "cycle"),
        ("/stages/0/tasks/2/parent_task/0", "cycle"),
    ]


def back_to(name):
    return [{"name": "back", "effect": "return", "return_to": name}]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("draft", "WRITE/draft"),
        ("WRITE/draft", "WRITE/draft"),
        ("review", "CHECK/review"),
        ("WRITE/review", "WRITE/review"),
        ("CHECK/review", "CHECK/review"),
        ("first", "CHECK/first"),
        ("print", None),
        ("beside", None),
        ("sign", None),
        ("after", None),
        ("archive", None),
        ("LATER/archive", None),
        ("CHECK/draft", None),
        ("NOWHERE/draft", None),
        ("/draft", "WRITE/draft"),
        ("draft/", None),
        ("nobody", None),
    ],
)
def test_a_return_goes_to_an_earlier_stage_or_an_ancestor(name, key):
    value = template()
    value["stages"] = [
        {"stage_name": "LATER", "stage_order": 3, "tasks": [human("archive")]},
        {
            "stage_name": "CHECK",
            "stage_order": 2,
            "tasks": [
                human("sign", parent_task=["review", "print"], outcomes=back_to(name)),
                human("review", parent_task=["first"]),
                human("first"),
                human("beside"),
                human("after", parent_task=["sign"]),
                service("print"),
            ],
        },
        {"stage_name": "WRITE", "stage_order": 1, "tasks": [human("draft"), human("review")]},
    ]

    if key is None:
        assert faults(value) == [("/stages/1/tasks/0/outcomes/0/return_to", "unknown_return_to")]
    else:
        definition = parse_template(value).definition
        sign = definition.tasks[definition.task_positions["CHECK", "sign"]]
        assert definition.tasks[sign.outcomes[0].return_position].key == key


def test_a_circle_hides_no_return():
    value = template(
        human("a", parent_task=["b"]),
        human("b", parent_task=["a"]),
        human("c", parent_task=["b"], outcomes=back_to("a")),
    )

    assert faults(value) == [("/stages/0/tasks/1/parent_task/0", "cycle")]


def test_there_are_not_too_many_tasks(monkeypatch):
    value = template(service("a"), service("b"))
    monkeypatch.setattr("workflows.definitions.soundness.MAX_TASKS", 1)

    assert faults(value) == [("/stages", "bad_value")]


@given(st.recursive(json_values, lambda inner: st.dictionaries(st.sampled_from(
    ["workflow_name", "component_name", "stages", "tasks", "stage_name", "task_name", "task_type", "parent_task", "when",
     "outcomes", "compensate", "retry", "form", "context_schema", "return_to", "effect"]), inner) | st.lists(inner),
    max_leaves=30))  # fmt: skip
def test_any_json_is_read_or_refused(value):
    try:
        parse_template(value)
    except InvalidTemplate:
        assert problems_of(value)
    else:
        assert not problems_of(value)


# --- one change to a right template gives one problem at its place ---------------------------------------------------


def sets(key, value, below, code):
    """A change of the first task."""
    return lambda stages, tasks: (tasks[0], key, value, f"/{key}{below}", code)


def adds_parent(name_of, code):
    """A change of the first task that has a parent: one more in front or behind."""

    def change(stages, tasks):
        task = next(one for one in tasks if one[1].get("parent_task"))
        parents = task[1]["parent_task"]
        return task, "parent_task", [*parents, name_of(task[1])], f"/parent_task/{len(parents)}", code

    return change


def same_stage(key, convert, code):
    """A change of the second stage: it says what the first one says."""
    return lambda stages, tasks: (stages[1], key, convert(stages[0][1][key]), f"/{key}", code)


MUTATIONS = {
    "a name twice": lambda _, tasks: (tasks[1], "task_name", tasks[0][1]["task_name"], "/task_name", "duplicate_task"),
    "a parent unknown": adds_parent(lambda task: "nobody", "unknown_parent"),
    "a parent twice": adds_parent(lambda task: task["parent_task"][0], "duplicate_parent"),
    "itself as parent": adds_parent(lambda task: task["task_name"], "cycle"),
    "a stage twice": same_stage("stage_name", str, "duplicate_stage"),
    "an order twice": same_stage("stage_order", float, "duplicate_stage_order"),
    "an order as text": same_stage("stage_order", str, "wrong_type"),
    "an unknown kind": sets("task_type", "ROBOT", "", "unknown_task_type"),
    "a condition as text": sets("when", "amount > 3", "", "bad_condition"),
    "a pattern": sets(
        "form", {"properties": {"a": {"type": "string", "pattern": "a"}}}, "/properties/a/pattern", "bad_schema"
    ),
    "a reserved key": sets("attempt", 1, "", "reserved_key"),
    "no attempts": sets("retry", {"max_attempts": 0}, "/max_attempts", "bad_value"),
    "a return to nowhere": sets("outcomes", back_to("nobody"), "/0/return_to", "unknown_return_to"),
}


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
@settings(max_examples=50)
@given(value=templates(max_stages=3, max_tasks=4, with_returns=False), data=st.data())
def test_one_change_gives_one_problem(mutation, value, data):
    stages = [(f"/stages/{index}", stage) for index, stage in enumerate(value["stages"])]
    at, stage = data.draw(st.sampled_from(stages))
    tasks = [(f"{at}/tasks/{index}", task) for index, task in enumerate(stage.get("tasks", []))]
    try:
        (pointer, where), key, new, below, code = mutation(stages, tasks)
    except (IndexError, StopIteration):
        return  # there is nothing to change
    where[key] = new

    found = faults(value)

    assert (pointer + below, code) in found
    if code not in (
        "duplicate_task",
        "unknown_task_type",
    ):  # these leave others without their parent, or a key too many
        assert len(found) == 1


# --- warnings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typo",
    ["asigned_to", "assigned_too", "assigned_ot", "assinged_to", "assigned-to", "retri", "whenn", "hwen", "titel"],
)
def test_a_key_one_error_away_is_a_possible_typo_and_still_an_extra_field(typo):
    value = template(service(**{typo: 1}))

    assert hints(value) == [(f"{TASK}/{typo}", "possible_typo")]
    assert parse_template(value).definition.tasks[0].extra == {typo: 1}


@pytest.mark.parametrize("key", ["oven_temperature", "asinged_to", "Task_Queue", "x" * 10_000, "", "step", "a/b"])
def test_other_keys_of_a_task_are_extra_fields_without_a_word(key):
    assert hints(template(service(**{key: 1}))) == []


def test_elsewhere_an_unknown_key_is_told():
    value = template(
        service(
            retry={"max_atempts": 2},
            outcomes=[{"name": "a", "colour": 1}],
            compensate={"task_queue": "q", "retry": {"x": 1}, "rety": 1, "reason": 1},
        ),
        owner="me",
        on_failur="halt",
    )
    value["stages"][0]["a/b"] = 1

    assert hints(value) == [
        ("/owner", "unknown_key"),
        ("/on_failur", "unknown_key"),
        ("/on_failur", "possible_typo"),
        ("/stages/0/a~1b", "unknown_key"),
        (f"{TASK}/retry/max_atempts", "unknown_key"),
        (f"{TASK}/retry/max_atempts", "possible_typo"),
        (f"{TASK}/outcomes/0/colour", "unknown_key"),
        (f"{TASK}/compensate/rety", "possible_typo"),
        (f"{TASK}/compensate/retry/x", "unknown_key"),
    ]


def test_people_who_are_not_known_are_told():
    value = template(
        human("a", assigned_to="fred", escalate_to="nobody", compensate={"assigned_to": "ghost"}),
        human("b", assigned_to="ghost"),
        service("c", assigned_to="ghost"),
    )

    assert hints(value, known_assignee={"fred"}.__contains__) == [
        (f"{TASK}/escalate_to", "unknown_assignee"),
        (f"{TASK}/compensate/assigned_to", "unknown_assignee"),
        ("/stages/0/tasks/1/assigned_to", "unknown_assignee"),
    ]
    assert hints(value) == []
