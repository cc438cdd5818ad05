"""Two at once on PostgreSQL: one is held at each place on its way, while the other does all that it can.

No luck is involved: the first is stopped at its n-th failpoint, the second runs until it is done or waits for a lock,
then the first goes on; for every n. As a program (TEST_DATABASE_URL names an empty database, else one is made):

    python -m tests.faults.duels [--duel NAME …] [--broker amqp://…]
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import logging
import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
_PATIENCE = 30.0


@dataclass
class Outcome:
    """What one of the two got: an answer, or an exception that nobody wants to see."""

    answer: Any = None
    error: BaseException | None = None

    @property
    def applied(self) -> bool:
        """Tell whether it took effect."""
        return self.error is None and str(getattr(self.answer, "outcome", "")) == "applied"


@dataclass(frozen=True)
class Duel:
    """Two that meet: `before` prepares an instance, `first` and `second` are asked, `judge` tells what is wrong."""

    name: str
    template: Mapping[str, Any]
    first: Callable[[Match], Any]
    second: Callable[[Match], Any]
    judge: Callable[[Match, Outcome, Outcome], Iterator[str]]
    before: Callable[[Match], None] = lambda match: None


@dataclass
class Match:
    """One meeting: an instance of its own."""

    duel: Duel
    reference: str
    sent: list[str] = field(default_factory=list)
    seen: int = 0
    number: int = 0
    queue: str = "shared"

    @property
    def component(self) -> str:
        """Give the component of the duel's template."""
        return f"DUEL-{self.duel.name}"

    def ask(self, command: Any, *, at: dt.datetime = NOON, actor: str = "olivia", **more: Any) -> Any:
        """Ask one thing of the instance."""
        from workflows.runtime.asking import Asked, Reference
        from workflows.runtime.handling import handle

        return handle(Asked(command, Reference(self.component, self.reference), actor, **more), at=at)[0]

    def instance(self) -> Any:
        """Look the instance up."""
        from workflows.models import WorkflowInstance

        return WorkflowInstance.objects.get(component_name=self.component, business_ref_no=self.reference)

    def state(self, task: str) -> str:
        """Tell where a task is."""
        from workflows.models import TaskInstance

        return str(TaskInstance.objects.get(instance=self.instance(), task_name=task).state)


# --- the two --------------------------------------------------------------------------------------


