"""Any template, any commands in any order: the law holds after every event (see tests/law.py)."""

import datetime as dt
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import law, moves
from tests.builders import RESUME, Story, completed, failed, undone
from tests.templates import contexts
from workflows.engine import commands as c
from workflows.engine import evolve
from workflows.engine.decision import Duplicate, Rejected
from workflows.engine.lifecycle import ENDED, LIVE
from workflows.runtime.refusals import STATUS

# TEST_EXAMPLES=5000 digs deeper.
LEAST = settings(
    max_examples=int(os.environ.get("TEST_EXAMPLES", "30")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def play(data, *, least=10, most=40):
    template = data.draw(moves.busy_templates(max_stages=3, max_tasks=4))
    story = Story(template, context=data.draw(contexts), by=data.draw(st.sampled_from(["fred", "ada"])))
    anything = moves.anything(story.definition)
    for _ in range(data.draw(st.integers(least, most))):
        if story.now.state in ENDED and data.draw(st.integers(0, 4)) == 0:
            break
        before, seen = story.now, len(story.log)
        choice = data.draw(st.integers(0, 9))
        fitting = moves.fitting(story.definition, story.now)
        if choice == 0:
            story.later(data.draw(st.sampled_from([0, 0.5, 40, 4000, 90_000])))
        elif choice == 1 or not fitting:
            story.when(data.draw(anything), after=data.draw(st.sampled_from([0, 1])))
        else:
            story.when(data.draw(st.sampled_from(fitting)))
        if isinstance(story.answer, Rejected | Duplicate):
            assert story.refused == "duplicate" or story.refused in STATUS
        if before.state in ENDED and len(story.log) > seen:
            assert story.now.state == before.state or story.log[seen][1].name == "ReplayRequested"
    return story


@LEAST
@given(st.data())
def test_the_law_holds_after_every_event(data):
    play(data)


@LEAST
@given(st.data())
def test_every_prefix_of_a_history_folds_and_every_way_to_fold_gives_the_same(data):
    story = play(data, least=0, most=15)
    history = story.log

    cut = data.draw(st.integers(1, len(history)))
    prefix = evolve.fold(story.definition, history[:cut], instance_id="I")

    assert prefix.last_sequence == cut
    law.check_counts(story.definition, prefix)
    assert evolve.catch_up(story.definition, prefix, history[cut:]) == story.now
    assert evolve.fold(story.definition, history, instance_id="I") == story.now


@LEAST
@given(st.data())
def test_every_instance_can_be_brought_to_an_end(data):
    """Answer whatever is live, let every clock go off, resume, retry what failed: it ends, and in bounded time."""
    story = play(data, least=0, most=15)

    for _ in range(300):
        if story.now.state in ENDED:
            break
        story.later(4000)
        if story.state in ("SUSPENDED", "FAILED") and story.when(RESUME):
            continue
        for task, state in zip(story.definition.tasks, story.now.tasks, strict=True):
            match state.state:
                case "COMPENSATING" if state.compensation.state in LIVE:
                    story.when(undone(task.key))
                case "COMPENSATION_FAILED":
                    story.when(c.SkipTask(task.stage_name, task.task_name, reason="why"))
                case "FAILED":
                    story.when(c.CompleteTaskByHand(task.stage_name, task.task_name, reason="why"))
                case "SCHEDULED" | "STARTED" | "WAITING":
                    story.when(completed(task.key))

    assert story.now.state in ENDED, f"{story.state}: {story.states}"


@LEAST
@given(st.data())
def test_the_same_result_again_never_changes_anything(data):
    story = play(data, least=0, most=15)
    for task in story.definition.tasks:
        for command in (completed(task.key, output={"amount": 1}), failed(task.key), undone(task.key)):
            story.when(command)
            before = story.now

            story.when(command)

            assert story.now is before
            assert story.refused is not None


@LEAST
@given(st.data())
def test_a_clock_is_idempotent(data):
    story = play(data, least=0, most=15)
    story.at += dt.timedelta(seconds=data.draw(st.sampled_from([1, 4000])))
    clocks = story.clocks()
    if story.state == "SUSPENDED":
        assert story.later(0) == []
        return
    for clock in clocks:
        story.when(clock)
        before = story.now
        story.when(clock)
        assert story.now is before


@LEAST
@given(st.data())
def test_a_decision_is_the_same_whoever_makes_it(data):
    """Nothing but definition, snapshot, command, moment and world goes in."""
    story = play(data, least=0, most=15)
    command = data.draw(moves.anything(story.definition))
    from workflows.engine.decide import decide

    first = decide(story.definition, story.now, command, at=story.at, world=story.world)
    again = evolve.fold(story.definition, story.log, instance_id="I")

    assert decide(story.definition, again, command, at=story.at, world=story.world) == first
