"""SIGTERM and Ctrl-C while something of ours is on a cluster."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dgr.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def interrupts(done: str) -> Iterator[None]:
    """While the block runs, the first signal raises `Interrupted`, and what it has to clean up is
    not stopped by a second one. Threads cannot catch signals: there it never fires."""

    def stop(signum: int, _frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(signum, done)

    ours = threading.current_thread() is threading.main_thread()
    before = [(signum, signal.signal(signum, stop)) for signum in SIGNALS] if ours else []
    try:
        yield
    finally:
        for signum, handler in before:
            signal.signal(signum, handler)
