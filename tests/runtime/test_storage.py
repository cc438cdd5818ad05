"""What the database itself guards, and how rows, tables and messages are shaped."""

import uuid

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from tests.builders import (
    CANCEL,
    ROLL_BACK,
    completed,
    human,
    pending,
    retry,
    service,
    stage,
    undo,
    workflow,
)  # fmt: skip
from workflows import models
from workflows.engine.lifecycle import TaskState
from workflows.models import LoggedEvent, OutboxMessage, WorkflowInstance
from workflows.models.writes import Table
from workflows.runtime import tables
from workflows.runtime.identity import human_task_id, message_id, new_instance_id

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

ONE = workflow(service("a", oven=240, tags=["hot", "thin"]))
MODELS = {
    "INSTANCE": models.WorkflowInstance,
    "STAGE": models.StageInstance,
    "TASK": models.TaskInstance,
    "HUMAN_TASK": models.HumanTask,
    "EVENT": models.LoggedEvent,
    "OUTBOX": models.OutboxMessage,
    "DEADLINE": models.Deadline,
    "HANDLED": models.HandledMessage,
    "LEASE": models.Lease,
    "SEARCH": models.SearchedValue,
    "PLUGIN": models.PluginRun,
    "PROGRESS": models.TaskProgress,
}
KINDS = {
    "UUIDField": "uuid", "ForeignKey": "uuid", "CharField": "text", "StateField": "text", "TextField": "text",
    "JsonText": "text", "FSMField": "text", "PositiveIntegerField": "int", "PositiveSmallIntegerField": "int",
    "IntegerField": "int", "BooleanField": "bool", "FloatField": "real", "ByteText": "text", "DateTimeField": "time",
}  # fmt: skip


def test_every_table_of_the_hot_path_has_its_model():
    assert {name for name, value in vars(tables).items() if isinstance(value, Table)} <= set(MODELS)


@pytest.mark.parametrize("name", [name for name in MODELS if hasattr(tables, name)])
def test_the_columns_of_the_hot_path_are_those_of_the_models(name):
    table, model = getattr(tables, name), MODELS[name]
    columns = {field.column: field for field in model._meta.concrete_fields if not field.generated}

    assert table.name == model._meta.db_table
    for column, kind in table.columns.items():
        assert KINDS[type(columns[column]).__name__] == kind, column
    for column, field in columns.items():
        left_out = (
            field.null
            or field.has_db_default()
            or (field.primary_key and field.get_internal_type().endswith("AutoField"))
        )
        assert column in table.columns or left_out, f"{column} would be written by nobody"


# --- the log ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE workflows_loggedevent SET actor = 'me'",
        "UPDATE workflows_loggedevent SET sequence = 9 WHERE sequence = 2",
        "DELETE FROM workflows_loggedevent WHERE sequence = 3",
        "DELETE FROM workflows_loggedevent",
    ],
)
def test_the_log_refuses_to_be_changed(door, statement):
    site = door(ONE)
    site.start()

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert LoggedEvent.objects.count() == 3


def test_a_number_is_given_once(door):
    site = door(ONE)
    site.start()
    with pytest.raises(IntegrityError), transaction.atomic():
        LoggedEvent.objects.create(
            instance=site.instance(), sequence=3, event="TaskCompleted", occurred_at=site.at, actor="me", data={}
        )


# --- states -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["WorkflowInstance", "StageInstance", "TaskInstance", "HumanTask", "OutboxMessage"])
def test_the_database_knows_the_states(door, model):
    site = door(workflow(service("a"), human("h")))
    site.start()
    rows = getattr(models, model).objects

    with pytest.raises(IntegrityError), transaction.atomic():
        rows.update(state="EXPLODED")


def test_a_state_changes_only_through_a_transition(door):
    site = door(ONE)
    site.start()
    row = site.instance()
    with pytest.raises(AttributeError):
        row.state = "COMPLETED"


def test_a_reference_is_taken_once(door):
    site = door(ONE)
    site.start()
    row = site.instance()
    row.pk = uuid.uuid4()
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save(force_insert=True)


# --- messages -----------------------------------------------------------------------------------------------------


def test_a_start_task_has_the_shape_of_the_contract(door):
    site = door(ONE)
    site.start(context={"n": 1})
    row = OutboxMessage.objects.get()

    assert row.payload == {
        "business_ref_no": "REF",
        "component_name": "COMPONENT",
        "event_name": "StartTask",
        "stage_name": "S",
        "task_name": "a",
        "task_type": "SERVICE",
        "workflow_name": "Workflow",
        "attempt": 1,
        "message_id": str(row.message_id),
        "instance_id": str(site.instance().pk),
        "context": {"n": 1},
        "oven": 240,
        "tags": ["hot", "thin"],
    }
    assert (row.queue, row.state, row.sent_at, row.tries) == ("a_queue", "PENDING", None, 0)


