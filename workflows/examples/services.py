"""Simulated services: they take work from the queues of the examples, think a while, and answer as a service does.

Without a broker they come through the doors that every worker without a broker uses: they lease, and they send results.
With one they are its consumers. An answer depends on nothing but the attempt, so the same attempt answered twice (after
a crash) is told apart as a duplicate.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import count
from typing import Any

from workflows import client
from workflows.engine.lifecycle import LIVE, TaskState
from workflows.models import TaskInstance
from workflows.runtime import leasing
from workflows.runtime.asking import Asked
from workflows.runtime.handling import handle
from workflows.runtime.inbound import read_event
from workflows.runtime.listeners import Committed
from workflows.runtime.workers import Worker

logger = logging.getLogger(__name__)

ACTOR = "service-bot"
WORKER_ID = "simulated services"
AT_ONCE = 20
MOST_IN_HAND = 400
SAFETY_SECONDS = 10.0

Payload = Mapping[str, Any]
Output = Callable[[random.Random, Payload], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Service:
    """How the service behind a queue behaves.

    `delay` is how long it thinks (seconds, from … to); `fails` is the share of attempts that fail; `broken` the share
    of instances for which every early attempt fails, so that somebody has to look; `error` is what it then says.
    """

    delay: tuple[float, float] = (0.5, 3.0)
    output: Output = lambda rng, payload: {}
    fails: float = 0.03
    broken: float = 0.0
    error: tuple[str, str] = ("unavailable", "The service did not answer.")


EARLY_ATTEMPTS = 5
"""Attempts beyond these succeed even where a service is broken: somebody has looked and tried again."""


def _of(payload: Payload, key: str, default: Any = None) -> Any:
    return payload.get("context", {}).get(key, default)


def _number(rng: random.Random, prefix: str) -> str:
    return f"{prefix}-{rng.randrange(10_000, 99_999)}"


_RIDERS = ("Ada", "Bruno", "Carla", "Dino", "Elena", "Fabio", "Gina")

SERVICES: Mapping[str, Service] = {
    # Pizza
    "confirm_order_queue": Service(output=lambda rng, _: {"eta_minutes": rng.randrange(25, 50, 5)}),
    "make_food_queue": Service(
        delay=(2, 7), output=lambda rng, _: {"oven": rng.randrange(1, 4)},
        fails=0.04, error=("burnt", "The pizza was burnt; it is made again."),
    ),
    "assign_executive_queue": Service(
        delay=(1, 5), output=lambda rng, _: {"rider": rng.choice(_RIDERS)},
        fails=0.25, broken=0.05, error=("nobody_free", "All riders are on the road."),
    ),
    "confirm_delivery_queue": Service(output=lambda rng, _: {"message_to_customer": "sent"}),
    # Seller loan
    "loan_application_queue": Service(output=lambda rng, _: {"file_no": _number(rng, "LF")}),
    "close_application_queue": Service(delay=(2, 5)),
    "reserve_funds_queue": Service(output=lambda rng, _: {"reservation": _number(rng, "RES")}),
    "release_funds_queue": Service(
        delay=(3, 8), fails=0.05, broken=0.06, error=("ledger_locked", "The ledger is closed for the night."),
    ),
    "credit_bureau_queue": Service(
        delay=(2, 8), output=lambda rng, _: {"credit_score": rng.randrange(480, 820)},
        fails=0.2, broken=0.08, error=("bureau_timeout", "The credit bureau took longer than 30 seconds."),
    ),
    "kyc_queue": Service(
        delay=(1, 6), output=lambda rng, _: {"kyc": rng.choice(["clear", "clear", "clear", "name match"])},
    ),
    "bank_statement_queue": Service(
        delay=(3, 9),
        output=lambda rng, payload: {"monthly_turnover": round(_of(payload, "amount", 0) * rng.uniform(0.2, 1.4), 2)},
        fails=0.08, error=("unreadable", "A page of the statements could not be read."),
    ),
    "risk_queue": Service(
        output=lambda rng, _: {"grade": rng.choice("AABBBC"), "suggested_rate": round(rng.uniform(4.5, 11.5), 2)},
    ),
    "agreement_queue": Service(delay=(2, 6), output=lambda rng, _: {"agreement_no": _number(rng, "AG")}),
    "void_agreement_queue": Service(),
    "ledger_queue": Service(output=lambda rng, _: {"loan_account": _number(rng, "LA")}),
    "close_loan_account_queue": Service(),
    "payout_queue": Service(
        delay=(2, 6), output=lambda rng, _: {"transfer": _number(rng, "TR")},
        fails=0.15, broken=0.04, error=("account_rejected", "The seller's bank refused the transfer."),
    ),
    "notification_queue": Service(fails=0.15, error=("bad_number", "The telephone number is not in use.")),
    # Invoice financing
    "invoice_reader_queue": Service(
        delay=(1, 5), output=lambda rng, _: {"pages": rng.randrange(1, 6)},
        fails=0.1, error=("blurred", "The scan is too blurred to read."),
    ),
    "invoice_register_queue": Service(output=lambda rng, _: {"already_financed": False}),
    "buyer_score_queue": Service(
        delay=(2, 6), output=lambda rng, _: {"buyer_score": rng.randrange(40, 100)},
        fails=0.12, broken=0.08, error=("no_data", "The rating agency has no file on the buyer."),
    ),
    "limit_queue": Service(output=lambda rng, _: {"headroom_left": rng.randrange(50_000, 900_000, 1_000)}),
    "release_headroom_queue": Service(delay=(2, 6)),
    "supplier_payout_queue": Service(delay=(1, 5), output=lambda rng, _: {"transfer": _number(rng, "TR")}, fails=0.1),
    "recall_payment_queue": Service(delay=(3, 8), broken=0.2, error=("too_late", "The money has been booked already.")),
    "receivables_queue": Service(output=lambda rng, _: {"receivable": _number(rng, "RC")}),
    "collection_queue": Service(
        delay=(8, 25), output=lambda rng, payload: {"collected": _of(payload, "amount")},
        fails=0.15, error=("not_paid_yet", "The buyer has not paid yet."),
    ),
    # Order fulfilment
    "order_queue": Service(output=lambda rng, _: {"order_no": _number(rng, "SO")}),
    "cancel_order_queue": Service(delay=(2, 5)),
    "stock_queue": Service(output=lambda rng, _: {"warehouse": rng.choice(["Graz", "Lyon", "Utrecht"])}, fails=0.08),
    "restock_queue": Service(
        delay=(3, 8), fails=0.1, broken=0.05, error=("scanner", "The scanner at the shelf is broken."),
    ),
    "fraud_queue": Service(
        delay=(1, 4), output=lambda rng, _: {"fraud_risk": rng.choice(["low", "low", "low", "medium"])},
    ),
    "payment_queue": Service(
        delay=(1, 5), output=lambda rng, payload: {"payment": _number(rng, "PAY"), "charged": _of(payload, "total")},
        fails=0.22, broken=0.08, error=("bank_unavailable", "The bank did not answer within 20 seconds."),
    ),
    "refund_queue": Service(
        delay=(3, 8), fails=0.15, error=("bank_unavailable", "The bank did not answer within 20 seconds."),
    ),
    "warehouse_queue": Service(delay=(2, 8), output=lambda rng, _: {"parcels": rng.randrange(1, 3)}, fails=0.06),
    "unpack_queue": Service(delay=(2, 5)),
    "gift_wrap_queue": Service(delay=(1, 4), fails=0.2, error=("no_paper", "There is no wrapping paper left.")),
    "shipping_label_queue": Service(
        delay=(1, 4), output=lambda rng, _: {"tracking_no": _number(rng, "SP")},
        fails=0.08, broken=0.12, error=("bad_address", "The carrier does not know this address."),
    ),
    "carrier_queue": Service(delay=(1, 6), output=lambda rng, _: {"picked_up": True}, fails=0.05),
    # Claims, and the plugins of their activity
    "claim_register_queue": Service(output=lambda rng, _: {"claim_no": _number(rng, "CL")}),
    "document_reader_queue": Service(
        delay=(2, 6), output=lambda rng, payload: {"pages": _of(payload, "documents", 1) * rng.randrange(1, 5)},
        fails=0.08, error=("blurred", "A photo is too blurred to read."),
    ),
    "document_classifier_queue": Service(
        delay=(1, 5), output=lambda rng, _: {"main_document": rng.choice(["invoice", "photo", "police report"])},
    ),
    "document_fraud_queue": Service(
        delay=(3, 10), output=lambda rng, _: {"forged": rng.random() < 0.04},
        fails=0.1, broken=0.08, error=("no_model", "The model for this kind of document is being trained."),
    ),
    "document_translation_queue": Service(
        delay=(3, 9), output=lambda rng, _: {"translated": True},
        fails=0.45, broken=0.2, error=("no_translator", "Nobody is there who knows the language."),
    ),
    "claim_payout_queue": Service(delay=(1, 5), output=lambda rng, _: {"transfer": _number(rng, "TR")}, fails=0.08),
    # Expenses
    "expense_policy_queue": Service(output=lambda rng, _: {"within_policy": rng.random() < 0.85}),
    "payroll_queue": Service(
        delay=(1, 5), output=lambda rng, _: {"payroll_run": _number(rng, "PR")}, fails=0.12,
        error=("closed", "Payroll is closed for this month."),
    ),
    "bookkeeping_queue": Service(output=lambda rng, _: {"booking_no": _number(rng, "BK")}),
    # Onboarding
    "payroll_registration_queue": Service(output=lambda rng, _: {"personnel_no": _number(rng, "P")}, fails=0.1),
    "payroll_deregistration_queue": Service(),
    "directory_queue": Service(
        delay=(1, 5), output=lambda rng, _: {"account": f"user{rng.randrange(1000, 9999)}"},
        fails=0.12, broken=0.04, error=("name_taken", "The account name is taken."),
    ),
    "remove_accounts_queue": Service(),
    "facilities_queue": Service(
        output=lambda rng, _: {"desk": f"{rng.randrange(1, 5)}.{rng.randrange(10, 60)}"}, fails=0.15,
    ),
    "courier_queue": Service(delay=(2, 8), output=lambda rng, _: {"shipment": _number(rng, "CR")}),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service will answer to one message, and after how many seconds."""

    after: float
    message: Mapping[str, Any]


