"""Search fields: written with what changes them, found by an index, and agreeing with the log."""

import datetime as dt
import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.builders import completed, replayed, service, workflow
from workflows.engine import commands as c
from workflows.models import SearchedValue, WorkflowInstance
from workflows.runtime import searching
from workflows.runtime.loading import snapshots
from workflows.runtime.replay import check_history
from workflows.runtime.searching import kept, look, read_wanted

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

FIELDS = {"customer": "/order/customer", "amount": "/order/amount", "paid": "/paid"}
TEMPLATE = workflow(service("a"), service("b", "a"), search=FIELDS)


def rows(site, ref="REF"):
    found = SearchedValue.objects.filter(instance=site.instance(ref)).order_by("name")
    return {name: values for name, *values in found.values_list("name", "text", "number", "boolean")}


def find(*filters):
    wanted = [read_wanted(*one.split("=", 1)) for one in filters]
    in_order, any_order = (
        sorted(
            kept(WorkflowInstance.objects.all(), look(wanted), in_order=so).values_list("business_ref_no", flat=True)
        )
        for so in (True, False)
    )
    assert in_order == any_order
    return in_order


def order(customer, amount):
    return {"order": {"customer": customer, "amount": amount}}


# --- writing ---------------------------------------------------------------------------------------------------------


def test_fields_are_written_at_the_start_and_follow_the_context(door):
    site = door(TEMPLATE)
    site.start(context=order("Ada", 12))
    assert rows(site) == {
        "amount": [None, 12.0, None], "customer": ["Ada", None, None], "paid": [None, None, None],
    }  # fmt: skip

    site.ask(completed("a", output={"paid": True, "order": {"customer": "Ada", "amount": "a lot"}}))
    assert rows(site) == {
        "amount": ["a lot", None, None], "customer": ["Ada", None, None], "paid": [None, None, True],
    }  # fmt: skip

    site.ask(completed("b", output={"order": None}))
    assert rows(site)["customer"] == [None, None, None]
    site.ask(replayed("a"))
    site.ask(completed("a", output=order("Bob", -0.0)))
    assert rows(site)["customer"] == ["Bob", None, None]


def test_several_events_and_instances_in_one_transaction(door):
    site = door(TEMPLATE)
    site.batch(
        *(site.asked(c.StartWorkflow(f"R-{n}", order(f"C{n}", n)), ref=f"R-{n}") for n in range(7)),
        *(site.asked(completed("a", output=order(f"D{n}", n + 0.5)), ref=f"R-{n}") for n in range(7)),
    )
    site.batch(*(site.asked(completed("b", output={"paid": n % 2 == 0}), ref=f"R-{n}") for n in range(7)))

    assert rows(site, "R-6") == {
        "amount": [None, 6.5, None], "customer": ["D6", None, None], "paid": [None, None, True],
    }  # fmt: skip


def test_what_does_not_change_stays_and_without_fields_there_are_no_rows(door):
    site = door(TEMPLATE)
    site.start(context=order("Ada", 12))
    plain = door(workflow(service("a"), service("b", "a")), component="PLAIN")

    plain.start(context=order("Ada", 12))
    plain.ask(completed("a", output=order("Eve", 13)))

    before = list(SearchedValue.objects.order_by("pk").values_list())
    site.ask(completed("a", output={"other": 1}))
    assert list(SearchedValue.objects.order_by("pk").values_list()) == before
    assert not SearchedValue.objects.filter(instance=plain.instance()).exists()


def test_texts_of_all_kinds_come_back(door):
    site = door(workflow(service("a"), search={"t": "/t"}))
    for number, text in enumerate(["", " ", '"', "\\", "NULL", "null", "{a,b}", "'; --", "𝄞" * 200, "a\nb", "é" * 250]):
        site.start(f"R-{number}", context={"t": text})
        assert rows(site, f"R-{number}") == {"t": [text[:200], None, None]}
        if text.strip():
            assert find(f"t={text[:200]}") == [f"R-{number}"]


def test_check_history_sees_what_somebody_changed(door):
    site = door(TEMPLATE)
    site.start(context=order("Ada", 12))
    snapshots.forget()
    mine = SearchedValue.objects.filter(instance=site.instance())

    mine.filter(name="customer").update(text="Eve")
    assert check_history(site.instance()) == [
        "search field customer is ('Eve', None, None), the log says ('Ada', None, None)"
    ]
    mine.filter(name="customer").update(text="Ada")
    mine.filter(name="paid").delete()
    assert check_history(site.instance()) == ["search field paid: its row is missing"]
    mine.create(instance=site.instance(), name="paid")
    extra = mine.create(instance=site.instance(), name="more")
    assert check_history(site.instance()) == ["search field more: the template has none"]
    extra.delete()


