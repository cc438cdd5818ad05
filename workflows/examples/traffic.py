"""Example traffic: starts instances, has simulated people do a share of their tasks, and clears up what has failed."""

from __future__ import annotations

import datetime as dt
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workflows.engine.commands import CancelWorkflow, RetryTask, SendSignal, StartWorkflow
from workflows.engine.lifecycle import ENDED, InstanceState, TaskState
from workflows.examples import flows, nodes, people
from workflows.examples.people import COLLEAGUES, Colleague
from workflows.examples.templates import FLOWS, NAMES, template
from workflows.models import HumanTask, Person, TaskInstance, WorkflowInstance
from workflows.runtime.asking import Asked, Outcome, Reference
from workflows.runtime.handling import handle
from workflows.runtime.workers import Worker

logger = logging.getLogger(__name__)

STARTER = "service-bot"
OPERATOR = "oscar"

MOST_OPEN = 40
LEFT_FOR_VISITORS = 3
"""How many open human tasks of each group, the oldest, simulated people leave to visitors."""
LEFT_FAILED = 3
STEP_SECONDS = 2.0

# Up to how many instances, and how many seconds then pass between two starts: lively at first, a few thousand at most.
_PACE = ((400, 4.0), (1_000, 15.0), (2_000, 60.0), (4_000, 600.0))

_NAMES = ("Adele", "Bastian", "Chiara", "Daan", "Esra", "Filip", "Greta", "Hugo", "Ilse", "Jonas", "Katya", "Luca")
_SURNAMES = ("Albrecht", "Bianchi", "Costa", "Dekker", "Eriksen", "Fischer", "Garcia", "Horvath", "Ivanova", "Jansen")
_STREETS = ("Elm Street", "Harbour Road", "Mill Lane", "Station Road", "Castle Hill", "Market Square")
_FIRMS = ("Alpine Optics", "Bluebird Foods", "Cobalt Tools", "Delta Textiles", "Everglade Paper", "Fjord Seafood")

Context = dict[str, Any]


def _person(rng: random.Random) -> str:
    return f"{rng.choice(_NAMES)} {rng.choice(_SURNAMES)}"


def _mail(name: str) -> str:
    return name.lower().replace(" ", ".") + "@example.com"


def _pizza(rng: random.Random, today: dt.date) -> Context:
    context: Context = {
        "customer": _person(rng),
        "address": f"{rng.randrange(1, 90)} {rng.choice(_STREETS)}",
        "pizza": rng.choice(["Margherita", "Marinara", "Diavola", "Quattro Stagioni", "Capricciosa"]),
        "quantity": rng.choice([1, 1, 2, 2, 3, 6]),
    }
    if rng.random() < 0.2:
        context["note"] = rng.choice(["No onions, please.", "Ring twice.", "Extra basil."])
    return context


def _seller_loan(rng: random.Random, today: dt.date) -> Context:
    name = _person(rng)
    return {
        "seller": name,
        "marketplace": rng.choice(["Amber Bazaar", "Northgate Market", "Seaside Shops"]),
        "amount": rng.choice([5_000, 12_000, 20_000, 35_000, 60_000, 120_000, 240_000]),
        "term_months": rng.choice([6, 12, 18, 24, 36]),
        "purpose": rng.choice(["Stock for the season", "A second warehouse", "New packaging line"]),
        "email": _mail(name),
    }


def _invoice_financing(rng: random.Random, today: dt.date) -> Context:
    supplier, buyer = rng.sample(_FIRMS, 2)
    return {
        "supplier": supplier,
        "buyer": buyer,
        "invoice_no": f"{today:%Y}-{rng.randrange(100, 9999):04}",
        "amount": round(rng.choice([2_400, 7_800, 15_500, 42_000, 96_000]) * rng.uniform(0.9, 1.1), 2),
        "due_on": (today + dt.timedelta(days=rng.choice([30, 45, 60]))).isoformat(),
    }


def _order_fulfilment(rng: random.Random, today: dt.date) -> Context:
    name = _person(rng)
    article, price = rng.choice(
        [("Desk lamp", 49.0), ("Headphones", 129.0), ("Rain jacket", 99.5), ("Tea set", 64.9), ("Trail shoes", 139.0)]
    )
    quantity = rng.choice([1, 1, 1, 2, 3])
    return {
        "customer": name,
        "email": _mail(name),
        "article": article,
        "quantity": quantity,
        "total": round(price * quantity, 2),
        "country": rng.choice(["AT", "DE", "ES", "FR", "IT", "NL"]),
        "gift": rng.random() < 0.25,
    }


def _expense_approval(rng: random.Random, today: dt.date) -> Context:
    return {
        "employee": _person(rng),
        "purpose": rng.choice(["Trade fair in Lyon", "Visit to a customer", "Conference in Vienna", "Team workshop"]),
        "estimate": rng.choice([120, 260, 480, 900, 1_650]),
        "cost_centre": rng.choice(["Sales", "Engineering", "Operations", "Marketing"]),
    }