def test_a_compensate_task_and_a_cancel_task_have_the_same_shape(door):
    site = door(workflow(service("a", x=1, **undo("undo_q", y=2)), service("b", z=3)))
    site.start()
    site.ask(completed("a", output={"charge": 7}))
    site.ask(ROLL_BACK)
    sent = {(row.event_name, row.task_name): row for row in OutboxMessage.objects.all()}

    undoing, cancel = sent["CompensateTask", "a"], sent["CancelTask", "b"]
    assert undoing.queue == "undo_q"
    assert undoing.payload == {
        **sent["StartTask", "a"].payload,
        "event_name": "CompensateTask",
        "message_id": str(undoing.message_id),
        "context": {"charge": 7},
        "compensation": True,
        "output": {"charge": 7},
        "undoes_attempt": 1,
        "y": 2,
    }
    assert cancel.queue == "b_queue"
    assert set(cancel.payload) == set(sent["StartTask", "b"].payload)
    assert (cancel.payload["event_name"], cancel.payload["attempt"], cancel.payload["z"]) == ("CancelTask", 1, 3)


def test_every_message_has_an_id_of_its_own(door):
    site = door(workflow(service("a", **retry(5), **undo()), service("b")))
    site.start()
    site.batch(
        pending("a"), completed("a"), ROLL_BACK, pending("a", compensation=True), pending("a", compensation=True)
    )  # fmt: skip
    rows = list(OutboxMessage.objects.all())

    assert len({row.message_id for row in rows}) == len(rows) == 7
    assert all(row.payload["message_id"] == str(row.message_id) for row in rows)


def test_ids_can_be_derived_and_sort_with_their_instance():
    one, other = new_instance_id(), new_instance_id()
    about = {"position": 1, "attempt": 2, "compensation": False}

    assert message_id(one, event_name="StartTask", **about) == message_id(one, event_name="StartTask", **about)
    made = {
        make
        for instance in (one, other)
        for make in (
            message_id(instance, event_name="StartTask", **about),
            message_id(instance, event_name="CancelTask", **about),
            message_id(instance, event_name="StartTask", **{**about, "compensation": True}),
            message_id(instance, event_name="StartTask", **{**about, "attempt": 3}),
            human_task_id(instance, **about),
        )
    }
    assert len(made) == 10
    assert one.bytes[:6] == human_task_id(one, **about).bytes[:6]


def test_texts_are_kept_as_they_are(door):
    text = "ü 漢字 🍕 \\ \" ' {} $1 %s ; -- \t\n \u2028"
    site = door({**workflow(service("a", note=text), human("h", title=text)), "workflow_name": 'Ünï {x} "quoted" $1'})
    site.start(context={"t": text, text: [None, True, 1.5, 10**30, ""]})
    site.ask(completed("a", output={"o": text}), cause='%s {} "')

    assert site.json()["context"] == {"t": text, text: [None, True, 1.5, 10**30, ""], "o": text}
    assert OutboxMessage.objects.get(event_name="StartTask").payload["note"] == text
    assert site.human("h").title == text


def test_many_rows_at_once_are_the_rows_of_one_after_the_other(door):
    """Few rows and many go different ways to PostgreSQL."""
    text = 'a "quoted" \\ {text}, NULL'
    for count in (1, 3, 4, 5, 6, 40):
        site = door(
            workflow(*(service(f"t{n}", timeout_seconds=60, note=text) for n in range(count)), human("h", due_in_seconds=5)),
            component=f"C{count}",
        )  # fmt: skip
        site.start(context={"NULL": None, "text": text})
        site.batch(*(completed(f"t{n}", output={f"k{n}": text, "null": None}) for n in range(count)))
        assert len(site.json()["context"]) == count + 3


def test_the_shape_of_an_instance_is_that_of_the_contract(door):
    site = door(workflow(stage("S", service("a"), human("h")), stage("T")))
    site.start()
    shown = site.json()

    keys = "id business_ref_no component_name workflow_name version state business_status context created_at updated_at"
    assert {*keys.split(), "finished_at", "last_sequence", "stages"} <= set(shown)
    task = shown["stages"][0]["tasks"][1]
    keys = "task_name task_type state attempt assigned_to claimed_by due_at outcome error output"
    assert set(keys.split()) <= set(task)
    assert (task["assigned_to"], shown["stages"][1]["tasks"]) == ("finance", [])
    site.ask(CANCEL)
    assert site.json()["finished_at"] == "2026-01-01T12:00:00Z"


def test_a_step_with_a_queue_of_its_own_keeps_its_rows_right(door):
    from tests.builders import awaits, signalled, step

    site = door(workflow(step("s", task_queue="bell"), service("b", "s")))
    site.start()
    site.batch(awaits("s", "paid"))
    site.batch(signalled("paid"))
    site.batch(awaits("s", "paid"), signalled("paid"), completed("s"))

    assert site.states()["s"] == TaskState.COMPLETED


def test_instances_are_listed_by_their_rows(door):
    site = door(workflow(human("h", business_status="DONE")))
    site.start()
    assert site.instance().health == "person"
    site.ask(completed("h"))
    row = WorkflowInstance.objects.get()

    assert (row.health, row.business_status, row.active_stage) == ("completed", "DONE", "")
