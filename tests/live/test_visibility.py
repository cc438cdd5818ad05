"""Who is told of which instance: the same people that may see it, asked for in as few questions as possible."""

import asyncio
import datetime as dt

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.live.sockets import complete, reassign, start, threaded, websocket
from workflows.engine.commands import ClaimTask, DecideTask
from workflows.live import hub as hubs
from workflows.live import standing, visibility
from workflows.models import WorkflowInstance, person_of
from workflows.runtime import listeners, moments
from workflows.runtime.asking import Asked, Reference
from workflows.runtime.handling import handle


def act(command, reference):
    (answer,) = handle(Asked(command=command, target=Reference("LIVE", reference), actor="rita"))
    assert answer.applied, answer


@pytest.mark.both_databases
def test_viewers_are_those_who_may_see_it(people, workflow):
    for number in range(5):
        start(f"A-{number}")
    for number in range(1, 5):
        complete(f"A-{number}", "prepare")
    reassign("A-2", "others")
    reassign("A-3", "otto")
    act(ClaimTask("WORK", "review", by="rita", groups=frozenset({"reviewers"})), "A-4")
    act(
        DecideTask(
            "WORK", "review", by="rita", groups=frozenset({"reviewers"}), outcome="complete", data={}, comment=""
        ),
        "A-4",
    )
    ids = list(WorkflowInstance.objects.values_list("pk", flat=True))

    with CaptureQueriesContext(connection) as asked:
        viewers = standing.viewers_of(ids)

    assert len(asked) == 1
    for username in ("rita", "otto"):
        person = person_of(get_user_model().objects.get(username=username))
        seen = set(WorkflowInstance.objects.visible_to(person).values_list("pk", flat=True))
        assert {pk for pk, those in viewers.items() if those.include(person)} == seen
        assert seen


@pytest.mark.asyncio
async def test_the_number_of_questions_follows_neither_clients_nor_commits(people, workflow, monkeypatch):
    questions = []
    asked_for = standing.viewers_of

    def counted(ids):
        questions.append(list(ids))
        return asked_for(ids)

    monkeypatch.setattr(standing, "viewers_of", counted)
    await threaded(start)("A-1")
    async with websocket(people["rita"]) as one, websocket(people["rita"]) as two, websocket(people["otto"]) as otto:
        for socket in (one, two, otto):
            await socket.ask("instances")
            await socket.ask("overview")

        answer = await threaded(complete)("A-1", "prepare")
        for socket in (one, two):
            await socket.hear_about(str(answer.instance.id), topic="instances")
            await socket.hear_about(str(answer.instance.id), topic="overview")

        assert await otto.hears_nothing()
        assert questions == [[answer.instance.id]]


@pytest.mark.asyncio
async def test_a_question_that_fails_is_asked_again(people, workflow, monkeypatch):
    failing = [ConnectionError("gone"), ConnectionError("gone")]
    asked_for = standing.viewers_of

    def broken(ids):
        if failing:
            raise failing.pop()
        return asked_for(ids)

    monkeypatch.setattr(standing, "viewers_of", broken)
    monkeypatch.setattr(visibility, "AGAIN_SECONDS", 0.05)
    await threaded(start)("A-1")
    async with websocket(people["rita"]) as rita:
        await rita.ask("instances")

        answer = await threaded(complete)("A-1", "prepare")

        assert (await rita.hear())["changed"] == [str(answer.instance.id)]
    assert failing == []


@pytest.mark.asyncio
async def test_much_that_was_missed_is_told_as_everything(people, workflow, monkeypatch):
    monkeypatch.setattr(hubs, "MOST_MISSED", 3)
    first = await threaded(start)("A-0")
    topic = f"instance:{first.instance.id}"
    async with websocket(people["olga"]) as socket:
        await socket.ask("instances")
        await socket.ask(topic)
        monkeypatch.setattr(listeners, "_listeners", [])

        def many():
            for number in range(1, 8):
                start(f"A-{number}")
            return complete("A-0", "prepare")

        done = await threaded(many)()
        said = {}
        async with asyncio.timeout(20):
            while set(said) != {"instances", topic} or said[topic]["sequence"] < done.instance.last_sequence:
                frame = await socket.hear(20)
                said[frame["topic"]] = frame

    assert said[topic] == {"topic": topic, "sequence": done.instance.last_sequence, "changed": ["*"]}


@pytest.mark.asyncio
async def test_what_is_seen_long_after_its_moment_is_told(people, workflow, monkeypatch):
    """A worker that was held up commits late; its rows bear the moment at which it began."""
    monkeypatch.setattr(hubs, "FAR_SECONDS", 0.3)
    async with websocket(people["olga"]) as socket:
        await socket.ask("instances")
        newer = await threaded(start)("A-1")
        await socket.hear_about(str(newer.instance.id), topic="instances")
        monkeypatch.setattr(listeners, "_listeners", [])

        def commit_late():
            with monkeypatch.context() as earlier:
                moment = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=30)
                earlier.setattr(moments, "now", lambda: moment)
                return start("A-2")

        late = await threaded(commit_late)()
        row = await threaded(WorkflowInstance.objects.get)(pk=late.instance.id)
        assert row.updated_at < dt.datetime.now(dt.UTC) - dt.timedelta(seconds=20)

        await socket.hear_about(str(late.instance.id), topic="instances")


@pytest.mark.asyncio
async def test_a_look_sees_what_stands_behind_much_that_was_told(people, workflow, monkeypatch):
    monkeypatch.setattr(hubs, "PAGE", 2)
    monkeypatch.setattr(hubs, "MOST_MISSED", 2)
    async with websocket(people["olga"]) as socket:
        await socket.ask("instances")
        told = [str((await threaded(start)(f"A-{number}")).instance.id) for number in range(8)]
        await socket.hear_about(*told, topic="instances")
        monkeypatch.setattr(listeners, "_listeners", [])

        missed = await threaded(start)("A-9")

        await socket.hear_about(str(missed.instance.id), topic="instances")
