"""How the queues stand: what waits in each, who has work in hand, what comes and goes, what could not be sent.

See Note [What a look costs].
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.utils import timezone

from workflows.conf import settings
from workflows.runtime import backlog, broker, limits, traffic
from workflows.runtime.broker import Broker
from workflows.runtime.identity import read_uuid
from workflows.runtime.projection import STEP_QUEUE, is_inside
from workflows.runtime.queue_names import of_templates
from workflows.runtime.sql import ON_OFFER, moment_of, names_of_queues, written
from workflows.runtime.traffic import Traffic

MOST = 2_000
"""How many queues are told apart."""
_LEAST_COUNTED = 1_000
_LOOKED_THROUGH = 2_000
"""How many live attempts are looked through, oldest first, to list those in hand or those that wait."""

# Note [What a look costs]
# ~~~~~~~~~~~~~~~~~~~~~~~~
# Nothing here counts a table. What is live stands in the small index `task_on_offer`, whose names are found by jumping
# from one to the next; each queue is counted up to a cap. What is unsent stands in the index `message_due`. Rates are
# read from the newest rows by primary key, and say how far back those went. States are written into the statements,
# not given as parameters: an index on some states only serves a statement that names them.

_NAMES = (
    names_of_queues("workflows_taskinstance", f"{ON_OFFER} AND queue > ''")  # noqa: S608
    + " SELECT l.queue FROM workflows_queuelimit l UNION ALL SELECT queue FROM names WHERE queue IS NOT NULL LIMIT %s"
)

# A lease that has ended offers the work again. Who took a task without a lease (a message TaskStarted) keeps it.
# A person's task is no work of its queue: there somebody is only told of it.
# Values, not EXISTS: that PostgreSQL may answer by reading all leases, and they are kept when their work is done.
_WAITING = """CASE t.state WHEN 'SCHEDULED' THEN 1
  WHEN 'STARTED' THEN COALESCE((SELECT CASE WHEN l.lease_until <= %s THEN 1 ELSE 0 END FROM workflows_lease l
    WHERE l.instance_id = t.instance_id AND l.position = t.position AND l.compensation = FALSE
    AND l.attempt = t.attempt), 0)
  ELSE COALESCE((SELECT MIN(CASE WHEN l.lease_until > %s THEN 0 ELSE 1 END) FROM workflows_lease l
    WHERE l.instance_id = t.instance_id AND l.position = t.position AND l.compensation = TRUE), 1) END"""
_OF_QUEUE = f"""FROM workflows_taskinstance t
  WHERE t.queue = %s AND {ON_OFFER} AND (t.task_type <> 'HUMAN' OR t.state = 'COMPENSATING')"""
_COUNT = f"""SELECT %s, COUNT(*), SUM(few.waiting), MIN(CASE WHEN few.waiting = 1 THEN few.offered_at END),
  MAX(CASE WHEN few.waiting = 0 THEN few.started_at END)
FROM (SELECT t.offered_at, t.started_at, {_WAITING} AS waiting {_OF_QUEUE} ORDER BY t.offered_at LIMIT %s) few"""  # noqa: S608
_HELD = f"""SELECT few.instance_id, i.business_ref_no, few.stage_name, few.task_name, few.attempt, few.undoing,
  few.offered_at, few.started_at, l.worker_id, l.lease_until
FROM (SELECT * FROM (SELECT t.instance_id, t.position, t.stage_name, t.task_name, t.attempt, t.started_at, t.offered_at,
      t.state = 'COMPENSATING' AS undoing, {_WAITING} AS waiting {_OF_QUEUE} ORDER BY t.offered_at LIMIT %s) oldest
    WHERE oldest.waiting = %s ORDER BY oldest.offered_at LIMIT %s) few
  JOIN workflows_workflowinstance i ON i.id = few.instance_id
  LEFT JOIN workflows_lease l ON l.instance_id = few.instance_id AND l.position = few.position
    AND l.compensation = few.undoing AND l.lease_until > %s AND (l.attempt = few.attempt OR few.undoing)
ORDER BY few.offered_at"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Queue:
    """How one queue stands.

    `depth` is what waits: in the broker where that is known (`from_broker`), else the attempts that nobody has taken;
    None for a queue of which only the broker knows.
    Where there is more than is `counted`, `waiting` and `in_hand` are at least so many. `consumers` None: only a
    broker knows.
    """

    name: str
    depth: int | None
    from_broker: bool
    waiting: int
    in_hand: int
    counted: bool
    oldest_at: dt.datetime | None
    consumers: int | None
    unsent: int
    traffic: Traffic
    seen_at: dt.datetime | None
    seen_by: str | None
    limits: limits.Standing | None = None

    @property
    def line_takes(self) -> dt.timedelta | None:
        """This will estimate how long what is in the line will take; None where there is none, or nobody knows."""
        if self.limits is None or not self.limits.line:
            return None
        paces = [self.limits.max_per_second, self.traffic.out_short / 60 or None]
        pace = min((one for one in paces if one is not None), default=None)
        return None if pace is None else dt.timedelta(seconds=round(self.limits.line / pace, 1))

    @property
    def depth_is_least(self) -> bool:
        """This will tell whether there may be more than `depth`."""
        return not (self.counted or self.from_broker or self.depth is None)

    @property
    def use(self) -> str:
        """This will say what it is for: `work`; `steps` inside this site; `inbound` reports; `dead` letters."""
        return "steps" if self.name == STEP_QUEUE else broker.own_queues().get(self.name, "work")


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt that waits in a queue or is in somebody's hand."""

    instance_id: Any
    reference: str
    stage_name: str
    task_name: str
    attempt: int
    undoing: bool
    offered_at: dt.datetime | None
    since: dt.datetime | None
    worker: str | None
    until: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Look:
    """The queues at one moment."""

    at: dt.datetime
    queues: Sequence[Queue]
    broker: Broker
    backlog: Sequence[backlog.Backlog]
    window: traffic.Window


