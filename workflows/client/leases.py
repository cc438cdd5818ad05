"""Work over HTTP: leases are taken by long polls, kept by heartbeats, and answered in batches."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from workflows.client import answers
from workflows.client.answers import Answer
from workflows.client.calls import Api, Unreachable
from workflows.client.desk import Desk, Job, Work
from workflows.client.tasks import Task, TaskFailed, UnreadableMessage

logger = logging.getLogger("workflows.client")

MOST_AT_ONCE = 100
MOST_BYTES_AT_ONCE = 900_000
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

# Note [Answers do not name their lease]
# ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
# The orchestrator would refuse an answer under a lease that has ended, even where nobody else has taken the work: it
# would be done twice for nothing. The attempt alone says well enough what is answered; the first answer to it counts.


class LeaseTransport:
    """See Transport. One thread for each queue, one that keeps leases, one that answers."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        desk: Desk,
        job_for: Callable[[Task], Job | None],
        queues: Sequence[str],
        lease_seconds: int,
        poll_seconds: int,
        name: str,
    ) -> None:
        self._api = Api(url, token=token)
        self._desk = desk
        self._job_for = job_for
        self._lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._name = name
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._unsent: deque[Work] = deque()
        self._something = threading.Event()
        self._pollers = [
            threading.Thread(target=self._poll, args=(queue,), name=f"leases of {queue}", daemon=True)
            for queue in queues
        ]
        self._others = [
            threading.Thread(target=self._keep, name="keeps leases", daemon=True),
            threading.Thread(target=self._answer, name="answers", daemon=True),
        ]

    def start(self) -> None:
        """This will begin to poll."""
        for thread in (*self._pollers, *self._others):
            thread.start()

    def stop_taking(self) -> None:
        """This will poll no more, once the polls that are out have come back."""
        self._stopping.set()
        for thread in self._pollers:
            thread.join(self._poll_seconds + 2)

    def done(self, work: Work) -> None:
        """This will post the answer."""
        self._unsent.append(work)
        self._something.set()

    def give_back(self, works: list[Work]) -> None:
        """This will let the leases of this work end in a second."""
        for work in works:
            if not self._end_lease(work.task.queue, work.handles[-1]):
                return

    def close(self) -> None:
        """This will end all threads."""
        self._ended.set()
        self._something.set()
        for thread in self._others:
            thread.join(2)
        self._api.close()

    # --- Polling ---

    def _poll(self, queue: str) -> None:
        failures = 0
        while not self._stopping.is_set():
            if not self._desk.wait_until_free(1) or self._stopping.is_set():
                continue
            body = {
                "worker_id": self._name,
                "max_tasks": max(1, min(self._desk.free(), MOST_AT_ONCE)),
                "lease_seconds": self._lease_seconds,
                "wait_seconds": self._poll_seconds,
            }
            try:
                status, said = self._api.post(f"queues/{_name(queue)}/lease/", body, seconds=self._poll_seconds + 15)
                if status != 200:
                    raise Unreachable(f"{status} {said.get('detail') or said.get('code') or ''}")
                failures = 0
                for message in said.get("tasks", ()):
                    self._take(queue, message)
            except Exception as error:
                failures += 1
                self._rest(failures, f"no work from {queue}", error)

    def _take(self, queue: str, message: Mapping[str, Any]) -> None:
        lease_id = str(message.get("lease_id"))
        try:
            task = Task(message, queue=queue)
            job = self._job_for(task)
        except UnreadableMessage as error:
            logger.error("work of %s cannot be read: %s: %r", queue, error, message)  # noqa: TRY400
            return
        taken = False
        try:
            taken = job is not None and not self._stopping.is_set() and self._desk.take(task, job, lease_id)
        finally:
            if not taken:
                self._end_lease(queue, lease_id)

    # --- Keeping ---

    def _keep(self) -> None:
        while not self._ended.wait(self._lease_seconds / 3):
            for work in self._desk.in_hand():
                lease_id = work.handles[-1]
                try:
                    status, said = self._extend(work.task.queue, lease_id, self._lease_seconds)
                except Unreachable as error:
                    logger.warning("leases could not be kept: %s", error)
                    break
                if status == 409 and said.get("code") == "lease_lost" and work.handles[-1] == lease_id:
                    # Withdrawn, most of the time. Where the orchestrator was away for too long, it is offered again.
                    self._desk.cancel(work.task.key, remember=False)

    def _end_lease(self, queue: str, lease_id: str) -> bool:
        try:
            self._extend(queue, lease_id, 1)
        except Unreachable as error:
            logger.warning("leases could not be given back, they end by themselves: %s", error)
            return False
        return True

    def _extend(self, queue: str, lease_id: str, seconds: int) -> tuple[int, Mapping[str, Any]]:
        path = f"queues/{_name(queue)}/leases/{lease_id}/extend/"
        return self._api.post(path, {"lease_seconds": seconds}, seconds=min(10, max(2, self._lease_seconds / 3)))

    # --- Answering ---

    def _answer(self) -> None:
        failures = 0
        while not self._ended.is_set():
            self._something.wait(1)
            self._something.clear()
            self._report()
            while self._unsent and not self._ended.is_set():
                batch = self._next_batch()
                try:
                    waiting = self._post(batch)
                except Exception as error:
                    self._unsent.extendleft(reversed(batch))
                    failures += 1
                    self._rest(failures, "answers wait", error, until=self._ended)
                    continue
                failures = 0
                if waiting:
                    self._unsent.extend(waiting)
                    self._rest(3, "some answers were not taken", until=self._ended)

    def _report(self) -> None:
        # Before the answers, in their thread: nothing is said of work that is over.
        said = [
            answers.started(work.task, worker_id=self._name, progress=progress)
            for work, progress in self._desk.reports()
            if work.task.task_type != "HUMAN"
        ]
        for start in range(0, len(said), MOST_AT_ONCE):
            try:
                self._api.post("events/batch/", {"events": said[start : start + MOST_AT_ONCE]})
            except Exception as error:
                # The next report says more than this one.
                logger.info("how far the work is could not be said: %s", error)

    def _next_batch(self) -> list[Work]:
        batch: list[Work] = []
        size = 0
        while self._unsent and len(batch) < MOST_AT_ONCE:
            size += len(answers.encode(self._unsent[0].answer or {}))
            if batch and size > MOST_BYTES_AT_ONCE:
                break
            batch.append(self._unsent.popleft())
        return batch

    def _post(self, batch: list[Work]) -> list[Work]:
        """Post answers; give those that are to be posted once more."""
        said: list[Answer] = [work.answer for work in batch if work.answer]
        for work in batch:
            if not work.answer:
                self._desk.settled(work)
        if not said:
            return []
        works = [work for work in batch if work.answer]
        if len(said) == 1:
            status, document = self._api.post("events/", said[0])
            results: Sequence[Mapping[str, Any]] = [{**document, "status": status}]
        else:
            status, document = self._api.post("events/batch/", {"events": said})
            if status != 200:
                raise Unreachable(f"{status} {document.get('detail') or ''}")
            results = document["results"]
        return [work for work, result in zip(works, results, strict=True) if not self._is_settled(work, result)]

    def _is_settled(self, work: Work, result: Mapping[str, Any]) -> bool:
        status, why = result["status"], result.get("detail") or result.get("code")
        if status in (401, 403, 408, 425, 429) or status >= 500:
            logger.warning("the answer to %r waits: %s %s", work.task, status, why)
            return False
        if status in (400, 413, 415, 422) and work.answer and work.answer["event_name"] == "TaskCompleted":
            # It would be leased, done and refused for ever.
            logger.error("the answer to %r was not understood: %s", work.task, result)
            error = TaskFailed("bad_output", f"The orchestrator does not take the output: {why}", retry=False)
            work.answer = answers.failed(work.task, error)
            return False
        if status != 200:
            level = logging.INFO if status == 409 else logging.WARNING
            logger.log(level, "the answer to %r was refused: %s %s", work.task, status, why)
        self._desk.settled(work)
        return True

    def _rest(
        self, failures: int, what: str, error: Exception | None = None, *, until: threading.Event | None = None
    ) -> None:
        pause = PAUSES[min(failures, len(PAUSES)) - 1] * random.uniform(0.75, 1.25)  # noqa: S311
        # A fault of ours, or of a store of answers, is not to be mistaken for the orchestrator's absence.
        fault = error if not isinstance(error, Unreachable) else None
        logger.warning("%s, next try in %.1f s: %s", what, pause, error or "see above", exc_info=fault)
        (until or self._stopping).wait(pause)


def _name(queue: str) -> str:
    return quote(queue, safe="")


__all__ = ["LeaseTransport"]
