"""Many requests at once to a server of unknown strength.

As TCP finds out what a line bears: the number at once doubles until the server first shows that it
is too much, is halved whenever it does, and else creeps up.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar

from dgr.engines.http import Failure
from dgr.engines.source import Source

FIRST_LIMIT = 16
HOPELESS = 16
"""Requests that fail one after the other before the rest is not tried."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Window:
    """How many requests may be under way: additive increase, multiplicative decrease."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(min(FIRST_LIMIT, most))
        self._calm = True
        self._since = 0.0
        self._lock = threading.Lock()

    @property
    def limit(self) -> int:
        return int(self._limit)

    def went_well(self) -> None:
        with self._lock:
            step = 1.0 if self._calm else 1.0 / self._limit
            self._limit = min(self._limit + step, float(self._most))

    def was_too_much(self, sent: float) -> None:
        """Halve, but once for all that were sent before the last time it was halved."""
        with self._lock:
            if sent < self._since:
                return
            self._limit, self._calm = max(1.0, self._limit / 2), False
            self._since = time.monotonic()


@dataclass
class Outcome(Generic[ItemT, ResultT]):
    """What became of one item."""

    item: ItemT
    result: ResultT | None = None
    problem: BaseException | None = None


@dataclass
class Crowd(Generic[ItemT, ResultT]):
    """Does `work` on items in as many threads as the window allows.

    The threads are daemons: a process that is told to stop does not wait for answers.
    """

    work: Callable[[ItemT], ResultT]
    window: Window
    failures: list[Failure] = field(default_factory=list)
    """Why items have no result."""
    tried: int = 0
    gave_up: bool = False
    """Whether there were items left that were not tried."""

    def over(self, items: Iterable[ItemT | None]) -> Iterator[ResultT]:
        """Results as they come. Items that fail are counted; a bug is raised."""
        source = Source(items)
        done: SimpleQueue[Outcome[ItemT, ResultT]] = SimpleQueue()
        running = in_a_row = 0
        while source.more or running:
            while source.more and running < self.window.limit:
                item = source.next(running)
                if item is None:
                    break
                self.tried += 1
                running += 1
                threading.Thread(target=self._one, args=(item, done), daemon=True).start()
            if not running:
                return
            outcome = done.get()
            running -= 1
            if isinstance(outcome.problem, Failure):
                self.failures.append(outcome.problem)
                in_a_row += 1
                if source.more and (in_a_row >= HOPELESS or outcome.problem.everywhere):
                    self.gave_up = source.next(running) is not None or source.more
                    source.more = False
            elif outcome.problem is not None:
                raise outcome.problem
            else:
                in_a_row = 0
                assert outcome.result is not None
                yield outcome.result

    def _one(self, item: ItemT, done: "SimpleQueue[Outcome[ItemT, ResultT]]") -> None:
        try:
            done.put(Outcome(item, result=self.work(item)))
        except BaseException as problem:  # it is raised where the results are taken
            done.put(Outcome(item, problem=problem))
