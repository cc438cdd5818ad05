"""What is told after a commit, to whom, and in which order."""

import asyncio

import pytest

from tests.live.sockets import complete, progress, reassign, start, threaded, websocket
from workflows.engine.commands import StartWorkflow
from workflows.live import broadcasting
from workflows.live.groups import OVERLAP, number_of
from workflows.models import HumanTask, WorkflowInstance
from workflows.runtime import handling, listeners
from workflows.runtime.asking import Asked, Reference

pytestmark = [pytest.mark.asyncio, pytest.mark.both_databases]


async def test_a_page_of_an_instance_hears_which_tasks_moved(people, workflow):
    answer = await threaded(start)("A-1")
    topic = f"instance:{answer.instance.id}"
    async with websocket(people["olga"]) as socket:
        await socket.ask(topic)

        done = await threaded(complete)("A-1", "prepare")
        said = await socket.hear()

    assert said["topic"] == topic
    assert said["sequence"] == done.instance.last_sequence
    assert set(said["changed"]) == {"WORK/prepare", "WORK/review"}


async def test_a_page_of_an_instance_hears_how_far_the_work_is(people, workflow):
    answer = await threaded(start)("A-1")
    topic = f"instance:{answer.instance.id}"
    await threaded(progress)("A-1", "prepare", 10)
    async with websocket(people["olga"]) as socket:
        stands = await socket.ask(topic)

        await threaded(progress)("A-1", "prepare", 40)
        said = await socket.hear()

    assert said == {"topic": topic, "sequence": stands["sequence"], "changed": ["WORK/prepare"]}


@pytest.mark.parametrize("topic", ["instances", "overview"])
async def test_lists_hear_of_instances(people, workflow, topic):
    async with websocket(people["audra"]) as socket:
        await socket.ask(topic)

        answer = await threaded(start)("A-1")
        said = await socket.hear()

        instance = await threaded(WorkflowInstance.objects.get)(pk=answer.instance.id)
        assert said == {"topic": topic, "sequence": number_of(instance.updated_at), "changed": [str(instance.pk)]}


async def test_the_inbox_hears_of_human_tasks(people, workflow):
    await threaded(start)("A-1")
    async with websocket(people["rita"]) as rita, websocket(people["otto"]) as otto, websocket(people["bot"]) as bot:
        for socket in (rita, otto, bot):
            await socket.ask("inbox")

        await threaded(complete)("A-1", "prepare")
        said = await rita.hear()

        task = await threaded(HumanTask.objects.get)()
        assert said["changed"] == [str(task.pk)]
        assert await otto.hears_nothing()
        assert await bot.hears_nothing()


async def test_work_that_is_given_to_others_leaves_one_inbox_and_enters_the_other(people, workflow):
    await threaded(start)("A-1")
    await threaded(complete)("A-1", "prepare")
    async with websocket(people["rita"]) as rita, websocket(people["otto"]) as otto:
        await rita.ask("inbox")
        await otto.ask("inbox")

        await threaded(reassign)("A-1", "others")

        task = await threaded(HumanTask.objects.get)()
        assert (await rita.hear())["changed"] == [str(task.pk)]
        assert (await otto.hear())["changed"] == [str(task.pk)]


@pytest.mark.parametrize("topic", ["instances", "overview"])
async def test_assignees_hear_of_their_instances_only(people, workflow, topic):
    theirs = await threaded(start)("A-1")
    await threaded(complete)("A-1", "prepare")
    async with websocket(people["rita"]) as rita, websocket(people["otto"]) as otto:
        await rita.ask(topic)
        await otto.ask(topic)

        await threaded(start)("A-2")  # Nobody's so far.
        await threaded(reassign)("A-1", "rita")
        said = await rita.hear_about(str(theirs.instance.id), topic=topic)

        assert said["changed"] == [str(theirs.instance.id)]
        assert await otto.hears_nothing()


async def test_an_instance_that_is_taken_from_somebody_is_told_no_more(people, workflow):
    answer = await threaded(start)("A-1")
    await threaded(complete)("A-1", "prepare")
    topic = f"instance:{answer.instance.id}"
    async with websocket(people["rita"]) as rita:
        assert (await rita.ask(topic))["sequence"]

        await threaded(reassign)("A-1", "others")

        assert (await rita.hear())["error"] == "not_found"
        await threaded(reassign)("A-1", "olga")
        assert await rita.hears_nothing()


async def test_unsubscribed_is_silent(people, workflow):
    async with websocket(people["olga"]) as socket:
        await socket.ask("instances")
        await socket.say({"action": "unsubscribe", "topic": "instances"})
        await socket.ask("overview")

        await threaded(start)("A-1")

        assert (await socket.hear())["topic"] == "overview"
        assert await socket.hears_nothing()


