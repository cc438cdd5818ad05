"""The database of the tests: guarded like the real one, and emptied between two tests all the same."""

import datetime as dt
import uuid

import pytest
from django.db import DatabaseError, connection

from workflows.models.event_log import LoggedEvent
from workflows.models.instance import WorkflowInstance
from workflows.models.template import WorkflowTemplate

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]
AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def event():
    template = WorkflowTemplate.objects.create(
        workflow_name="W", component_name="C", version=1, fingerprint="f", definition={}, warnings=[], created_at=AT
    )
    instance = WorkflowInstance.objects.create(
        id=uuid.uuid4(), template=template, workflow_name="W", component_name="C", version=1, business_ref_no="1",
        context={}, started_by="t", created_at=AT, updated_at=AT,
    )  # fmt: skip
    return LoggedEvent.objects.create(
        instance=instance, sequence=1, event="WorkflowStarted", occurred_at=AT, actor="t", data={}
    )


def test_what_has_been_logged_stays(event):
    with pytest.raises(DatabaseError, match="append-only"):
        LoggedEvent.objects.filter(pk=event.pk).update(actor="somebody else")
    with pytest.raises(DatabaseError, match="append-only"):
        LoggedEvent.objects.filter(pk=event.pk).delete()


@pytest.mark.parametrize("run", [1, 2])
def test_each_test_begins_with_an_empty_log(event, run):
    assert LoggedEvent.objects.count() == 1


def test_the_guards_are_back_after_each_test(event):
    with pytest.raises(DatabaseError, match="append-only"), connection.cursor() as cursor:
        cursor.execute("delete from workflows_loggedevent")
