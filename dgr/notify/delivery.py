"""Delivery beside the work: a queue and a thread for each target."""

import atexit
import os
import sys
import threading
import time
from collections import deque
from contextlib import suppress

from dgr.notify.config import NotifyConfig, Target
from dgr.notify.events import Event
from dgr.notify.posting import post

AT_EXIT_SECONDS = 10.0
"""How long a process that ends waits for what is on its way."""
MOST_WAITING = 1_000
"""Events that wait for one target; more are not taken."""


class _Outbox:
    """What one target has not got yet, in order. A slow target delays no other."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        name = f"notify-{target.url_env}"
        threading.Thread(target=self._deliver, name=name, daemon=True).start()

    def put(self, event: Event) -> None:
        with self._changed:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(event)
                self._changed.notify_all()
                return
        _tell(self.target, event, f"{MOST_WAITING:,} others wait for it already")

    def wait(self, until: float) -> int:
        """Wait until all is delivered or given up, at most until then; how many are left."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, max(0.0, until - time.monotonic()))
            return len(self._waiting)

    def _deliver(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                event = self._waiting[0]
            try:
                problem = post(self.target, event)
            except Exception as error:  # the thread must outlive it; its text may hold the URL
                problem = f"it could not be sent ({type(error).__name__})"
            if problem:
                _tell(self.target, event, problem)
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()


_outboxes: dict[Target, _Outbox] = {}
_lock = threading.Lock()
# A forked child has the queues of its parent, but none of the threads.
os.register_at_fork(after_in_child=_outboxes.clear)


def notify(config: NotifyConfig, event: Event) -> None:
    """Tell every target that wants this kind of event. Returns at once and never raises for a
    target: what could not be delivered is one sentence on standard error."""
    for target in config.targets:
        if event.kind in target.events:
            try:
                _outbox(target).put(event)
            except RuntimeError:  # no more threads, or the interpreter is shutting down
                _tell(target, event, "no thread could be started for it")


def flush(seconds: float) -> int:
    """Wait at most so long for what is on its way; how many deliveries are still not done.

    Those go on while the process lives.
    """
    until = time.monotonic() + seconds
    return sum(outbox.wait(until) for outbox in _all())


def _outbox(target: Target) -> _Outbox:
    with _lock:
        if target not in _outboxes:
            _outboxes[target] = _Outbox(target)
        return _outboxes[target]


def _all() -> list[_Outbox]:
    with _lock:
        return list(_outboxes.values())


@atexit.register
def _at_exit() -> None:
    until = time.monotonic() + AT_EXIT_SECONDS
    for outbox in _all():
        if left := outbox.wait(until):
            events = "1 event" if left == 1 else f"{left} events"
            _say(
                f"{events} for the target in {outbox.target.url_env} did not get through in the "
                f"{AT_EXIT_SECONDS:g} s after the work had ended, and will not be sent again"
            )


def _tell(target: Target, event: Event, problem: str) -> None:
    what = f"the event {event.kind.value} ({event.id})"
    _say(f"{what} was not delivered to the target in {target.url_env}: {problem}")


def _say(sentence: str) -> None:
    with suppress(OSError, ValueError):  # whoever closed our standard error does not want it
        print(f"dgr: {sentence}", file=sys.stderr, flush=True)
