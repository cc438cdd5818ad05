"""Work leased from a real site over HTTP, with nothing but an address and a token."""

import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from urllib.parse import urlsplit

import pytest

from tests import servers
from tests.client.broker import Program, until
from tests.client.sites import business_status, events, publish, rival_leases, start, state, task_of
from tests.demo.test_demo import get, post
from tests.engines import free_port
from tests.proxy import Proxy
from tests.tree import ROOT
from workflows.client import Services, TaskFailed
from workflows.client.testing import start_task
from workflows.examples.pizza_services import pizza_services

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with servers.demo(tmp_path_factory.mktemp("site"), MAX_JSON_DEPTH="20") as site:
        yield site


@pytest.fixture
def queue():
    return f"queue-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def serve(site):
    """Make services that are stopped at the end of the test."""
    made = []

    def make(**options):
        services = Services(site.url, token=site.tokens["service-bot"], **{"poll_seconds": 1, **options})
        made.append(services)
        return services

    yield make
    for services in made:
        services.stop(5)


def test_work_is_leased_done_and_answered(site, serve, queue):
    services = serve()

    @services.service(queue)
    def work(task):
        return {"total": task.context["n"] * task.extra["price"]}

    component = publish(site, {"task_name": "work", "task_queue": queue, "price": 7})
    services.start()
    instances = [start(site, component, ref=f"R-{n}", context={"n": n}) for n in range(12)]
    until(lambda: all(state(site, one) == "COMPLETED" for one in instances), what="the end of all")

    totals = [get(site, f"instances/{one}/")["context"]["total"] for one in instances]
    assert totals == [7 * n for n in range(12)]


def test_people_see_how_far_the_work_is(site, serve, queue):
    services, seen = serve(), threading.Event()

    @services.service(queue)
    def work(task):
        for percent in range(41):
            task.report(percent, f"page {percent}")
        seen.wait(60)

    component = publish(site, {"task_name": "work", "task_queue": queue})
    services.start()
    instance = start(site, component)
    until(lambda: task_of(site, instance).get("progress") == {"percent": 40, "message": "page 40"}, what="40 %")
    seen.set()
    until(lambda: state(site, instance) == "COMPLETED", what="the end")

    assert events(site, instance).count("TaskStarted") == 1
    assert "InputRefused" not in events(site, instance)


def test_a_failure_is_tried_again_by_the_policy_of_the_template(site, serve, queue):
    services = serve()

    @services.service(queue)
    async def work(task):
        if task.attempt == 1:
            raise TaskFailed("busy", "Try me again.", {"seconds": 1})
        if task.attempt == 2:
            raise OSError("no such machine")
        return {"attempts": task.attempt}

    component = publish(site, {"task_name": "work", "task_queue": queue, "retry": {"max_attempts": 3}})
    services.start()
    instance = start(site, component)
    until(lambda: state(site, instance) == "COMPLETED", what="the third attempt")

    history = get(site, f"instances/{instance}/history/")["results"]
    errors = [entry["data"]["error"] for entry in history if entry["event"] == "TaskFailed"]
    assert errors == [
        {"code": "busy", "message": "Try me again.", "details": {"seconds": 1}},
        {"code": "OSError", "message": "no such machine", "details": None},
    ]
    assert get(site, f"instances/{instance}/")["context"]["attempts"] == 3


def test_a_failure_for_good_is_not_tried_again(site, serve, queue):
    services = serve()

    @services.service(queue)
    def work(task):
        raise TaskFailed("no_such_customer", retry=False)

    component = publish(site, {"task_name": "work", "task_queue": queue, "retry": {"max_attempts": 9}})
    services.start()
    instance = start(site, component)
    until(lambda: state(site, instance) == "FAILED", what="the failure")

    assert task_of(site, instance)["attempt"] == 1


def test_an_output_that_the_site_refuses_fails_the_task(site, serve, queue):
    services = serve()
    deep = {}
    for _ in range(30):
        deep = {"deeper": deep}
    services.service(queue)(lambda task: deep)

    component = publish(site, {"task_name": "work", "task_queue": queue, "retry": {"max_attempts": 9}})
    services.start()
    instance = start(site, component)
    until(lambda: state(site, instance) == "FAILED", what="the failure")

    assert task_of(site, instance)["error"]["code"] == "bad_output"