def reply_to(payload: Payload, service: Service) -> Reply:
    """This will work out the answer to a StartTask or CompensateTask; the same for the same attempt, always."""
    compensation = payload["event_name"] == "CompensateTask"
    instance = f"{payload['component_name']}/{payload['workflow_name']}/{payload['business_ref_no']}"
    task = f"{instance}/{payload['stage_name']}/{payload['task_name']}"
    attempt = f"{task}/{'undo' if compensation else 'do'}/{payload['attempt']}"
    rng = random.Random(attempt)  # noqa: S311 (dice for a demo)
    delay = rng.uniform(*service.delay)
    broken = random.Random(f"{task}/broken").random() < service.broken  # noqa: S311
    fails = rng.random() < service.fails or (broken and payload["attempt"] <= EARLY_ATTEMPTS)
    message: dict[str, Any] = {
        key: payload[key]
        for key in (
            "business_ref_no",
            "component_name",
            "workflow_name",
            "stage_name",
            "task_name",
            "task_type",
            "attempt",
        )
    }
    message |= {
        "event_name": "TaskFailed" if fails else "TaskCompleted",
        "event_id": f"simulated/{payload['message_id']}",
    }
    if compensation:
        message["compensation"] = True
    if fails:
        message["error"] = dict(zip(("code", "message"), service.error, strict=True))
    else:
        message["output"] = {} if compensation else service.output(rng, payload)
    return Reply(after=delay, message=message)


