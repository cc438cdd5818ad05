"""A second, small model of activities beside the engine: who is at work is worked out from who has answered what.

It knows no events, counters or positions. Of each plugin it knows the answers so far; from these alone follow the phase,
who is offered work, whether the stage is over. A mandatory plugin halts, an optional one never does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders as b
from workflows.engine.commands import Command
from workflows.engine.plugins import ExcludedPlugin, ExpectedPlugin

PHASES = ("pre", "parallel", "post")


class Who(NamedTuple):
    """A plugin of the model: its filter policy may keep it out, and its task may have a retry."""

    name: str
    optional: bool
    kept_out: bool
    attempts: int

    def planted(self) -> ExpectedPlugin | ExcludedPlugin:
        """Make it known to the world of a story."""
        if self.kept_out:
            return b.excluded(self.name, optional=self.optional)
        return b.plugin(b.service(self.name, **b.retry(self.attempts)), optional=self.optional)


Site = Mapping[str, Sequence[Who]]
Answers = dict[str, list[str]]
"""Of each plugin: `done`, `failed`, `skipped`, in the order in which they came."""


def is_over(who: Who, answers: Answers) -> bool:
    said = answers.get(who.name, [])
    return "done" in said or "skipped" in said or (who.optional and is_spent(who, answers))


def is_spent(who: Who, answers: Answers) -> bool:
    """Whether no attempt is left: an operator's retry begins a new round."""
    said = answers.get(who.name, [])
    round_of = said[len(said) - said[::-1].index("again") :] if "again" in said else said
    return round_of.count("failed") >= who.attempts


def at_work(site: Site, answers: Answers) -> tuple[str | None, set[str], set[str]]:
    """The phase that is under way, who is offered work in it, and who holds it up."""
    for phase in PHASES:
        taking = [who for who in site[phase] if not who.kept_out]
        left = [who for who in taking if not is_over(who, answers)]
        if not left:
            continue
        if phase != "parallel":
            left = left[:1]
        stuck = {who.name for who in left if is_spent(who, answers)}
        return phase, {who.name for who in left} - stuck, stuck
    return None, set(), set()


@st.composite
def sites(draw: st.DrawFn) -> Site:
    numbers = iter(range(100))
    who = st.builds(
        lambda optional, kept_out, attempts: Who(f"p{next(numbers)}", optional, kept_out, attempts),
        st.booleans(), st.sampled_from([False, False, False, True]), st.integers(1, 2),
    )  # fmt: skip
    return {phase: draw(st.lists(who, max_size=3)) for phase in PHASES}


def command(name: str, said: str) -> Command:
    task = f"PROCESS/{name}"
    make = {"done": b.completed, "failed": b.failed, "skipped": b.operator_skips, "again": b.operator_retries}
    return make[said](task)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_an_activity_is_where_the_answers_of_its_plugins_say(data: st.DataObject) -> None:
    site = data.draw(sites())
    template = b.workflow(b.activity(), b.stage("LAST", b.service("out")))
    answers: Answers = {}
    story = b.Story(template, plugins={phase: [who.planted() for who in site[phase]] for phase in PHASES})

    for _ in range(30):
        phase, offered, stuck = at_work(site, answers)
        live = {name for name, state in story.states.items() if state == "SCHEDULED" and name != "out"}
        assert live == offered
        assert story.state == ("FAILED" if stuck else "RUNNING")
        begun = PHASES if phase is None else PHASES[: PHASES.index(phase) + 1]
        assert [event.data["phase"] for _, event in story.log if event.name == "PhaseStarted"] == list(begun)
        assert (story.states["out"] == "SCHEDULED") == (phase is None)
        kept_out = [
            (one.phase, who.name) for one in story.definition.stages[0].phases for who in one.excluded
        ]  # fmt: skip
        assert sorted(kept_out) == sorted((one, who.name) for one in begun for who in site[one] if who.kept_out)
        if phase is None:
            break
        name = data.draw(st.sampled_from(sorted(offered | stuck)))
        said = data.draw(st.sampled_from(["skipped", "again"] if name in stuck else ["done", "done", "failed"]))
        if data.draw(st.integers(0, 4)) == 0:
            # While it is suspended only the task itself moves; what follows follows when it is resumed.
            if name not in stuck:
                story.when(b.SUSPEND)
                story.when(command(name, said))
                assert story.refused is None
                story.when(b.RESUME)
                answers.setdefault(name, []).append(said)
            continue
        story.when(command(name, said))
        assert story.refused is None
        answers.setdefault(name, []).append(said)