def test_a_rollback_comes_to_the_function_that_undoes(site, serve, queue):
    services = serve()
    services.service(queue)(lambda task: {"booking": "B-1"})
    services.service(f"{queue}-next")(lambda task: (_ for _ in ()).throw(TaskFailed("no", retry=False)))

    @services.compensation(f"{queue}-undo")
    def undo(task):
        assert task.output == {"booking": "B-1"}

    component = publish(
        site,
        {"task_name": "work", "task_queue": queue, "compensate": {"task_queue": f"{queue}-undo"}},
        {"task_name": "next", "task_queue": f"{queue}-next", "parent_task": ["work"], "on_failure": "rollback"},
    )
    services.start()
    instance = start(site, component)

    until(lambda: state(site, instance) == "ROLLED_BACK", what="the rollback")
    assert task_of(site, instance)["state"] == "COMPENSATED"


def test_work_that_takes_longer_than_its_lease_stays_ours(site, serve, queue):
    services = serve(lease_seconds=3)
    times, begun = [], threading.Event()

    @services.service(queue)
    def work(task):
        times.append(time.monotonic())
        begun.set()
        until(lambda: time.monotonic() > times[0] + 5, what="the end")

    component = publish(site, {"task_name": "work", "task_queue": queue})
    services.start()
    instance = start(site, component)
    assert begun.wait(30)
    taken = []
    while state(site, instance) == "RUNNING":
        taken += rival_leases(site, queue)
        time.sleep(0.2)

    assert taken == []
    assert len(times) == 1
    assert state(site, instance) == "COMPLETED"


def test_withdrawn_work_is_told(site, serve, queue):
    services = serve(lease_seconds=2)
    begun, told = threading.Event(), threading.Event()

    @services.service(queue)
    def work(task):
        begun.set()
        until(lambda: task.cancelled, what="the withdrawal")
        told.set()
        task.raise_if_cancelled()

    component = publish(site, {"task_name": "work", "task_queue": queue})
    services.start()
    instance = start(site, component)
    assert begun.wait(30)
    post(site, f"instances/{instance}/cancel/", {"reason": "No longer needed"}, user="olivia")

    assert told.wait(30)
    assert services.stop()
    assert events(site, instance)[-1] == "WorkflowCancelled"


def test_a_stop_gives_leases_back(site, serve, queue):
    services = serve(concurrency=1, lease_seconds=600)
    begun, go = [], threading.Event()
    queues = [f"{queue}-{n}" for n in range(3)]

    def work(task):
        begun.append(task.queue)
        go.wait(60)

    for one in queues:
        services.service(one)(work)
    component = publish(site, *({"task_name": f"work-{n}", "task_queue": one} for n, one in enumerate(queues)))
    start(site, component)
    services.start()
    until(lambda: begun, what="the beginning")
    assert services.stop(0.5) is False

    left = {one: [] for one in queues}

    def taken():
        for one in queues:
            left[one] += rival_leases(site, one)
        return all(left.values())

    # In seconds, not after ten minutes.
    until(taken, what="the return of all work")
    go.set()


def test_a_line_that_breaks_again_and_again_loses_nothing(site, queue):
    done = Counter()
    parts = urlsplit(site.url)
    with Proxy((parts.hostname, parts.port)) as line:
        services = Services(
            f"http://127.0.0.1:{line.port}", token=site.tokens["service-bot"], lease_seconds=2, poll_seconds=1
        )

        @services.service(queue)
        def work(task):
            done[task.business_ref_no] += 1
            return {"n": task.context["n"]}

        component = publish(site, {"task_name": "work", "task_queue": queue})
        services.start()
        instances = []
        for n in range(24):
            instances.append(start(site, component, ref=f"R-{n}", context={"n": n}))
            if n % 8 == 3:
                line.cut()
            if n % 8 == 7:
                # Leases and answers arrive, and nobody hears of it.
                line.drop_reply()
                until(lambda before=line.accepted: line.accepted > before, what="the loss of a reply")
                line.heal()
        until(lambda: all(state(site, one) == "COMPLETED" for one in instances), seconds=60, what="the end of all")
        line.heal()
        assert services.stop()

    assert set(done.values()) == {1}
    assert all("InputRefused" not in events(site, one) for one in instances)