# --- finding ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["few", "many"])
def site(request, door, monkeypatch):
    """Five orders; found both ways, whichever the number of hits would choose."""
    monkeypatch.setattr(searching, "_FEW", 2_000 if request.param == "few" else 0)
    site = door(TEMPLATE)
    for ref, context in {
        "1": order("ACME", 100), "2": order("ACME Inc", 99.5), "3": order("acme", 1000) | {"paid": True},
        "4": order("42", "42") | {"paid": False}, "5": order("Zoë", 42),
    }.items():  # fmt: skip
        site.start(ref, context=context)
    door(workflow(service("a")), component="PLAIN").start("6", context=order("ACME", 100))
    return site


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["customer=ACME"], "1"),
        (["customer=Zoë"], "5"),
        (["customer=ACM"], ""),
        (["customer__prefix=ACME"], "12"),
        (["customer__prefix=A"], "12"),
        (["customer__prefix=Zo"], "5"),
        (["customer__prefix=%"], ""),
        (["customer__prefix=\U0010ffff"], ""),
        (["customer__prefix=\ud7ff"], ""),
        (["amount=42"], "45"),
        (["amount=42.0"], "5"),
        (["amount=100"], "1"),
        (["amount=1e2"], "1"),
        (["amount__gte=100"], "134"),  # "42" is a text, and follows the text "100"
        (["amount__gt=100"], "34"),
        (["amount__lt=100"], "25"),
        (["amount__lte=99.5"], "245"),
        (["customer__gte=ACME", "customer__lt=B"], "12"),
        (["paid=true"], "3"),
        (["paid=false"], "4"),
        (["paid__exists=true"], "34"),
        (["paid__exists=false"], "125"),
        (["customer__prefix=ACME", "amount__gte=99.9"], "1"),
        (["customer=ACME", "paid__exists=true"], ""),
        (["elsewhere=1"], ""),
        (["elsewhere__exists=false"], ""),
    ],
)
def test_filters_keep_what_they_say(site, filters, found):
    assert "".join(find(*filters)) == found


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("amount__between", "1"), ("amount__", "1"), ("", "1"), ("__gte", "1"), ("a b", "1"), ("amount__gte", ""),
        ("paid__exists", "yes"), ("amount", "x" * 201), ("amount__gte__lt", "1"), ("ämount", "1"),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused(word, value):
    with pytest.raises(ValueError):
        read_wanted(word, value)


@pytest.mark.parametrize(
    "wanted",
    [
        "customer=C7", "customer__prefix=C7", "amount__gte=1990", "amount=7", "paid=true", "paid__exists=false",
    ],
)  # fmt: skip
def test_values_are_found_by_the_index(door, wanted):
    site = door(TEMPLATE)
    site.start(context=order("C1", 1))
    # Rows enough for a planner to care about; the log knows nothing of them, and they go again.
    known = WorkflowInstance.objects.filter(pk=site.instance().pk).values().get()
    copies = WorkflowInstance.objects.bulk_create(
        WorkflowInstance(
            **known | {"id": uuid.uuid4(), "business_ref_no": f"X-{n}", "created_at": site.at + dt.timedelta(seconds=n)}
        )
        for n in range(2_000)
    )
    SearchedValue.objects.bulk_create(
        SearchedValue(instance_id=copy.pk, **values)
        for n, copy in enumerate(copies)
        for values in (
            {"name": "customer", "text": f"C{n}"},
            {"name": "amount", "number": n},
            {"name": "paid", "boolean": True if n == 5 else None if n == 6 else False},
        )
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        with CaptureQueriesContext(connection) as said:
            found = kept(WorkflowInstance.objects.all(), look([read_wanted(*wanted.split("=", 1))]))
            plan = found.order_by("-created_at", "-id")[:51].explain()
        assert "search_by_value" in plan, plan
        assert "SCAN" not in plan.replace("SCAN CONSTANT ROW", ""), plan
        assert "Seq Scan" not in plan, plan
        assert "instance_newest" not in plan, plan
        assert len(said) <= 3
    finally:
        SearchedValue.objects.filter(instance__business_ref_no__startswith="X-").delete()
        WorkflowInstance.objects.filter(business_ref_no__startswith="X-").delete()
