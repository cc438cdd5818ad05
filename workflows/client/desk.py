"""The work that a service has in hand: what waits, what runs, what is answered but not delivered. In threads.

Both transports use it alike: they `take` what arrives, deliver what is `done`, and say when it is `settled`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from workflows.client.answers import Answer, failed
from workflows.client.stores import Answers
from workflows.client.tasks import Progress, Task

logger = logging.getLogger("workflows.client")

Job = Callable[[Task], Answer | Coroutine[Any, Any, Answer]]

_CANCELLED_KEPT = 1_000
REPORT_SECONDS = 1.0


@dataclass(eq=False, slots=True)
class Work:
    """One attempt in hand. `handles` is what the transport knows it by: delivery tags, or the id of a lease."""

    task: Task
    job: Job
    handles: list[Any] = field(default_factory=list)
    began: float | None = None
    answer: Answer | None = None
    announced: bool = False
    reported: float = 0.0


class Desk:
    """Runs up to `concurrency` pieces of work at once, each attempt once. `done` is called from any thread."""

    def __init__(self, *, concurrency: int, answers: Answers, done: Callable[[Work], None]) -> None:
        self._concurrency = concurrency
        self._answers = answers
        self._done = done
        self._lock = threading.Condition()
        self._in_hand: dict[str, Work] = {}
        self._waiting: deque[Work] = deque()
        self._running = 0
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        self._closed = self._ended = False
        self._threads = _Threads()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, task: Task, job: Job, handle: Any) -> bool:
        """This will have the work done, unless it is in hand or answered already; False: nothing is taken any more."""
        with self._lock:
            work = self._in_hand.get(task.key)
            if work is not None:
                # A repetition. Whoever is told of the result is told for both.
                work.handles.append(handle)
                work.task.resume()
                return True
            if self._closed:
                return False
            work = self._in_hand[task.key] = Work(task, job, [handle])
        try:
            answer = self._answers.get(task.key)
        except BaseException:
            # Not to be begun by somebody who does not know what was done: it is offered again.
            with self._lock:
                del self._in_hand[task.key]
            raise
        with self._lock:
            if answer is None and self._cancelled.pop(task.key, self) is not self:
                answer = {}
            if answer is None:
                self._waiting.append(work)
                self._begin()
                return True
            work.answer = answer
        logger.info("%r was answered before, or withdrawn", task)
        self._done(work)
        return True

    def cancel(self, key: str, *, remember: bool = True) -> None:
        """This will tell the work that it is withdrawn; what has not begun never will.

        Where the message that asks for the work comes later than the one that withdraws it, that is to be remembered.
        """
        with self._lock:
            work = self._in_hand.get(key)
            if work is None:
                if remember:
                    self._cancelled[key] = None
                    while len(self._cancelled) > _CANCELLED_KEPT:
                        self._cancelled.popitem(last=False)
                return
            work.task.cancel()
            if work not in self._waiting:
                return
            self._waiting.remove(work)
            work.answer = {}
        self._done(work)

    def settled(self, work: Work) -> None:
        """This will forget work whose answer has been delivered."""
        with self._lock:
            if self._in_hand.get(work.task.key) is work:
                del self._in_hand[work.task.key]
            self._lock.notify_all()

    def in_hand(self) -> list[Work]:
        """This will give everything that is not settled."""
        with self._lock:
            return list(self._in_hand.values())

    def reports(self) -> list[tuple[Work, Progress]]:
        """This will hand over what running work says of its progress: the newest, once a second at most."""
        now = time.monotonic()
        found = []
        for work in self.running():
            if now - work.reported >= REPORT_SECONDS and (said := work.task.take_progress()) is not None:
                work.reported = now
                found.append((work, said))
        return found

    def running(self) -> list[Work]:
        """This will give what is being worked on."""
        return [work for work in self.in_hand() if work.began is not None and work.answer is None]

    def free(self) -> int:
        """This will tell how much more could be begun at once."""
        with self._lock:
            return max(0, self._concurrency - self._running - len(self._waiting))

    def wait_until_free(self, seconds: float) -> bool:
        """This will wait until something could be begun at once."""
        with self._lock:
            return self._lock.wait_for(
                lambda: self._closed or self._running + len(self._waiting) < self._concurrency, seconds
            )

    def close(self) -> list[Work]:
        """This will begin nothing more, and give what had not begun."""
        with self._lock:
            self._closed = True
            given_up = [work for work in self._in_hand.values() if work.began is None and work.answer is None]
            self._waiting.clear()
            for work in given_up:
                del self._in_hand[work.task.key]
            self._lock.notify_all()
        return given_up

    def wait(self, seconds: float) -> bool:
        """This will wait until everything is settled; False when the time is over."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._in_hand, seconds)

    def end(self) -> None:
        """This will let idle threads go. A function that hangs keeps its thread, which does not keep the process."""
        self._ended = True
        self._threads.end()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            if self._loop_thread is not None:
                self._loop_thread.join(2)

    # --- Below: called with the lock held, or from the threads ---

    def _begin(self) -> None:
        while self._waiting and self._running < self._concurrency and not self._closed:
            work = self._waiting.popleft()
            work.began = time.monotonic()
            self._running += 1
            if inspect.iscoroutinefunction(work.job):
                loop = self._event_loop()
                loop.call_soon_threadsafe(self._create, loop, work)
            else:
                self._threads.run(lambda work=work: self._work(work))  # type: ignore[misc]

    def _work(self, work: Work) -> None:
        answer = work.job(work.task)
        assert isinstance(answer, dict)  # noqa: S101 (a coroutine runs in _await)
        self._finish(work, answer)

    def _create(self, loop: asyncio.AbstractEventLoop, work: Work) -> None:
        # The loop itself holds its tasks only weakly.
        task = loop.create_task(self._await(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _await(self, work: Work) -> None:
        answer = work.job(work.task)
        assert inspect.isawaitable(answer)  # noqa: S101 (_begin has looked)
        try:
            said = await answer
        except asyncio.CancelledError as error:
            if self._ended:
                return
            said = failed(work.task, error)
        # A durable store waits for the disk; the other functions of this loop need not.
        await asyncio.get_running_loop().run_in_executor(None, self._finish, work, said)

    def _finish(self, work: Work, answer: Answer) -> None:
        try:
            # Before it is sent: whoever is asked again must know what was said.
            self._answers.put(work.task.key, answer)
        except Exception:
            logger.exception("the answer to %r could not be kept; it is sent nevertheless", work.task)
        with self._lock:
            work.answer = answer
            self._running -= 1
            self._begin()
            self._lock.notify_all()
        self._done(work)

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop_thread = threading.Thread(target=self._run_loop, args=(self._loop,), daemon=True)
            self._loop_thread.start()
        return self._loop

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.run_forever()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            loop.run_until_complete(asyncio.wait(self._tasks, timeout=1))
        if not self._tasks:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


class _Threads:
    """As many threads as there is work at once. They are daemons: one that hangs holds up nobody's end."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._all = 0

    def run(self, job: Callable[[], None]) -> None:
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                self._all += 1
                threading.Thread(target=self._live, name=f"service {self._all}", daemon=True).start()
        self._jobs.put(job)

    def end(self) -> None:
        for _ in range(self._all):
            self._jobs.put(None)

    def _live(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except BaseException:
                logger.exception("a service's thread met a fault of the client")
            with self._lock:
                self._idle += 1


def names(works: Iterable[Work]) -> str:
    """This will name pieces of work in a line of a log."""
    return ", ".join(repr(work.task) for work in works)