class _Heard(logging.Handler):
    """Keeps what was printed with a traceback: something that nobody had thought of."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            self.said.append(f"{record.getMessage()}: {type(error).__name__}: {error}")


_heard = _Heard()


class _Held:
    """Stops the thread named `first` at its n-th failpoint until it is let go."""

    def __init__(self, at: int | None) -> None:
        self.at, self.seen = at, 0
        self.there, self.go_on = threading.Event(), threading.Event()

    def __call__(self, point: str) -> None:
        if threading.current_thread().name != "first":
            return
        self.seen += 1
        if self.seen == self.at:
            self.there.set()
            self.go_on.wait(_PATIENCE)


def meet(match: Match, at: int | None) -> tuple[Outcome, Outcome, int]:
    """Let the two meet, the first held at its n-th place (None: not at all); it gives the number of its places, too."""
    from workflows import failpoints

    held = _Held(at)
    failpoints.ACTIVE = held
    one, other = Outcome(), Outcome()
    first = threading.Thread(target=_do, args=(match, match.duel.first, one), name="first", daemon=True)
    second = threading.Thread(target=_do, args=(match, match.duel.second, other), name="second", daemon=True)
    try:
        first.start()
        _until(lambda: held.there.is_set() or not first.is_alive())
        second.start()
        _until(lambda: not second.is_alive() or (first.is_alive() and _waits_for_a_lock()))
        held.go_on.set()
        first.join(_PATIENCE)
        second.join(_PATIENCE)
    finally:
        failpoints.ACTIVE = None
        held.go_on.set()
    return one, other, held.seen


def _do(match: Match, act: Callable[[Match], Any], outcome: Outcome) -> None:
    from django.db import connections

    try:
        outcome.answer = act(match)
    except BaseException as error:
        outcome.error = error
    finally:
        connections.close_all()


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not holds() and time.monotonic() < end:
        time.sleep(0.002)


def _waits_for_a_lock() -> bool:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])


# --- the duels ------------------------------------------------------------------------------------


def _answers(one: Outcome, other: Outcome) -> Iterator[str]:
    yield from _heard.said
    _heard.said.clear()
    for who, outcome in (("the first", one), ("the second", other)):
        if outcome.error is not None:
            yield f"{who} met {type(outcome.error).__name__}: {outcome.error}"


def _one_wins(match: Match, one: Outcome, other: Outcome) -> Iterator[str]:
    yield from _answers(one, other)
    if one.applied == other.applied:
        yield f"first: {one.answer}, second: {other.answer}"


def _both_count(match: Match, one: Outcome, other: Outcome) -> Iterator[str]:
    yield from _answers(one, other)
    if not (one.applied and other.applied):
        yield f"first: {one.answer}, second: {other.answer}"


def _joined(match: Match, one: Outcome, other: Outcome) -> Iterator[str]:
    yield from _both_count(match, one, other)
    if match.state("c") != "SCHEDULED":
        yield f"c is {match.state('c')}"


def _only_values(match: Match, one: Outcome, other: Outcome) -> Iterator[str]:
    yield from _answers(one, other)


def _either_of(match: Match, one: Outcome, other: Outcome) -> Iterator[str]:
    yield from _answers(one, other)
    from workflows.models import LoggedEvent

    results = LoggedEvent.objects.filter(instance=match.instance(), event__in=["TaskCompleted", "TaskFailed"])
    if results.count() != 1:
        yield f"{results.count()} results of one attempt"


def _sent_once(match: Match, one: Outcome, other: Outcome) -> Iterator[str]:
    yield from _answers(one, other)
    if len(match.sent) != len(set(match.sent)):
        yield "a message went out twice although nobody died"


def _all_sent(match: Match, one: Outcome, other: Outcome) -> Iterator[str]:
    from workflows.models import OutboxMessage

    _relay(match)
    yield from _sent_once(match, one, other)
    mine = OutboxMessage.objects.filter(instance__component_name=match.component)
    left = [str(row.message_id) for row in mine if str(row.message_id) not in match.sent]
    # Of this match: what others have sent before is in their lists.
    left = [key for key in left if mine.get(message_id=key).instance.business_ref_no.startswith(match.reference)]
    if left:
        yield f"{len(left)} messages were never sent"


def _decide(by: str) -> Callable[[Match], Any]:
    from workflows.engine.commands import DecideTask

    command = DecideTask(stage_name="S", task_name="check", attempt=1, by=by, groups=frozenset({"finance"}))
    return lambda match: match.ask(command, actor=by)


def _on(command: str, task: str = "", **more: Any) -> Callable[[Match], Any]:
    from workflows.engine import commands

    about = {"stage_name": "S", "task_name": task} if task else {}
    made = getattr(commands, command)(**about, **more)
    return lambda match: match.ask(made)


def _start(match: Match, suffix: str = "") -> Any:
    from workflows.engine.commands import StartWorkflow
    from workflows.runtime.asking import Asked, Reference
    from workflows.runtime.handling import handle

    reference = match.reference + suffix
    return handle(Asked(StartWorkflow(reference), Reference(match.component, reference), "olivia"), at=NOON)[0]


def _fire(match: Match) -> Any:
    from workflows.runtime import deadlines

    return deadlines.fire_due(NOON + dt.timedelta(seconds=61))


def _relay(match: Match) -> Any:
    from workflows.messaging.relay import relay_once

    class Bus:
        name, has_everything = "list", False

        def publish(self, messages: Sequence[Any]) -> list[str | None]:
            match.sent.extend(message.message_id for message in messages)
            return [None] * len(messages)

        def __getattr__(self, name: str) -> Any:
            return lambda *given, **more: None

    return relay_once(Bus(), NOON)  # type: ignore[arg-type]


def _start_in_a_long_transaction(match: Match) -> Any:
    from django.db import transaction

    from workflows import failpoints

    with transaction.atomic():
        answer = _start(match, "-long")
        failpoints.hit("before_commit")  # its rows have their ids, and nobody sees them
    return answer


def _start_and_relay(match: Match) -> Any:
    answer = _start(match, "-short")
    _relay(match)
    return answer


def _publish(match: Match) -> Any:
    from workflows.runtime.publishing import publish_template

    edited = {**match.duel.template, "component_name": match.component, "timeout_seconds": 1000 + match.number}
    return publish_template(edited, by="olivia", at=NOON)


def _lease(match: Match) -> Any:
    from workflows.runtime import leasing

    return leasing.lease(match.queue, worker_id="w", max_tasks=5, lease_seconds=60, actor="olivia", at=NOON)


def _leased_once(match: Match, one: Outcome, other: Outcome) -> Iterator[str]:
    yield from _answers(one, other)
    held = [task["task_name"] for outcome in (one, other) for task in outcome.answer or ()]
    if sorted(held) != sorted(set(held)):
        yield f"leased to both: {held}"


def _stale(match: Match) -> Any:
    from workflows.engine.commands import SuspendWorkflow

    return match.ask(SuspendWorkflow(), if_match=match.seen)


def _see(match: Match) -> None:
    _start(match)
    match.seen = match.instance().last_sequence


def _duels() -> Sequence[Duel]:
    from tests.builders import human, service, undo, workflow

    def begun(match: Match) -> None:
        _start(match)

    check = workflow(human("check", timeout_seconds=60))
    pair = workflow(service("a"), service("b"), service("c", "a", "b"))
    leased = workflow(service("a", task_queue="shared"), service("b", task_queue="shared"))

    def begun_and_done(match: Match) -> None:
        _start(match)
        _on("CompleteTask", "a")(match)

    undone = workflow(service("a", **undo()), service("b"))
    return (
        Duel("approve-approve", check, _decide("fred"), _decide("fiona"), _one_wins, begun),
        Duel("approve-deadline", check, _decide("fred"), _fire, _either_of, begun),
        Duel("deadline-approve", check, _fire, _decide("fred"), _either_of, begun),
        Duel("reassign-approve", check, _on("ReassignTask", "check", by="olivia", operator=True, assigned_to="fiona",
             reason="why"), _decide("fred"), _only_values, begun),
        Duel("join", pair, _on("CompleteTask", "a"), _on("CompleteTask", "b"), _joined, begun),
        Duel("complete-cancel", pair, _on("CompleteTask", "a"), _on("CancelWorkflow", reason="why"), _only_values,
             begun),
        Duel("complete-rollback", undone, _on("CompleteTask", "a"), _on("RollBackWorkflow", reason="why"),
             _only_values, begun),
        Duel("rollback-complete", undone, _on("RollBackWorkflow", reason="why"), _on("CompleteTask", "a"),
             _only_values, begun),
        Duel("start-start", pair, _start, _start, _only_values),
        Duel("relay-relay", pair, _relay, _relay, _sent_once, begun),
        Duel("gap", pair, _start_in_a_long_transaction, _start_and_relay, _all_sent),
        Duel("stale-version", pair, _on("CompleteTask", "a"), _stale, _version_counts, _see),
        Duel("start-publish", pair, _start, _publish, _only_values),
        Duel("replay-complete", pair, _on("ReplayTask", "a", reason="why"), _on("CompleteTask", "b"), _only_values,
             begun_and_done),
        Duel("suspend-complete", pair, _on("SuspendWorkflow"), _on("CompleteTask", "a"), _both_count, begun),
        Duel("lease-lease", leased, _lease, _lease, _leased_once, begun),
        Duel("lease-complete", leased, _lease, _on("CompleteTask", "a"), _only_values, begun),
        Duel("rollback-rollback", undone, _on("RollBackWorkflow", reason="why"),
             _on("RollBackWorkflow", reason="why"), _one_wins, begun),
        Duel("fire-fire", check, _fire, _fire, _either_of, begun),
    )  # fmt: skip


def _version_counts(match: Match, one: Outcome, other: Outcome) -> Iterator[str]:
    """Whoever comes second has seen another version than there is; the first may come second."""
    yield from _answers(one, other)
    from workflows.models import LoggedEvent

    events = list(LoggedEvent.objects.filter(instance=match.instance()).order_by("sequence").values_list("event"))
    if ("WorkflowSuspended",) in events and events.index(("TaskCompleted",)) < events.index(("WorkflowSuspended",)):
        yield "it was suspended by somebody who had not seen the completion"


# --- running them ---------------------------------------------------------------------------------


def run(names: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Fight the duels, and give how many meetings there were, and what was wrong."""
    from tests.faults import checker, facts
    from workflows.models import OutboxMessage
    from workflows.runtime.publishing import publish_template

    meetings, problems = 0, []
    for duel in _duels():
        if names and duel.name not in names:
            continue
        publish_template({**duel.template, "component_name": f"DUEL-{duel.name}"}, by="olivia", at=NOON)
        places, at = 1, 0
        while at <= places:
            match = Match(duel, f"M-{at}-{uuid.uuid4().hex[:6]}", number=at)
            duel.before(match)
            one, other, seen = meet(match, at or None)
            # Unheld, it tells how many places there are.
            places, at, meetings = max(places, seen) if at == 0 else places, at + 1, meetings + 1
            problems += [f"{duel.name} at {at - 1}: {text}" for text in duel.judge(match, one, other)]
        # What one duel leaves in the outbox is no part of the next.
        OutboxMessage.objects.exclude(state="SENT").update(state="SENT", sent_at=NOON)
    evidence = checker.Evidence(facts=facts.read(os.environ["TEST_DATABASE_URL"]), calm=False)
    problems += [str(violation) for violation in checker.check(evidence)]
    return meetings, problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Fight from the command line; the exit code is 1 when something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duel", action="append", default=[])
    parser.add_argument("--broker", help="the address of a RabbitMQ, for the duel late-confirm")
    given = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        if "TEST_DATABASE_URL" not in os.environ:
            from tests.faults.planted.hunt import database, run_of_tests

            stack.enter_context(run_of_tests())
            os.environ["TEST_DATABASE_URL"] = stack.enter_context(database())
        _set_up(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        meetings, problems = 0, list[str]()
        if given.duel != ["late-confirm"]:
            _prepare()
            meetings, problems = run(given.duel)
        if given.broker and (not given.duel or "late-confirm" in given.duel):
            from tests.faults.late_confirm import late_confirm

            meetings, problems = meetings + 1, problems + late_confirm(given.broker)
    for problem in problems:
        print(problem)
    print(f"{meetings} meetings, {len(problems)} problems")
    return 1 if problems else 0


def _set_up(folder: Path) -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "orchestrator_site.settings_test"
    os.environ.setdefault("TEST_DATA_DIR", str(folder))
    django.setup()
    logging.getLogger().handlers[:] = [_heard]
    from tests.faults.planted import plant_from_environment

    plant_from_environment()


def _prepare() -> None:
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    group = Group.objects.get_or_create(name="finance")[0]
    for name in ("olivia", "fred", "fiona"):
        user, new = User.objects.get_or_create(username=name)
        if new and name != "olivia":
            user.groups.add(group)


if __name__ == "__main__":
    sys.exit(main())
