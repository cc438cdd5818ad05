"""The pages of the queues: who sees them, what they say, what they cost."""

import datetime as dt

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.builders import human, service, workflow
from workflows.models import OutboxMessage
from workflows.runtime import broker, leasing, outbox, quarantine
from workflows.runtime.broker import Depth

pytestmark = pytest.mark.both_databases

TEMPLATE = workflow(service("pay", task_queue="pay/now"), human("check", "pay"))


@pytest.fixture
def fleet(begin):
    made = [begin(TEMPLATE, f"REF-{number}") for number in range(5)]
    leasing.lease("pay/now", worker_id="till-<1>", max_tasks=2, lease_seconds=60, actor="service-bot")
    return made


@pytest.fixture
def ask(settings):
    def use(answer):
        settings.BROKER_URL = "amqp://nobody"
        broker.ask_with(answer, own=lambda: {"workflow_manager": "inbound", "workflow_manager.dead": "dead"})

    yield use
    broker.ask_with(None)


def test_operators_and_auditors_see_how_the_queues_stand(browser_of, fleet, sound):
    for name in ("olivia", "adam", "admin"):
        answer = browser_of(name).get("/queues/")
        html = sound(answer)
        ((queue, _),) = answer.context["rows"]
        assert (queue.name, queue.depth, queue.in_hand, queue.seen_by) == ("pay/now", 3, 2, "till-<1>")
        assert "till-&lt;1&gt;" in html
        assert "This site has no broker" in html
        assert 'href="/queues/pay/now/"' in html
        assert 'href="/queues/pay/now/"' in sound(browser_of(name).get("/"))


def test_others_do_not(browser_of, fleet, sound):
    for name in ("service-bot", "fred"):
        for path in ("/queues/", "/queues/pay/now/"):
            sound(browser_of(name).get(path), 403)
    html = sound(browser_of("service-bot").get("/"))
    assert "pay/now" in html
    assert "/queues/" not in html


def test_one_queue_shows_who_has_what(browser_of, fleet, sound):
    html = sound(browser_of("adam").get("/queues/pay/now/"))

    assert html.count("till-&lt;1&gt;") >= 3
    for instance in fleet:
        assert f"/instances/{instance.pk}/" in html
    assert "To be sent" in html
    sound(browser_of("adam").get("/queues/no/such/"), 404)


def test_what_is_not_sent_says_why(browser_of, fleet, sound):
    now = timezone.now()
    claimed = outbox.claim(now, most=100)
    outbox.settle(claimed, ["There is no queue of this name."] * 3 + ["The bus does not answer: <x>"] * 2, at=now)
    client = browser_of("olivia")

    for path in ("/queues/", "/queues/pay/now/"):
        html = sound(client.get(path))
        assert "There is no such queue" in html
        assert "The broker does not answer" in html
        assert "&lt;x&gt;" in html
    figures = {figure.name: figure.count for figure in client.get("/queues/").context["figures"]}
    assert figures == {"Waiting": 3, "In hand": 2, "Not sent": 5, "Quarantined": 0}


def test_what_was_just_written_down_is_no_trouble_yet(browser_of, fleet, sound):
    client = browser_of("olivia")
    assert client.get("/queues/").context["troubles"] == []

    OutboxMessage.objects.update(created_at=timezone.now() - dt.timedelta(minutes=2))

    (trouble,) = client.get("/queues/").context["troubles"]
    assert (trouble.count, trouble.queues, trouble.more) == (5, [("pay/now", 5)], 0)
    assert "To be sent" in sound(client.get("/queues/"))


def test_one_cause_is_told_once_however_many_queues_it_keeps_waiting(browser_of, begin, sound):
    begin(workflow(*(service(f"t{number}") for number in range(7))))
    claimed = outbox.claim(timezone.now(), most=100)
    outbox.settle(claimed, ["The bus does not answer: refused"] * 7, at=timezone.now())

    answer = browser_of("olivia").get("/queues/")

    (trouble,) = answer.context["troubles"]
    assert (trouble.count, len(trouble.queues), trouble.more) == (7, 5, 2)
    assert "and 2 more queues" in sound(answer)