async def test_what_is_rolled_back_is_never_told(people, workflow, monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    def start_in_vain() -> None:
        with monkeypatch.context() as broken:
            broken.setattr(handling.Recorder, "write", fail)
            with pytest.raises(ZeroDivisionError):
                start("A-1")

    async with websocket(people["olga"]) as socket:
        await socket.ask("instances")

        await threaded(start_in_vain)()
        answer = await threaded(start)("A-2")
        said = await socket.hear()

        assert said["changed"] == [str(answer.instance.id)]


async def test_numbers_never_fall_and_nothing_is_left_out(people, workflow):
    async with websocket(people["olga"]) as socket:
        await socket.ask("instances")

        answers = await asyncio.gather(*(threaded(start)(f"A-{number}") for number in range(30)))
        missing = {str(answer.instance.id) for answer in answers}
        sequences = []
        while missing:
            said = await socket.hear()
            sequences.append(said["sequence"])
            missing -= set(said["changed"])

        assert sequences == sorted(sequences)


async def test_who_comes_back_is_told_what_to_fetch(people, workflow):
    first = await threaded(start)("A-1")
    topic = f"instance:{first.instance.id}"
    async with websocket(people["olga"]) as socket:
        seen = (await socket.ask("instances"))["sequence"]
        position = (await socket.ask(topic))["sequence"]
    await threaded(complete)("A-1", "prepare")
    second = await threaded(start)("A-2")

    async with websocket(people["olga"]) as socket:
        lists = await socket.ask("instances", since=seen)
        instance = await socket.ask(topic, since=position)
        inbox = await socket.ask("inbox", since=seen)
        again = await socket.ask("instances", since=lists["sequence"])
        task = await threaded(HumanTask.objects.get)()

    assert set(lists["changed"]) == {str(first.instance.id), str(second.instance.id)}
    assert instance["sequence"] > position
    assert set(instance["changed"]) == {"WORK/prepare", "WORK/review"}
    assert inbox["changed"] == [str(task.pk)]
    assert again["changed"] == []


@pytest.mark.parametrize("since", [1, 10**18, 2**63 - 1])
async def test_a_number_from_elsewhere_means_fetch_everything(people, workflow, since):
    answer = await threaded(start)("A-1")
    async with websocket(people["olga"]) as socket:
        assert (await socket.ask("instances", since=since))["changed"] == ["*"]
        if since > 1:
            assert (await socket.ask(f"instance:{answer.instance.id}", since=since))["changed"] == ["*"]


async def test_too_many_to_name_means_fetch_everything(people, workflow):
    async with websocket(people["olga"]) as socket:
        seen = number_of((await threaded(started)("B-0")).updated_at)

        def start_many() -> None:
            for number in range(205):
                start(f"A-{number}")

        await threaded(start_many)()

        assert (await socket.ask("instances", since=seen + int(OVERLAP.total_seconds() * 1e6)))["changed"] == ["*"]


def started(reference: str) -> WorkflowInstance:
    return WorkflowInstance.objects.get(pk=start(reference).instance.id)


async def test_what_another_process_commits_is_noticed_nevertheless(people, workflow, monkeypatch):
    answer = await threaded(start)("A-1")
    topic = f"instance:{answer.instance.id}"
    async with websocket(people["olga"]) as socket:
        await socket.ask("instances")
        await socket.ask(topic)
        await socket.ask("inbox")

        # As if it happened elsewhere, and no channel layer carried the hint here.
        monkeypatch.setattr(listeners, "_listeners", [])
        done = await threaded(complete)("A-1", "prepare")
        frames = [await socket.hear() for _ in range(3)]

        said = {frame["topic"]: frame for frame in frames}
        assert said["instances"]["changed"] == [str(answer.instance.id)]
        assert said[topic] == {"topic": topic, "sequence": done.instance.last_sequence, "changed": ["*"]}
        assert said["inbox"]["changed"] == ["*"]


async def test_a_commit_is_one_message_however_much_it_has_changed(people, workflow, monkeypatch):
    sent = []

    class Counting:
        async def group_send(self, group: str, message: dict) -> None:
            sent.append(message)

    def start_many() -> set[str]:
        references = [f"A-{number}" for number in range(40)]
        answers = handling.handle(
            *(
                Asked(command=StartWorkflow(one), target=Reference("LIVE", one, "Review"), actor="bot")
                for one in references
            )
        )
        return {str(answer.instance.id) for answer in answers}

    async with websocket(people["olga"]) as socket:
        await socket.ask("instances")
        monkeypatch.setattr(broadcasting, "get_channel_layer", Counting)

        ids = await threaded(start_many)()
        # Told by looking: nothing was passed on.
        await socket.hear_about(*ids, topic="instances", seconds=20)

    assert len(sent) == 1
    assert {change[0] for change in sent[0]["changes"]} == ids


async def test_a_channel_layer_that_does_not_answer_makes_it_late_not_lost(people, workflow, monkeypatch):
    class Down:
        async def group_send(self, group: str, message: object) -> None:
            raise ConnectionError("gone")

    async with websocket(people["olga"]) as socket:
        await socket.ask("instances")
        monkeypatch.setattr(broadcasting, "get_channel_layer", Down)

        answer = await threaded(start)("A-1")

        assert (await socket.hear())["changed"] == [str(answer.instance.id)]