class Services:
    """All simulated services, in one thread. `pace` stretches their thinking (0: none); `now` tells the time.

    `again`: whether they look for work now and then, also when nobody calls them; else they look once.
    """

    def __init__(
        self,
        *,
        now: Callable[[], dt.datetime],
        pace: float = 1.0,
        services: Mapping[str, Service] = SERVICES,
        again: bool = True,
    ) -> None:
        self._now = now
        self._again = again
        self._pace = pace
        self._services = services
        self._lock = threading.Lock()
        self._called: set[str] = set()
        self._looked_at: float | None = None
        self._in_hand: list[tuple[float, int, Mapping[str, Any]]] = []
        self._numbers = count()
        self.worker = Worker(name="simulated services", work=self._work, rest=SAFETY_SECONDS)

    def heard(self, committed: Committed) -> None:
        """This will wake the services whose queues may have got work."""
        self.call(committed.queues & self._services.keys())

    def call(self, queues: Set[str]) -> None:
        """This will have the services of these queues look for work."""
        if queues:
            with self._lock:
                self._called |= queues
            self.worker.wake()

    def _work(self) -> float:
        for queue in self._queues_to_ask():
            self._take(queue)
        self._answer()
        if self._in_hand:
            return max(0.0, self._in_hand[0][0] - time.monotonic())
        return SAFETY_SECONDS

    def _queues_to_ask(self) -> Sequence[str]:
        with self._lock:
            called, self._called = self._called, set()
        if self._looked_at is None or (self._again and time.monotonic() - self._looked_at >= SAFETY_SECONDS):
            # What others leased and did not finish, and what waited while this process was away.
            self._looked_at = time.monotonic()
            called |= set(_queues_with_work(self._services))
        return sorted(called)

    def _take(self, queue: str) -> None:
        service = self._services[queue]
        seconds = int(service.delay[1] * self._pace) + 15
        while len(self._in_hand) < MOST_IN_HAND:
            tasks = leasing.lease(
                queue, worker_id=WORKER_ID, max_tasks=AT_ONCE, lease_seconds=seconds, actor=ACTOR, at=self._now()
            )
            for payload in tasks:
                reply = reply_to(payload, service)
                # Without the lease's id: an answer given twice is then the same to the letter, and told apart as such.
                entry = (time.monotonic() + reply.after * self._pace, next(self._numbers), reply.message)
                heapq.heappush(self._in_hand, entry)
            if len(tasks) < AT_ONCE:
                return
        with self._lock:
            self._called.add(queue)

    def _answer(self) -> None:
        due: list[Mapping[str, Any]] = []
        while self._in_hand and self._in_hand[0][0] <= time.monotonic() and len(due) < AT_ONCE:
            due.append(heapq.heappop(self._in_hand)[2])
        if due:
            send(due, at=self._now())


