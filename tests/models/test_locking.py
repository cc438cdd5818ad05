"""The transaction of the door is one of Django's: blocks nest in it, hooks wait for it, a failure undoes it."""

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction

from workflows.models.locking import writing

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


def names() -> list[str]:
    return sorted(Group.objects.values_list("name", flat=True))


def write_and_fail(name: str) -> None:
    with writing():
        Group.objects.create(name=name)
        transaction.on_commit(lambda: Group.objects.create(name="hooked"))
        raise ZeroDivisionError


def test_hooks_wait_for_the_commit():
    seen = []

    with writing() as database:
        Group.objects.create(name="a")
        transaction.on_commit(lambda: seen.append(connection.in_atomic_block))
        assert seen == []
        database.flush()

    assert seen == [False]
    assert names() == ["a"]


def test_a_failure_undoes_everything_and_drops_the_hooks():
    with pytest.raises(ZeroDivisionError):
        write_and_fail("a")

    with writing():
        Group.objects.create(name="b")
    assert names() == ["b"]


def test_a_block_inside_is_a_savepoint():
    with writing():
        Group.objects.create(name="a")
        with pytest.raises(IntegrityError), transaction.atomic():
            Group.objects.create(name="a")
        with pytest.raises(ZeroDivisionError):
            write_and_fail("b")
        with writing():
            Group.objects.create(name="c")

    assert names() == ["a", "c"]


def test_a_block_without_a_savepoint_takes_everything_with_it():
    with writing():
        Group.objects.create(name="a")
        with pytest.raises(ZeroDivisionError), transaction.atomic(savepoint=False):
            raise ZeroDivisionError

    with writing():
        pass
    assert names() == []


def test_inside_somebody_elses_transaction_it_is_not_the_end():
    with transaction.atomic():
        with writing():
            Group.objects.create(name="a")
        transaction.set_rollback(True)

    assert names() == []


def test_a_connection_that_is_lost_inside_is_opened_anew():
    with writing():
        Group.objects.create(name="a")
        connection.close()

    assert names() == []