def test_unsent_messages_are_paged(browser_of, begin, sound):
    for number in range(25):
        begin(TEMPLATE, f"REF-{number}")
    client = browser_of("olivia")

    first = client.get("/queues/pay/now/")
    second = client.get(f"/queues/pay/now/?older={first.context['page'].older}")

    shown = [one.pk for page in (first, second) for one in page.context["messages_unsent"]]
    assert len(shown) == len(set(shown)) == OutboxMessage.objects.count() == 25
    assert 'rel="prev"' in sound(second)


def test_the_broker_tells_what_it_has(browser_of, fleet, sound, ask):
    depths = {"pay/now": Depth(70, 4), "workflow_manager": Depth(2, 1), "workflow_manager.dead": Depth(6, 0)}
    ask(lambda names, seconds: {name: depths.get(name) for name in names})
    client = browser_of("olivia")

    answer = client.get("/queues/")

    html = sound(answer)
    assert {queue.name: (queue.depth, queue.consumers) for queue, _ in answer.context["rows"]} == {
        "pay/now": (70, 4),
        "workflow_manager": (2, 1),
        "workflow_manager.dead": (6, 0),
    }
    assert "Dead letters" in html
    assert "what services report" in html
    assert "70" in sound(client.get("/queues/pay/now/"))
    for name in ("workflow_manager", "workflow_manager.dead"):
        assert "/quarantine/" in sound(client.get(f"/queues/{name}/"))


def test_a_broker_that_is_down_is_said(browser_of, fleet, sound, ask):
    def down(names, seconds):
        raise OSError("connection <refused>")

    ask(down)
    client = browser_of("adam")

    for path in ("/queues/", "/queues/pay/now/"):
        html = sound(client.get(path))
        assert "The broker does not answer." in html
        assert "connection &lt;refused&gt;" in html
    assert "only the broker knows" in sound(client.get("/queues/workflow_manager/"))


def test_it_leads_to_the_quarantine(browser_of, fleet, sound):
    quarantine.hold(b"{", source="workflow_manager", code="invalid_json", reason="?")

    html = sound(browser_of("olivia").get("/queues/"))

    assert 'href="/quarantine/?code=invalid_json"' in html
    assert "invalid_json" in sound(browser_of("olivia").get("/quarantine/?code=invalid_json"))
    assert "Nothing is held for this reason" in sound(browser_of("olivia").get("/quarantine/?code=other"))


def test_many_queues_take_pages(browser_of, begin, sound):
    begin(workflow(*(service(f"task{number:03}") for number in range(120))))
    client = browser_of("olivia")

    seen, after = [], ""
    while after is not None:
        answer = client.get(f"/queues/?after={after}")
        sound(answer)
        seen += [queue.name for queue, _ in answer.context["rows"]]
        after = answer.context["next"]

    assert seen == [f"task{number:03}_queue" for number in range(120)]
    assert [queue.name for queue, _ in client.get("/queues/?q=TASK007").context["rows"]] == ["task007_queue"]
    assert "No queue is called that" in sound(client.get("/queues/?q=nothing"))


def test_before_anything_is_published(browser_of, sound):
    assert "There is no queue yet" in sound(browser_of("olivia").get("/queues/"))


def test_a_live_part_is_no_whole_page(browser_of, fleet, sound):
    for path in ("/queues/", "/queues/pay/now/"):
        html = sound(browser_of("olivia").get(path, headers={"X-Fragment": "live"}))
        assert "<html" not in html
        assert 'data-live-topic="overview"' in html


@pytest.mark.parametrize("path", ["/queues/", "/queues/pay/now/"])
def test_it_asks_as_many_questions_for_much_as_for_little(browser_of, begin, path):
    client = browser_of("olivia")
    asked = []
    for number in (1, 30):
        for one in range(number):
            begin(TEMPLATE, f"REF-{number}-{one}")
            begin({**workflow(service(f"t{one}")), "workflow_name": f"W{number}-{one}"})
        client.get(path)  # templates are read once
        with CaptureQueriesContext(connection) as seen:
            assert client.get(path).status_code == 200
        asked.append(len(seen))

    assert asked[0] == asked[1] <= 17


def test_rates_stand_beside_the_queue(browser_of, fleet, sound):
    outbox.settle_all(timezone.now(), most=100)
    OutboxMessage.objects.update(sent_at=timezone.now() - dt.timedelta(minutes=2))

    html = sound(browser_of("olivia").get("/queues/"))

    assert '1 <span class="sub">· 0.08</span>' in html
