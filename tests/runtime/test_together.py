"""Many at once: threads through the door, on both databases."""

from collections import Counter
from functools import partial

import pytest

from tests.builders import (
    CANCEL,
    ROLL_BACK,
    claimed,
    completed,
    decided,
    failed,
    human,
    retry,
    service,
    undo,
    undone,
    workflow,
)  # fmt: skip
from tests.together import together
from workflows.engine import commands as c
from workflows.models import LoggedEvent, OutboxMessage, WorkflowInstance, WorkflowTemplate
from workflows.runtime import deadlines, leasing, outbox
from workflows.runtime.asking import Outcome
from workflows.runtime.loading import snapshots
from workflows.runtime.publishing import publish_template

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


def times(count, work):
    return [work] * count


def gapless(site, ref="REF"):
    numbers = LoggedEvent.objects.filter(instance=site.instance(ref)).order_by("sequence")
    assert list(numbers.values_list("sequence", flat=True)) == list(range(1, numbers.count() + 1))


def test_two_parents_completed_at_once_start_their_child_once(door):
    site = door(workflow(service("a"), service("b"), service("c", "a", "b")))
    for n in range(12):
        ref = f"R{n}"
        site.start(ref)

        together(
            *times(4, lambda ref=ref: site.ask(completed("a"), ref=ref)),
            *times(4, lambda ref=ref: site.ask(completed("b"), ref=ref)),
        )

        assert site.messages(ref) == ["StartTask a#1", "StartTask b#1", "StartTask c#1"]
        gapless(site, ref)


def test_of_many_who_claim_one_wins(door):
    site = door(workflow(human("h")))
    site.start()

    answers = together(
        *(
            lambda n=n: site.ask(
                c.ClaimTask("S", "h", by=f"person-{n}", groups=frozenset({"finance"})), actor=f"person-{n}"
            )
            for n in range(20)
        )
    )

    assert Counter(answer.outcome for answer in answers) == {"applied": 1, "refused": 19}
    assert {answer.code for answer in answers} == {None, "already_claimed"}
    assert site.history().count("TaskClaimed") == 1
    assert site.history().count("InputRefused") == 19
    gapless(site)


def test_of_many_who_decide_one_is_heard(door):
    site = door(workflow(human("h"), service("b", "h")))
    site.start()

    answers = together(*(lambda by=by: site.ask(decided("h", by=by)) for by in ("fred", "fiona") * 4))

    assert sum(answer.applied for answer in answers) == 1
    assert site.messages() == ["StartTask b#1"]


def test_identical_starts_make_one_instance(door):
    site = door(workflow(service("a")))

    answers = together(*times(10, site.start))

    assert sum(answer.created for answer in answers) == 1
    assert len({answer.instance.id for answer in answers}) == 1
    assert OutboxMessage.objects.count() == 1


def test_batches_that_start_the_same_in_another_order_all_get_their_answers(door):
    site = door(workflow(service("a")))
    refs = [f"R{n}" for n in range(8)]

    def start(names):
        return lambda: site.batch(*(site.asked(c.StartWorkflow(ref), ref=ref) for ref in names))

    answers = together(*times(3, start(refs)), *times(3, start(refs[::-1])))

    assert sum(one.created for batch in answers for one in batch) == 8
    assert all(one.outcome is not Outcome.REFUSED for batch in answers for one in batch)


def test_batches_over_the_same_instances_in_another_order_end(door):
    site = door(workflow(*(service(f"t{n}") for n in range(6))))
    refs = [f"R{n}" for n in range(5)]
    for ref in refs:
        site.start(ref)

    def answer(task, names):
        return lambda: site.batch(*(site.asked(completed(task), ref=ref) for ref in names))

    together(*(answer(f"t{n}", refs if n % 2 else refs[::-1]) for n in range(6)))

    assert set(WorkflowInstance.objects.values_list("state", flat=True)) == {"COMPLETED"}


def test_a_message_delivered_to_many_counts_once(door):
    site = door(workflow(service("a", **retry(9))))
    site.start()

    answers = together(*times(8, lambda: site.ask(failed("a"), event_id="same")))

    assert Counter(answer.outcome for answer in answers) == {"applied": 1, "duplicate": 7}
    assert site.history().count("TaskFailed") == 1