def test_a_site_that_is_killed_and_comes_back_is_found_again(tmp_path, queue):
    port = free_port()
    begun, go = threading.Event(), threading.Event()
    done = []
    with servers.demo(tmp_path, port=port) as site:
        services = Services(site.url, token=site.tokens["service-bot"], poll_seconds=1)

        @services.service(queue)
        def work(task):
            done.append(task.business_ref_no)
            begun.set()
            assert go.wait(120)
            return {"ok": True}

        component = publish(site, {"task_name": "work", "task_queue": queue})
        first = start(site, component, ref="R-1")
        services.start()
        assert begun.wait(30)
        site.stop(signal.SIGKILL)
        go.set()
    with servers.demo(tmp_path, port=port) as site:
        second = start(site, component, ref="R-2")
        until(lambda: state(site, first) == state(site, second) == "COMPLETED", seconds=60, what="the end of both")

        assert services.stop()
    assert done == ["R-1", "R-2"]


def test_a_service_that_is_told_to_end_finishes(site, queue, tmp_path):
    component = publish(site, {"task_name": "work", "task_queue": queue})
    instances = [start(site, component, ref=f"R-{n}") for n in range(3)]
    program = Program(tmp_path, site.url, queue, "-", site.tokens["service-bot"])
    try:
        until(lambda: len(program.lines()) == 2, what="the beginning")
        program.process.send_signal(signal.SIGTERM)
        until(lambda: "told to end" in program.printed(), what="the signal's effect")
        program.go()
        assert program.process.wait(40) == 0
    finally:
        program.end()

    assert program.lines()[-1] == "finished True"
    assert sorted(state(site, one) for one in instances) == ["COMPLETED", "COMPLETED", "RUNNING"]
    # At once, or as soon as a lease that was given back has ended.
    assert len(until(lambda: rival_leases(site, queue), what="the return of the third")) == 1


def test_the_work_of_a_killed_service_is_offered_again(site, queue, tmp_path):
    component = publish(site, {"task_name": "work", "task_queue": queue})
    instance = start(site, component)
    first = Program(tmp_path, site.url, queue, "-", site.tokens["service-bot"])
    try:
        until(lambda: first.lines(), what="the beginning")
        first.process.kill()
    finally:
        first.end()
    second = Program(tmp_path, site.url, queue, "-", site.tokens["service-bot"])
    try:
        second.go()
        until(lambda: state(site, instance) == "COMPLETED", what="the work of the second")
    finally:
        second.end()

    assert task_of(site, instance)["attempt"] == 1
    assert get(site, f"instances/{instance}/")["context"]["done_by"].endswith(f"-{second.process.pid}")


def test_a_wrong_token_is_said_and_waited_out(site, queue, caplog):
    services = Services(site.url, token="wrong", poll_seconds=1)
    services.service(queue)(lambda task: None)

    services.start()
    until(lambda: "401" in caplog.text, what="the refusal")

    assert services.stop()


def test_the_pizza_shop_is_a_program_of_its_own(site, tmp_path):
    order = {"pizza": "Diavola", "quantity": 2}
    order_id = start(site, "ITALIAN", ref="P-1", context=order)
    odd_id = start(site, "ITALIAN", ref="P-2", context=order | {"quantity": 20})
    with (tmp_path / "log").open("wb") as log:
        program = subprocess.Popen(
            [
                *(sys.executable, "-m", "workflows.examples.pizza_services", "--url", site.url),
                *("--token", site.tokens["service-bot"], "--answers", str(tmp_path / "answers.sqlite3")),
            ],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            for one in (order_id, odd_id):
                until(lambda one=one: business_status(site, one) == "OUT FOR DELIVERY", seconds=90, what="the rider")
            program.send_signal(signal.SIGTERM)
            assert program.wait(40) == 0
        finally:
            program.kill()
            program.wait()

    context = get(site, f"instances/{order_id}/")["context"]
    assert context["eta_minutes"] == 35
    assert context["message_to_customer"] == f"{context['rider']} is on the way."


def test_what_is_not_on_the_menu_is_refused_for_good():
    services = pizza_services(pace=0)

    answer = services.handle(start_task(context={"pizza": "Hawaii"}), queue="confirm_order_queue")

    assert (answer["error"]["code"], answer["retry"]) == ("not_on_the_menu", False)
