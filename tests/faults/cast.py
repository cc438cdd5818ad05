"""Everybody who uses the system in a run: starters, services, people, operators, each with a log of their own."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.faults import over_amqp
from tests.faults.client import Client
from tests.faults.evidence import Depth
from tests.faults.operators import Operator
from tests.faults.over_amqp import AmqpService, AmqpStarter, Mouth
from tests.faults.people import PEOPLE, Driver, Person, Starter
from tests.faults.records import OperationLog
from tests.faults.services import Desk, HttpService, Memory
from tests.faults.shapes import CLASSIC, QUEUES, Plan, prefixed
from tests.faults.system import System
from tests.faults.watchers import Watcher

STARTERS = 3

# Where there is a broker: who takes the work of a queue. Both: two services do the same, and one of them is in vain.
_OVER_HTTP = ("mail", "wide")
_OVER_AMQP = ("steady", "money", "wide", "undo")


class HarnessBroken(Exception):
    """The harness itself did not do its part; nothing is said about the system."""


class Cast:
    """Starts, calms and ends all drivers of a run."""

    def __init__(self, system: System, plan: Plan, tokens: Mapping[str, str], *, folder: Path) -> None:
        self._system, self._plan, self._tokens, self._folder = system, plan, tokens, folder
        self._stop = threading.Event()
        self._logs: list[OperationLog] = []
        self._memory = Memory()
        self._publisher = self._client("admin", "publisher")
        self._editor = self._client("olivia", "editor")
        begun = time.monotonic()
        self.starters = [self._starter(part, begun) for part in range(STARTERS)]
        self._editions = random.Random(f"{plan.seed}/editions")
        self.operator = Operator(
            plan, self._client("olivia", "operator"), begun=begun, stop=self._stop, republish=self._republish
        )
        self.people = [self._person(name, other) for name, other in (PEOPLE, PEOPLE[::-1])]
        over_http = _OVER_HTTP if system.inbound else tuple(QUEUES)
        self.services = [self._http_service(queue) for queue in over_http]
        self.watchers = [
            Watcher(
                user,
                tokens[user],
                ports=system.web_ports,
                started=lambda: [one for starter in self.starters for one in list(starter.started.values())],
                may_see=may_see,
                folder=folder,
                stop=self._stop,
            )
            for user, may_see in (("olivia", True), ("adam", True), ("delia", False))
        ]
        self.broker_services = {queue: self._amqp_service(queue) for queue in QUEUES} if system.inbound else {}

    @property
    def _everybody(self) -> list[Driver | HttpService | AmqpService]:
        served: list[HttpService | AmqpService] = [*self.services, *self.broker_services.values()]
        return [*self.starters, self.operator, *self.people, *self.watchers, *served]

    # --- what a run does with them --------------------------------------------------------------------------------

    def publish(self) -> None:
        """Publish the templates."""
        for template in prefixed(self._system.prefix):
            answer = self._publisher.ask(
                "/api/v1/templates/", template, kind="read", key=template["workflow_name"], request={}
            )
            if not answer.ok:
                raise HarnessBroken(f"{template['workflow_name']} was not published: {answer}")

    def _republish(self) -> None:
        """Publish one of them again with another text: a new version, also while nobody may answer."""
        template = self._editions.choice(prefixed(self._system.prefix)[:4])
        template["stages"][0]["tasks"][0]["title"] = f"Edition {self._editions.randrange(10**6)}"
        name = template["workflow_name"]
        self._editor.ask("/api/v1/templates/", template, kind="read", key=name, request={"again": True})

    def start(self) -> None:
        """Let everybody begin."""
        for one in self._everybody:
            one.start()

    def calm(self) -> None:
        """The faults are over: people and operators only bring things to an end now."""
        self.operator.calm = True
        for person in self.people:
            person.calm = True

    @property
    def started_everything(self) -> bool:
        """Tell whether all that was to be started was asked for."""
        return all(starter.finished for starter in self.starters)

    def delete_queue(self, queue: str, seconds: float) -> None:
        """Have a queue deleted."""
        self.broker_services[queue].delete_queue(seconds)

    @property
    def in_hand(self) -> int:
        """Give how many messages services have taken and not acknowledged: when they end, these go back."""
        return sum(service.in_hand for service in self.broker_services.values())

    def depths(self) -> dict[str, Depth] | None:
        """Ask the broker what waits in the queues; None where there is none."""
        if not self._system.inbound:
            return None
        names = [f"{self._system.prefix}{queue}" for queue in QUEUES]
        inbound = self._system.inbound
        return over_amqp.depths(self._system.ground.broker.port, [*names, inbound, f"{inbound}.dead"])

    def counted(self) -> dict[str, int] | None:
        """Count the instances by state as a reader of the list would; None where nobody answers."""
        counts: Counter[str] = Counter()
        path = "/api/v1/instances/?limit=200"
        while path:
            page = self._publisher.get(path)
            if page is None:
                return None
            counts.update(one["state"] for one in page["results"])
            path = "/api/v1/" + page["next"].split("/api/v1/", 1)[1] if page["next"] else ""
        return dict(counts)

    def stop(self) -> None:
        """Have everybody end."""
        self._stop.set()
        for one in self._everybody:
            if one.ident is not None:
                one.join(30)
        for log in self._logs:
            log.close()

    def complain(self) -> None:
        """Raise what a driver has failed of: that is the harness's own fault."""
        for one in self._everybody:
            if one.failure is not None:
                raise HarnessBroken(f"{one.name} failed") from one.failure
            if one.is_alive():
                raise HarnessBroken(f"{one.name} has not ended")

    # --- how they are made ----------------------------------------------------------------------------------------

    def _log(self, driver: str) -> OperationLog:
        log = OperationLog(self._folder / f"operations-{driver}.jsonl", driver=driver)
        self._logs.append(log)
        return log

    def _client(self, user: str, driver: str) -> Client:
        return Client(self._system.web_ports, self._tokens[user], self._log(driver))

    def _mouth(self, driver: str) -> Mouth:
        port = self._system.proxies["rabbitmq-services"].port
        return Mouth(port, self._system.inbound, self._log(driver))

    def _starter(self, part: int, begun: float) -> Starter:
        return Starter(
            self._plan,
            self._client("service-bot", f"starter{part}"),
            begun=begun,
            stop=self._stop,
            over_broker=AmqpStarter(self._mouth(f"starter{part}-amqp")).start if self._system.inbound else None,
            part=(part, STARTERS),
        )

    def _person(self, name: str, other: str) -> Person:
        return Person(
            name,
            self._client(name, name),
            self._client(other, f"{other}-beside-{name}"),
            self._client("olivia", f"olivia-for-{name}"),
            seed=self._plan.seed,
            stop=self._stop,
        )

    def _desk(self, queue: str) -> Callable[[], Desk]:
        return lambda: Desk(
            f"{self._system.prefix}{queue}",
            idempotent=QUEUES[queue],
            ledger=self._folder / "ledger.sqlite3",
            seed=self._plan.seed,
            memory=self._memory,
        )

    def _http_service(self, queue: str) -> HttpService:
        client = self._client("service-bot", f"service-{queue}")
        return HttpService(self._desk(queue), client, queue=f"{self._system.prefix}{queue}", stop=self._stop)

    def _amqp_service(self, queue: str) -> AmqpService:
        return AmqpService(
            self._desk(queue),
            self._mouth(f"service-{queue}-amqp"),
            port=self._system.proxies["rabbitmq-services"].port,
            queue=f"{self._system.prefix}{queue}",
            classic=queue in CLASSIC,
            stop=self._stop,
            listening=queue not in _OVER_AMQP,
        )