def known_names(unsent: Sequence[backlog.Backlog] | None = None) -> list[str]:
    """This will name the queues that there are: of published workflows, or with work, messages or limits."""
    unsent = backlog.summary() if unsent is None else unsent
    with connection.cursor() as cursor:
        cursor.execute(_NAMES, [MOST])
        live = {name for (name,) in cursor.fetchall()}
    names = live | of_templates() | {one.queue for one in unsent} | broker.own_queues().keys()
    return sorted(names)[:MOST]


def is_known(name: str, unsent: Sequence[backlog.Backlog] | None = None) -> bool:
    """This will tell whether there is such a queue; the broker is asked where we do not know it ourselves."""
    if name in known_names(unsent):
        return True
    return not is_inside(name) and broker.look([name]).depths.get(name) is not None


def look(
    names: Collection[str] | None = None,
    *,
    unsent: Sequence[backlog.Backlog] | None = None,
    at: dt.datetime | None = None,
) -> Look:
    """This will tell how these queues stand, by default all of them: as many statements for one as for a hundred."""
    moment = at or timezone.now()
    unsent, own = backlog.summary() if unsent is None else unsent, broker.own_queues()
    wanted = list(known_names(unsent) if names is None else names)
    said = broker.look(name for name in wanted if not is_inside(name))
    by_queue: dict[str, int] = defaultdict(int)
    for one in unsent:
        by_queue[one.queue] += one.count
    counted, cap = _count(wanted, at=moment)
    moving, limited = traffic.read(at=moment), limits.standings()
    queues = []
    for name in wanted:
        total, waiting, oldest, started = counted.get(name, (0, 0, None, None))
        depth = said.depths.get(name)
        seen = moving.seen.get(name)
        if started is not None and (seen is None or seen.at < started):
            seen = traffic.Seen(started, None)
        queues.append(
            Queue(
                name=name,
                depth=depth.messages if depth is not None else None if name in own else waiting,
                from_broker=depth is not None,
                waiting=waiting,
                in_hand=total - waiting,
                counted=total < cap,
                oldest_at=oldest,
                consumers=None if depth is None else depth.consumers,
                unsent=by_queue.get(name, 0),
                traffic=moving.of(name),
                seen_at=seen.at if seen else None,
                seen_by=seen.by if seen else None,
                limits=limited.get(name),
            )
        )
    return Look(at=moment, queues=queues, broker=said, backlog=unsent, window=moving.window)


def in_hand(queue: str, *, most: int = 50, at: dt.datetime | None = None) -> list[Work]:
    """This will list the work of a queue that somebody has, the longest offered first."""
    return _work(queue, waiting=0, most=most, at=at or timezone.now())


def waiting(queue: str, *, most: int = 50, at: dt.datetime | None = None) -> list[Work]:
    """This will list the work that waits in a queue, the oldest first."""
    return _work(queue, waiting=1, most=most, at=at or timezone.now())


def _count(
    names: Sequence[str], *, at: dt.datetime
) -> tuple[Mapping[str, tuple[int, int, dt.datetime | None, dt.datetime | None]], int]:
    """Live attempts and those that wait, the oldest offer, the newest taking: of each queue, in one statement."""
    whole = int(settings.COUNT_CAP)
    cap = min(whole, max(_LEAST_COUNTED, whole // max(len(names), 1)))
    found: dict[str, tuple[int, int, dt.datetime | None, dt.datetime | None]] = {}
    now = written(at)
    with connection.cursor() as cursor:
        for some in _portions(names, 100):
            values = [value for name in some for value in (name, now, now, name, cap)]
            cursor.execute(" UNION ALL ".join(f"SELECT * FROM ({_COUNT}) one" for _ in some), values)  # noqa: S608
            for name, total, waits, oldest, started in cursor.fetchall():
                found[name] = (total, int(waits or 0), moment_of(oldest), moment_of(started))
    return found, cap


def _work(queue: str, *, waiting: int, most: int, at: dt.datetime) -> list[Work]:
    now = written(at)
    with connection.cursor() as cursor:
        cursor.execute(_HELD, [now, now, queue, _LOOKED_THROUGH, waiting, most, now])
        rows = cursor.fetchall()
    return [
        Work(
            read_uuid(instance), reference, stage, task, attempt, bool(undoing), moment_of(offered),
            moment_of(started), worker, moment_of(until),
        )
        for instance, reference, stage, task, attempt, undoing, offered, started, worker, until in rows
    ]  # fmt: skip


def _portions(names: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))