def _employee_onboarding(rng: random.Random, today: dt.date) -> Context:
    return {
        "name": _person(rng),
        "role": rng.choice(["Engineer", "Designer", "Account manager", "Analyst", "Support agent"]),
        "team": rng.choice(["North", "South", "Platform", "Care"]),
        "first_day": (today + dt.timedelta(days=rng.randrange(7, 40))).isoformat(),
        "remote": rng.random() < 0.4,
    }


def _claim_intake(rng: random.Random, today: dt.date) -> Context:
    return {
        "customer": _person(rng),
        "line": rng.choice(["auto", "auto", "home", "travel"]),
        "country": rng.choice(["AT", "DE", "DE", "ES", "FR", "IT", "NL"]),
        "amount": rng.choice([180, 420, 950, 1_400, 3_800, 12_500]),
        "documents": rng.randrange(1, 7),
    }


def _web_order(rng: random.Random, today: dt.date) -> Context:
    return {
        "customer": _person(rng),
        "article": rng.choice(["Desk lamp", "Headphones", "Rain jacket", "Tea set", "Trail shoes"]),
        "quantity": rng.choice([1, 1, 1, 2, 3]),
        "card": "declined" if rng.random() < 0.1 else "good",
        "country": "AQ" if rng.random() < 0.05 else rng.choice(["AT", "DE", "ES", "FR", "IT", "NL"]),
        "gift": rng.random() < 0.25,
    }


def _trip(rng: random.Random, today: dt.date) -> Context:
    return {
        "traveller": _person(rng),
        "city": rng.choice(["Lisbon", "Lyon", "Porto", "Turin", "Vienna"]),
        "nights": rng.choice([1, 2, 2, 3, 5]),
    }


STARTS: Mapping[str, tuple[str, int, Callable[[random.Random, dt.date], Context]]] = {
    # Example: the beginning of its references, how often it is started, its context.
    "pizza": ("ORDER", 6, _pizza),
    "seller_loan": ("LOAN", 4, _seller_loan),
    "invoice_financing": ("INV", 3, _invoice_financing),
    "order_fulfilment": ("SHOP", 5, _order_fulfilment),
    "expense_approval": ("EXP", 2, _expense_approval),
    "employee_onboarding": ("HIRE", 1, _employee_onboarding),
    "claim_intake": ("CLAIM", 4, _claim_intake),
    "web_order": ("WEB", 3, _web_order),
    "trip": ("TRIP", 2, _trip),
}


def start(name: str, *, number: int, today: dt.date, version: int | None = None) -> Asked:
    """This will ask for the so-manieth instance of an example."""
    prefix, _, context_of = STARTS[name]
    raw = template(name)
    rng = random.Random(f"{name}/{number}")  # noqa: S311 (dice for a demo)
    reference = f"{prefix}-{number}"
    return Asked(
        command=StartWorkflow(business_ref_no=reference, context=context_of(rng, today)),
        target=Reference(raw["component_name"], reference, raw["workflow_name"]),
        actor=STARTER,
        version=version,
    )


def any_example(rng: random.Random, among: Sequence[str] = NAMES) -> str:
    """This will pick an example, the frequent ones more often."""
    return rng.choices(among, weights=[STARTS[name][1] for name in among])[0]


_THINKS = dt.timedelta(seconds=10)


def hotels_answers(*, at: dt.datetime, rng: random.Random) -> Sequence[Asked]:
    """This will give what hotels say that were asked a while ago: that there is a room, or none, or that it is free."""
    tasks = TaskInstance.objects.filter(
        task_name="book_the_hotel",
        instance__component_name=template("trip")["component_name"],
        state__in=[TaskState.WAITING, TaskState.COMPENSATING],
        queue="",
        instance__updated_at__lt=at - _THINKS,
    )
    said = []
    for task in tasks.order_by("id")[:20]:
        if task.state == TaskState.COMPENSATING:
            answer = SendSignal(flows.HOTEL_CANCELLED, payload={"fee": rng.choice([0, 0, 30])})
        elif rng.random() < 0.15:
            answer = SendSignal(flows.HOTEL_BOOKED, payload={"full": True})
        else:
            name = rng.choice(["Harbour Inn", "Old Mill", "Station Hotel"])
            answer = SendSignal(flows.HOTEL_BOOKED, payload={"hotel": name})
        said.append(Asked(command=answer, target=task.instance_id, actor=STARTER))
    return said