def send(messages: Sequence[Mapping[str, Any]], *, at: dt.datetime) -> None:
    """This will hand results in, all in one go. What is refused (of a withdrawn task, say) is nobody's problem."""
    asked: list[Asked] = [read_event(message, actor=ACTOR) for message in messages]
    for message, answer in zip(messages, handle(*asked, at=at), strict=True):
        if not answer.applied:
            logger.info("refused: %s of %s (%s)", message["event_name"], message["task_name"], answer.code)


def _queues_with_work(services: Mapping[str, Service]) -> Iterable[str]:
    live = [*LIVE, TaskState.COMPENSATING]
    return (
        TaskInstance.objects.filter(state__in=live, queue__in=list(services)).values_list("queue", flat=True).distinct()
    )


class FromBroker:
    """The services as programs of their own: fed by a broker, through the package that such programs use."""

    def __init__(self, *, url: str, inbound_queue: str, services: Mapping[str, Service] = SERVICES) -> None:
        # Functions that only wait need no threads: hundreds of them are in hand at once.
        self._client = client.Services(
            url, inbound_queue=inbound_queue, concurrency=MOST_IN_HAND, prefetch=AT_ONCE, name=WORKER_ID
        )
        for queue, service in services.items():
            function = _function(service)
            self._client.service(queue)(function)
            self._client.compensation(queue)(function)
        self._serves = False
        self.worker = Worker(name="simulated services", work=self._work)

    def close(self) -> None:
        """This will give back what is in hand, and let go of the broker."""
        self._client.stop(1.0)

    def _work(self) -> None:
        # It has threads of its own; this one only begins.
        if not self._serves:
            self._serves = True
            self._client.start()


def _function(service: Service) -> Callable[[client.Task], Awaitable[Mapping[str, Any] | None]]:
    async def think(task: client.Task) -> Mapping[str, Any] | None:
        reply = reply_to(task.message, service)
        await asyncio.sleep(reply.after)
        if error := reply.message.get("error"):
            raise client.TaskFailed(error["code"], error["message"])
        output: Mapping[str, Any] | None = reply.message["output"]
        return output

    return think