def test_complete_against_cancel_against_rollback(door):
    for n in range(5):
        site = door(workflow(service("a", **undo()), service("b", "a")), component=f"C{n}")
        site.start()
        together(*(partial(site.ask, command) for command in (completed("a"), CANCEL, ROLL_BACK)))
        gapless(site)
        assert site.state() in ("CANCELLED", "ROLLED_BACK", "ROLLING_BACK")


def test_two_clocks_at_once_fire_once(door):
    site = door(workflow(service("a", timeout_seconds=1, **retry(5))))
    for n in range(10):
        site.start(f"R{n}")
    site.at = site.at.replace(hour=13)

    together(*times(4, lambda: deadlines.fire_due(site.at)))

    for n in range(10):
        assert site.history(f"R{n}").count("TaskFailed") == 1


def test_two_relays_claim_different_messages(door):
    site = door(workflow(*(service(f"t{n}") for n in range(30))))
    site.start()

    claimed_by = together(*times(4, lambda: [row.pk for row in outbox.claim(site.at, most=10)]))

    pks = [pk for batch in claimed_by for pk in batch]
    assert len(pks) == len(set(pks))


def test_workers_lease_different_work_while_results_come_in(door):
    site = door(workflow(*(service(f"t{n}", task_queue="q") for n in range(24))))
    site.start()
    site.start("OTHER")

    def work(worker):
        def run():
            done = []
            for _ in range(100):
                tasks = leasing.lease("q", worker_id=worker, max_tasks=3, lease_seconds=60, actor="bot", at=site.at)
                if not tasks and len(done) > 3:
                    break
                for task in tasks:
                    answer = site.ask(
                        completed(task["task_name"], attempt=1), ref=task["business_ref_no"], lease_id=task["lease_id"]
                    )
                    done.append((task["business_ref_no"], task["task_name"], answer.outcome))
            return done

        return run

    done = [one for worker in together(*(work(f"w{n}") for n in range(4))) for one in worker]

    assert Counter(outcome for *_, outcome in done) == {"applied": 48}
    assert {site.state(), site.state("OTHER")} == {"COMPLETED"}


def test_a_rollback_is_undone_once_whoever_answers(door):
    site = door(workflow(service("a", **undo()), service("b", "a", **undo()), service("z", "b")))
    site.start()
    site.batch(completed("a"), completed("b"))
    together(*times(5, lambda: site.ask(ROLL_BACK)))

    together(*times(4, lambda: site.ask(undone("b"))))
    together(*times(4, lambda: site.ask(undone("a"))))

    assert site.state() == "ROLLED_BACK"
    assert [one for one in site.messages() if one.startswith("Compensate")] == [
        "CompensateTask b#1",
        "CompensateTask a#1",
    ]


def test_processes_without_a_memory_of_their_own_agree(door):
    site = door(workflow(*(service(f"t{n}") for n in range(8)), service("last", *(f"t{n}" for n in range(8)))))
    site.start()

    def forgetful(n):
        def run():
            snapshots.forget()
            return site.ask(completed(f"t{n}"))

        return run

    together(*(forgetful(n) for n in range(8)))

    assert site.messages().count("StartTask last#1") == 1
    gapless(site)


def test_publishing_at_once_gives_versions_without_gaps(door):
    site = door()

    def publish(n):
        return lambda: publish_template(
            {**workflow(service(f"t{n % 3}")), "component_name": "C"}, by="olivia", at=site.at
        )

    published = together(*(publish(n) for n in range(8)))

    versions = sorted(WorkflowTemplate.objects.values_list("version", flat=True))
    assert versions == list(range(1, len(versions) + 1))
    assert sum(one.created for one in published) == len(versions)


def test_a_claim_and_a_reassignment_at_once(door):
    from tests.builders import reassigned

    site = door(workflow(human("h")))
    site.start()
    together(
        lambda: site.ask(claimed("h")),
        lambda: site.ask(reassigned("h", "mona")),
        lambda: site.ask(claimed("h", by="fiona")),
    )
    gapless(site)
    assert site.human("h").assigned_to == "mona"
