"""Search fields that are filled in afterwards: all of them, once, however often it is begun."""

import io
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command

from tests.builders import completed, service, stage, workflow
from workflows.models import SearchedValue, WorkflowInstance
from workflows.models.writes import RowsDisagree
from workflows.runtime import refilling
from workflows.runtime.loading import snapshots
from workflows.runtime.replay import check_history

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

ORDER = workflow(
    stage("S", service("pay"), service("send")),
    search={"customer": "/customer", "amount": "/order/amount", "paid": "/paid"},
)


@pytest.fixture
def site(door):
    made = door(ORDER)
    for n in range(5):
        made.start(ref=f"REF-{n}", context={"customer": f"C-{n}", "order": {"amount": n + 0.5}})
    return made


def filled(chunk=2):
    out = io.StringIO()
    call_command("fill_search_fields", chunk=chunk, stdout=out)
    return out.getvalue().strip()


def agree():
    snapshots.forget()
    return all(check_history(one) == [] for one in WorkflowInstance.objects.all())


def test_what_is_missing_is_written_and_nothing_else(site):
    before = list(SearchedValue.objects.order_by("instance", "name").values_list("instance", "name", "text", "number"))
    SearchedValue.objects.filter(instance__business_ref_no__in=["REF-0", "REF-3"]).delete()
    SearchedValue.objects.filter(instance__business_ref_no="REF-4", name="paid").delete()
    assert not agree()

    assert filled() == "5 instances have search fields; 7 rows were missing and are written."

    after = list(SearchedValue.objects.order_by("instance", "name").values_list("instance", "name", "text", "number"))
    assert after == before
    assert agree()
    assert filled() == "5 instances have search fields; 0 rows were missing and are written."


def test_it_is_gone_on_with_where_it_was_ended(site):
    SearchedValue.objects.all().delete()
    first = next(refilling.fill(chunk=2))
    assert (first.instances, first.rows, SearchedValue.objects.count()) == (2, 6, 6)

    assert "9 rows" in filled()

    assert agree()


def test_a_chunk_that_cannot_be_written_leaves_nothing_half_done(site):
    SearchedValue.objects.all().delete()
    with patch.object(SearchedValue.objects, "bulk_create", side_effect=ValueError), pytest.raises(ValueError):
        filled()

    assert SearchedValue.objects.count() == 0
    assert "15 rows" in filled()


def test_an_instance_goes_on_before_and_after(site):
    SearchedValue.objects.all().delete()
    # Whoever lacks a row that changes does not go on, as with any row that disagrees with the log; nothing is lost.
    with pytest.raises(RowsDisagree):
        site.ask(completed("S/pay", output={"paid": True}), ref="REF-1")
    filled()

    assert site.ask(completed("S/pay", output={"paid": True, "customer": "New"}), ref="REF-1").applied

    assert agree()
    row = SearchedValue.objects.get(instance__business_ref_no="REF-1", name="customer")
    assert row.text == "New"


def test_templates_without_fields_are_passed_over(door):
    site = door(workflow(service("a")))
    site.start()

    assert filled() == "0 instances have search fields; 0 rows were missing and are written."
    with pytest.raises(CommandError, match="--chunk"):
        filled(chunk=0)