class Traffic:
    """The example traffic, in one thread. `versions` are those of the installed examples; `now` tells the time."""

    def __init__(self, *, now: Callable[[], dt.datetime], versions: Mapping[str, int]) -> None:
        self._now = now
        self._versions = versions
        self._rng = random.Random()  # noqa: S311
        self._next_start = 0.0
        self._next_clearing = time.monotonic() + 20
        self._numbers: dict[str, int] = {}
        self._busy_until: dict[Any, float] = {}
        self.worker = Worker(name="example traffic", work=self._work)

    def _work(self) -> float:
        if time.monotonic() >= self._next_start:
            self._start_one()
        self._let_people_work()
        for asked in hotels_answers(at=self._now(), rng=self._rng):
            self._try(asked, self._now())
        if time.monotonic() >= self._next_clearing:
            self._next_clearing = time.monotonic() + 15
            self._clear_up()
        return STEP_SECONDS

    def _start_one(self) -> None:
        total = WorkflowInstance.objects.count()
        pause = next((seconds for count, seconds in _PACE if total < count), None)
        self._next_start = time.monotonic() + (pause or 600.0) * self._rng.uniform(0.6, 1.4)
        if pause is None or WorkflowInstance.objects.exclude(state__in=ENDED).count() >= MOST_OPEN:
            return
        name = any_example(self._rng, (*NAMES, *FLOWS))
        for _ in range(5):
            number = self._numbers[name] = self._numbers.get(name, self._highest(name)) + 1
            asked = start(name, number=number, today=self._now().date(), version=self._versions[name])
            (answer,) = handle(asked, at=self._now())
            if answer.outcome != Outcome.DUPLICATE:
                break

    @staticmethod
    def _highest(name: str) -> int:
        raw = template(name)
        return (
            1_000
            + WorkflowInstance.objects.filter(
                component_name=raw["component_name"], workflow_name=raw["workflow_name"]
            ).count()
        )

    # --- people ---

    def _let_people_work(self) -> None:
        now, at = time.monotonic(), self._now()
        tasks = list(HumanTask.objects.open().select_related("instance").order_by("created_at")[:500])
        self._busy_until = {key: until for key, until in self._busy_until.items() if key in {t.pk for t in tasks}}
        for group, colleague in COLLEAGUES.items():
            held = [task for task in tasks if task.claimed_by == colleague.username]
            for task in held:
                if now >= self._busy_until.setdefault(task.pk, now + self._rng.uniform(3, 9)):
                    self._try(people.decide(task, colleague, today=at.date()), at)
            free = [task for task in people.of_group(tasks, group) if task.claimed_by is None]
            if len(held) < 2 and (chosen := self._next_for(colleague, free, at)):
                self._try(people.claim(chosen, colleague), at)

    def _next_for(self, colleague: Colleague, free: Sequence[HumanTask], at: dt.datetime) -> HumanTask | None:
        # The oldest ones stand at the top of a visitor's list: nobody takes them from under the cursor.
        spare = free[LEFT_FOR_VISITORS:]
        may = set(HumanTask.objects.claimable(_person_of(colleague)).values_list("pk", flat=True)[:500])
        candidates = [task for task in spare if task.pk in may and at - task.created_at > dt.timedelta(seconds=4)]
        return candidates[0] if candidates and self._rng.random() < 0.5 else None

    # --- what has failed ---

    def _clear_up(self) -> None:
        """Leave a few failed instances for visitors to look at; the older ones are tried again, some are given up."""
        at = self._now()
        troubled = WorkflowInstance.objects.filter(state__in=[InstanceState.FAILED, InstanceState.ROLLBACK_FAILED])
        # What a validation has found is no trouble that another try would end.
        troubled = troubled.exclude(component_name=nodes.COMPONENT)
        for instance in troubled.order_by("-updated_at")[LEFT_FAILED : LEFT_FAILED + 5]:
            if instance.state == InstanceState.FAILED and self._rng.random() < 0.2:
                command: Any = CancelWorkflow(reason="Nobody needs this any more.")
            else:
                task = (
                    TaskInstance.objects.filter(
                        instance=instance, state__in=[TaskState.FAILED, TaskState.COMPENSATION_FAILED]
                    )
                    .order_by("position")
                    .first()
                )
                if task is None:
                    continue
                command = RetryTask(
                    stage_name=task.stage_name,
                    task_name=task.task_name,
                    compensation=task.state == TaskState.COMPENSATION_FAILED,
                    reason="The other side says that it works again.",
                )
            self._try(Asked(command=command, target=instance.pk, actor=OPERATOR), at)

    @staticmethod
    def _try(asked: Asked, at: dt.datetime) -> None:
        (answer,) = handle(asked, at=at)
        if not answer.applied:
            logger.info("refused: %s by %s (%s)", type(asked.command).__name__, asked.actor, answer.code)


def _person_of(colleague: Colleague) -> Person:
    return Person(username=colleague.username, groups=frozenset({colleague.group}))
